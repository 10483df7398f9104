//! What webhooks need from outside: their state, a way out over HTTP, signatures.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quivive_delivery::{BoxFuture, Time, Write};
use quivive_domain::webhook::{Disabled, Order, Pattern, Refused, Signatures, SigningKeys, Target};
use quivive_domain::{EndpointId, UserId};
use uuid::Uuid;

use super::Read;

/// Where events are posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub target: Target,
    /// For people.
    pub description: String,
    /// Of the events it wants; none means all.
    pub events: Vec<Pattern>,
    pub order: Order,
    pub signatures: Signatures,
    /// `None`: messages are sent to it.
    pub disabled: Option<Disabled>,
    /// Since when every message has failed, as of a second ago.
    pub failing_since: Option<Time>,
    /// By type, the version of its schema that the receiver reads: what was current when it was registered. A type that came
    /// later is sent as it is.
    pub versions: BTreeMap<String, u32>,
    pub created_by: Option<UserId>,
    pub created_at: Time,
    pub updated_at: Time,
    /// Raised by each change: what a change is guarded by.
    pub revision: u32,
}

/// The secrets of an endpoint that belong together, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    pub id: Uuid,
    pub endpoint: EndpointId,
    /// Under the endpoint's key of the vault, bound to `id`.
    pub sealed: Vec<u8>,
    /// Of the Ed25519 key; no secret.
    pub public_key: [u8; 32],
    pub created_at: Time,
    /// `None` for the newest.
    pub expires_at: Option<Time>,
}

/// One try to post one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub endpoint: EndpointId,
    pub event_id: Uuid,
    pub event_type: String,
    /// From 1; 0 where it was sent apart from its turn, by a test.
    pub number: u32,
    pub at: Time,
    pub latency_ms: u32,
    /// What it answered, if it did.
    pub status: Option<u32>,
    /// Why it failed; nothing of what the receiver said.
    pub error: Option<String>,
}

/// A recovery: messages that an endpoint is sent again, by a replay of its subscription. The last one is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRecovery {
    /// That of the replay.
    pub generation: u32,
    /// What it began after.
    pub after: u64,
    /// The last position that it goes through.
    pub upto: u64,
    /// Messages that were taken.
    pub sent: u64,
    /// The replay has not ended.
    pub under_way: bool,
}

/// Webhook endpoints.
pub trait Webhooks: Send + Sync {
    /// All, in the order of their registration.
    fn endpoints(&self) -> Read<'_, Vec<Endpoint>>;

    fn endpoint(&self, id: EndpointId) -> Read<'_, Option<Endpoint>>;

    /// Newest first.
    fn secrets(&self, id: EndpointId) -> Read<'_, Vec<StoredSecret>>;

    /// Newest first.
    fn attempts(&self, id: EndpointId) -> Read<'_, Vec<Attempt>>;

    /// The last recovery of an endpoint, whose subscription has this name.
    fn recovery<'a>(
        &'a self,
        id: EndpointId,
        subscription: &str,
    ) -> Read<'a, Option<StoredRecovery>>;

    /// Misses when there are `max` of them.
    fn insert_endpoint(&self, endpoint: &Endpoint, max: u32) -> Vec<Write>;

    /// Writes what may be changed, and raises the revision. Misses when it was changed since `endpoint.revision`.
    fn update_endpoint(&self, endpoint: &Endpoint) -> Write;

    /// With its secrets, attempts and recovery. Misses when it is gone.
    fn delete_endpoint(&self, id: EndpointId) -> Vec<Write>;

    fn insert_secret(&self, secret: &StoredSecret) -> Write;

    /// Lets the newest secret serve until then, and the one before it go.
    fn retire_secrets(&self, id: EndpointId, until: Time) -> Vec<Write>;

    /// Notes since when it only fails; an endpoint that is gone stays so.
    fn note_failing(&self, id: EndpointId, since: Option<Time>) -> Write;

    /// Later ids are newer.
    fn insert_attempt(&self, id: Uuid, attempt: &Attempt) -> Write;

    /// Keeps the newest.
    fn trim_attempts(&self, id: EndpointId, keep: u32) -> Write;

    /// Notes that the replay of its subscription which begins in the same commit is a recovery. Forgets the one before it.
    fn begin_recovery(&self, id: EndpointId, subscription: &str) -> Write;

    /// Counts a message of the recovery of this generation; one that is gone stays so.
    fn count_recovered(&self, id: EndpointId, generation: u32) -> Write;
}

/// By their names in lower case.
pub type Headers = Vec<(&'static str, Cow<'static, str>)>;

/// A message on its way out.
#[derive(Debug, Clone)]
pub struct Post {
    pub target: Arc<Target>,
    pub headers: Headers,
    pub body: Bytes,
}

/// What came back. Nothing of the body: nobody here wants to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
}

/// Why there is no answer. The texts are for operators and hold nothing of URL or answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("not called: {0}")]
    Refused(#[from] Refused),
    #[error("its name does not resolve")]
    Unresolved,
    #[error("no connection: {0}")]
    Unreachable(String),
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("it broke off: {0}")]
    Broken(String),
    #[error("no place for it: too many calls are under way")]
    Busy,
}

/// The one way out over HTTP. It resolves names itself, calls no address that the rules do not admit, and goes where a
/// target says and nowhere else: no redirect is followed, no proxy asked.
pub trait Outlet: Send + Sync {
    /// Whether a target would be called now, by the addresses it has now.
    fn admits<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), CallError>>;

    fn post(&self, post: Post) -> BoxFuture<'_, Result<Answer, CallError>>;
}

/// Signs what is sent.
pub trait Signer: Send + Sync {
    /// Makes keys ready, once for many messages: what a signature needs of its key costs as much as the rest of it.
    fn with(&self, keys: &SigningKeys) -> Box<dyn ReadyKeys>;

    fn ed25519_public_key(&self, seed: &[u8; 32]) -> [u8; 32];
}

/// Keys that sign.
pub trait ReadyKeys: Send + Sync {
    fn hmac_sha256(&self, content: &[u8]) -> [u8; 32];

    fn ed25519(&self, content: &[u8]) -> [u8; 64];
}
