//! What a database would hold, as maps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use quivive_delivery::Time;
use quivive_delivery::engine::Decider;
use quivive_domain::api_key::ApiKey;
use quivive_domain::guess::Guesses as GuessCounters;
use quivive_domain::one_time::OneTimeToken;
use quivive_domain::refresh::GlobalVersion;
use quivive_domain::session::Session;
use quivive_domain::{Account, ApiKeyId, EndpointId, PasswordHash, SessionId, TokenId, UserId};
use uuid::Uuid;

use super::answers::Row as AnswerRow;
use super::{FakeSubscription, Tags};
use crate::ports::{
    Attempt, EmailChange, Endpoint, EventSchema, NewDevice, NewRefreshToken, OpenAttempt, Receipt,
    StoredRecovery, StoredSecret,
};

/// A refresh token's row.
#[derive(Debug, Clone)]
pub struct RefreshRow {
    pub token: NewRefreshToken,
    /// When, by whom, for which successor, and the key that one is derived under.
    pub used: Option<(Time, [u8; 32], TokenId, String)>,
}

/// A device's row.
#[derive(Debug, Clone)]
pub struct DeviceRow {
    pub new: NewDevice,
    pub used_at: Time,
}

/// What a database would hold, but for the log.
#[derive(Debug, Clone)]
pub struct State {
    pub accounts: BTreeMap<UserId, Account>,
    /// Newest first.
    pub history: BTreeMap<UserId, Vec<PasswordHash>>,
    pub first_administrator: bool,
    /// How often nothing was left of what was taken away.
    pub scrubbed: u32,
    pub guesses: BTreeMap<Uuid, GuessCounters>,
    /// With the time of their issue.
    pub one_time: BTreeMap<TokenId, (OneTimeToken, Time)>,
    pub email_changes: BTreeMap<TokenId, EmailChange>,
    /// The hour and how many letters of a kind it saw.
    pub letters: BTreeMap<(UserId, &'static str), (i64, u32)>,
    pub devices: Vec<DeviceRow>,
    pub sessions: BTreeMap<SessionId, Session>,
    /// Where each was last used from.
    pub session_ips: BTreeMap<SessionId, IpAddr>,
    pub refresh: BTreeMap<TokenId, RefreshRow>,
    /// Global token versions, with the time from which no lower one is accepted.
    pub rotations: BTreeMap<u32, Time>,
    /// With the digest of its secret.
    pub api_keys: BTreeMap<ApiKeyId, (ApiKey, [u8; 32])>,
    /// By generation, day, word and reason.
    pub sign_ins: BTreeMap<(u32, i64, &'static str, String), u64>,
    /// By type and version.
    pub event_schemas: Vec<EventSchema>,
    pub receipts: BTreeMap<[u8; 32], (Receipt, Time)>,
    pub answers: BTreeMap<[u8; 32], AnswerRow>,
    pub attempts: BTreeMap<Uuid, OpenAttempt>,
    pub endpoints: BTreeMap<EndpointId, Endpoint>,
    pub secrets: Vec<StoredSecret>,
    pub messages: Vec<Attempt>,
    pub recoveries: BTreeMap<EndpointId, StoredRecovery>,
    /// The tags of each event from the first on, as far as the index reaches.
    pub index: Vec<Tags>,
    pub subscriptions: BTreeMap<String, FakeSubscription>,
    /// Who decided about dead letters, in order.
    pub decided: Vec<Decider>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::new(),
            history: BTreeMap::new(),
            first_administrator: false,
            scrubbed: 0,
            guesses: BTreeMap::new(),
            one_time: BTreeMap::new(),
            email_changes: BTreeMap::new(),
            letters: BTreeMap::new(),
            devices: Vec::new(),
            sessions: BTreeMap::new(),
            session_ips: BTreeMap::new(),
            refresh: BTreeMap::new(),
            rotations: BTreeMap::from([(1, Time::UNIX_EPOCH)]),
            api_keys: BTreeMap::new(),
            sign_ins: BTreeMap::new(),
            event_schemas: Vec::new(),
            receipts: BTreeMap::new(),
            answers: BTreeMap::new(),
            attempts: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            secrets: Vec::new(),
            messages: Vec::new(),
            recoveries: BTreeMap::new(),
            index: Vec::new(),
            subscriptions: BTreeMap::new(),
            decided: Vec::new(),
        }
    }
}
impl State {
    pub(super) fn global(&self, now: Time) -> GlobalVersion {
        let last = |(version, _): (&u32, &Time)| *version;
        let mut over = self.rotations.iter();
        GlobalVersion {
            current: self.rotations.iter().next_back().map_or(1, last),
            floor: over
                .rfind(|(_, cut_off_at)| **cut_off_at <= now)
                .map_or(1, last),
        }
    }
}
