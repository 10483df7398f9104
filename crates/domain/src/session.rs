//! Sessions: how long they live, and the words for how they end.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::one_time::Purpose;
use crate::{DeviceId, SessionId, Time, UserId};

/// How long things live. Defaults are those of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    pub access_token: Duration,
    pub refresh_token: Duration,
    /// A session that is not refreshed for so long is over.
    pub session_idle: Duration,
    /// However often it is refreshed.
    pub session_absolute: Duration,
    /// Sessions a person may have; the oldest makes room.
    pub max_sessions: u32,
    /// Devices of a person that are remembered; the one longest unused makes room.
    pub max_devices: u32,
    /// How long after its use a refresh token still gets the same successor again, from the same device.
    pub honest_retry: Duration,
    /// How long a proof of a factor serves for what is dangerous.
    pub step_up: Duration,
    /// How long tokens of the version before a rotation of all are good, unless it says otherwise.
    pub rotation_grace: Duration,
    pub email_verification: Duration,
    pub password_reset: Duration,
    pub email_change: Duration,
    /// How long the old address can take a change back.
    pub email_revert: Duration,
    /// How long an account is kept whose address nobody verifies.
    pub unverified: Duration,
    /// Letters of a kind an hour for one address.
    pub letters_an_hour: u32,
}

impl Default for Lifetimes {
    fn default() -> Self {
        let days = |n: u64| Duration::from_secs(n * 24 * 3600);
        Self {
            access_token: Duration::from_mins(15),
            refresh_token: days(30),
            session_idle: days(14),
            session_absolute: days(30),
            max_sessions: 10,
            max_devices: 10,
            honest_retry: Duration::from_secs(10),
            step_up: Duration::from_mins(10),
            rotation_grace: Duration::from_mins(5),
            email_verification: Duration::from_hours(24),
            password_reset: Duration::from_mins(15),
            email_change: Duration::from_hours(1),
            email_revert: days(7),
            unverified: days(7),
            letters_an_hour: 3,
        }
    }
}

impl Lifetimes {
    /// How long a one-time token of that purpose serves.
    pub fn one_time(&self, purpose: Purpose) -> Duration {
        match purpose {
            Purpose::VerifyEmail => self.email_verification,
            Purpose::ResetPassword => self.password_reset,
            Purpose::ChangeEmail => self.email_change,
            Purpose::RevertEmail => self.email_revert,
        }
    }
}

/// A session's row.
#[derive(Debug, Clone)]
pub struct Session {
    pub id: SessionId,
    pub account: UserId,
    pub device: Option<DeviceId>,
    pub created_at: Time,
    pub last_seen_at: Time,
    /// Moves with every refresh.
    pub idle_until: Time,
    /// Never moves.
    pub expires_at: Time,
    pub ended_at: Option<Time>,
}

impl Session {
    pub fn is_live(&self, now: Time) -> bool {
        self.ended_at.is_none() && now < self.ends_at()
    }

    /// When it is over unless something happens before.
    pub fn ends_at(&self) -> Time {
        self.idle_until.min(self.expires_at)
    }

    /// Which of its times is over, the earlier one first.
    pub fn expired(&self, now: Time) -> Option<ExpiredBy> {
        let (over, by) = if self.idle_until < self.expires_at {
            (self.idle_until, ExpiredBy::Idle)
        } else {
            (self.expires_at, ExpiredBy::Absolute)
        };
        (over <= now).then_some(by)
    }
}

/// Which of a session's times is over: the reason in `SessionExpired`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExpiredBy {
    // It was not used for too long.
    Idle,
    // However often it was used.
    Absolute,
}

/// Why a session was ended as a security consequence: the reason in `SessionInvalidated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvalidatedBy {
    PasswordChange,
    PasswordReset,
    TokenReuse,
    Lock,
    Deactivation,
    EmailChange,
    Erasure,
    Rotation,
}

impl InvalidatedBy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PasswordChange => "password_change",
            Self::PasswordReset => "password_reset",
            Self::TokenReuse => "token_reuse",
            Self::Lock => "lock",
            Self::Deactivation => "deactivation",
            Self::EmailChange => "email_change",
            Self::Erasure => "erasure",
            Self::Rotation => "rotation",
        }
    }
}

/// Why a session was ended because somebody asked for it: the reason in `SessionTerminated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TerminatedBy {
    Logout,
    // From a list of sessions: by the person, or by an administrator.
    Revocation,
}
