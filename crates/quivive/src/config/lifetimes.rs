//! `[product]`, `[tokens]`, `[sessions]` and `[letters]`: names, and how long things live.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use quivive_domain::session::Lifetimes;
use quivive_domain::{Role, UserId};
use serde::Deserialize;

use super::access::Registration;
use super::report::Report;

/// Ten years: a number beyond it is a slip.
const MAX_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// An access token is good until it ends, but for its session's end: a day is the most.
const MAX_ACCESS_TOKEN_SECONDS: u64 = 24 * 3600;

/// Of tokens whose signature is remembered: half a gigabyte.
const MAX_VERIFIED: usize = 1_000_000;

/// A proof that is older than a day proves nothing.
const MAX_STEP_UP_SECONDS: u64 = 24 * 3600;

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Product {
    name: String,
}

impl Tokens {
    /// Of how many access tokens it is remembered that their signature is good.
    pub(super) fn verified(&self, report: &mut Report<'_>) -> usize {
        report.within("tokens.verified", self.verified, 0..=MAX_VERIFIED)
    }
}

/// As many sessions as anybody may be allowed.
const MAX_SESSIONS: u32 = 10_000;

impl Sessions {
    /// `admin=2` and the like.
    pub(super) fn of_roles(&self, report: &mut Report<'_>) -> Vec<(Role, u32)> {
        let remedy = "write admin, support or user, and how many from 1 to 10000: admin=2";
        let key = "sessions.max_per_role";
        numbered(report, key, &self.max_per_role, Role::parse, remedy)
    }

    /// The same for people, by their ids.
    pub(super) fn of_users(&self, report: &mut Report<'_>) -> BTreeMap<UserId, u32> {
        let remedy = "write the id of a user, and how many from 1 to 10000: 0193e0a4-…=50";
        let key = "sessions.max_of_users";
        let id = |text: &str| text.parse().ok().map(UserId);
        numbered(report, key, &self.max_of_users, id, remedy)
    }
}

/// Whose number of sessions is another, from texts like `admin=2`.
fn numbered<W, L: FromIterator<(W, u32)>>(
    report: &mut Report<'_>,
    key: &str,
    texts: &[String],
    whose: impl Fn(&str) -> Option<W>,
    remedy: &str,
) -> L {
    let read = |text: &str| {
        let (name, max) = text.split_once('=')?;
        let max = max.trim().parse().ok()?;
        let allowed = (1..=MAX_SESSIONS).contains(&max);
        allowed.then_some((whose(name.trim())?, max))
    };
    let each = texts.iter().filter_map(|text| {
        let limit = read(text);
        if limit.is_none() {
            let what = format!("holds {text:?}, which names nobody with a number");
            report.bad(key, &what, remedy);
        }
        limit
    });
    each.collect()
}

impl Product {
    pub(super) fn check(&self, report: &mut Report<'_>) -> String {
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > 64 || name.contains(char::is_control) {
            report.bad(
                "product.name",
                "is not a name",
                "write up to 64 characters in one line",
            );
        }
        name.to_owned()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    pub audience: Option<String>,
    access_token_seconds: u64,
    refresh_token_seconds: u64,
    honest_retry_seconds: u64,
    verified: usize,
    step_up_seconds: u64,
    rotation_grace_seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Sessions {
    idle_seconds: u64,
    absolute_seconds: u64,
    max_per_user: u32,
    max_per_role: Vec<String>,
    max_of_users: Vec<String>,
    devices_per_user: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Letters {
    email_verification_seconds: u64,
    password_reset_seconds: u64,
    email_change_seconds: u64,
    email_revert_seconds: u64,
    an_hour: u32,
    pub templates: Option<PathBuf>,
}

pub(super) fn check(
    tokens: &Tokens,
    sessions: &Sessions,
    letters: &Letters,
    registration: &Registration,
    report: &mut Report<'_>,
) -> Lifetimes {
    let mut seconds = |key, number, most| Duration::from_secs(report.within(key, number, 1..=most));
    let access_token = seconds(
        "tokens.access_token_seconds",
        tokens.access_token_seconds,
        MAX_ACCESS_TOKEN_SECONDS,
    );
    let refresh_token = seconds(
        "tokens.refresh_token_seconds",
        tokens.refresh_token_seconds,
        MAX_SECONDS,
    );
    let session_idle = seconds("sessions.idle_seconds", sessions.idle_seconds, MAX_SECONDS);
    let session_absolute = seconds(
        "sessions.absolute_seconds",
        sessions.absolute_seconds,
        MAX_SECONDS,
    );
    let step_up = seconds(
        "tokens.step_up_seconds",
        tokens.step_up_seconds,
        MAX_STEP_UP_SECONDS,
    );
    let email_verification = seconds(
        "letters.email_verification_seconds",
        letters.email_verification_seconds,
        MAX_SECONDS,
    );
    let password_reset = seconds(
        "letters.password_reset_seconds",
        letters.password_reset_seconds,
        MAX_SECONDS,
    );
    let email_change = seconds(
        "letters.email_change_seconds",
        letters.email_change_seconds,
        MAX_SECONDS,
    );
    let email_revert = seconds(
        "letters.email_revert_seconds",
        letters.email_revert_seconds,
        MAX_SECONDS,
    );
    // Not before the first link has ended.
    let unverified = report.within(
        "registration.unverified_seconds",
        registration.unverified_seconds,
        letters.email_verification_seconds..=MAX_SECONDS,
    );
    let honest_retry = report.within(
        "tokens.honest_retry_seconds",
        tokens.honest_retry_seconds,
        0..=300,
    );
    // Nothing is left to admit when every refresh token has ended.
    let rotation_grace = report.within(
        "tokens.rotation_grace_seconds",
        tokens.rotation_grace_seconds,
        0..=tokens.refresh_token_seconds,
    );
    if session_idle > session_absolute {
        let what = format!(
            "= {} is longer than sessions.absolute_seconds = {}",
            sessions.idle_seconds, sessions.absolute_seconds
        );
        report.bad(
            "sessions.idle_seconds",
            &what,
            "write at most as much: no session outlives its absolute end",
        );
    }
    Lifetimes {
        access_token,
        refresh_token,
        session_idle,
        session_absolute,
        max_sessions: report.within(
            "sessions.max_per_user",
            sessions.max_per_user,
            1..=MAX_SESSIONS,
        ),
        // With one alone, no sign-in would ever look new to its owner.
        max_devices: report.within(
            "sessions.devices_per_user",
            sessions.devices_per_user,
            2..=1_000,
        ),
        honest_retry: Duration::from_secs(honest_retry),
        step_up,
        rotation_grace: Duration::from_secs(rotation_grace),
        email_verification,
        password_reset,
        email_change,
        email_revert,
        unverified: Duration::from_secs(unverified),
        letters_an_hour: report.within("letters.an_hour", letters.an_hour, 1..=1_000),
    }
}
