//! Personal fields in the log are sealed under a key per person; destroying the key erases them and leaves the chain whole.
//!
//! The cryptography and the keeping of the keys belong to an adapter behind [`Vault`].

use std::sync::Arc;

use uuid::Uuid;

use crate::BoxFuture;
use crate::envelope::{Context, Stored};
use crate::fault::Fault;

/// Bytes sealed under the key of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Names the key, never reveals it. Not personal.
    pub key: String,
    pub bytes: Vec<u8>,
}

impl Sealed {
    /// Seals `plain` so that it opens only beside `bound_to`.
    pub(crate) fn under(key: &dyn SealKey, bound_to: Uuid, plain: &[u8]) -> Self {
        Self {
            key: key.name().to_owned(),
            bytes: key.seal(bound_to.as_bytes(), plain),
        }
    }
}

/// One key, ready to use.
pub trait SealKey: Send + Sync {
    /// The name that goes into the log beside what it sealed.
    fn name(&self) -> &str;

    /// Encrypts and authenticates `plain`; `bound_to` must be given again to open it.
    fn seal(&self, bound_to: &[u8], plain: &[u8]) -> Vec<u8>;

    /// `None` when the bytes were changed or bound to something else.
    fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>>;

    /// A keyed digest: the same for the same bytes while the key lives, meaningless once it is destroyed.
    fn digest(&self, bytes: &[u8]) -> [u8; 32];
}

/// Where seal keys live: apart from the database they protect.
pub trait Vault: Send + Sync {
    /// The key of that name, made (and durable) before this returns when there is none yet. Where it was destroyed, a key that
    /// nobody keeps: what it seals is lost at once, so that what is still under way about somebody who was erased can end.
    /// Asked for when this is called, not when it is waited for: many may share what makes them durable.
    fn key(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn SealKey>, Fault>>;

    /// The key of that name, or `None` when it was destroyed or never made.
    fn existing(&self, name: &str) -> BoxFuture<'_, Result<Option<Arc<dyn SealKey>>, Fault>>;

    /// Destroys the key of that name, for good: what it sealed is gone. False when there is none (any more).
    fn destroy(&self, name: &str) -> BoxFuture<'_, Result<bool, Fault>>;

    /// The names of the keys that were destroyed, in no order. They outlive every backup of the database: whose name is among
    /// them must not come back with one.
    fn destroyed(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>>;
}

/// A key as a database keeps it: nothing without what it is wrapped under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptKey {
    Wrapped(Vec<u8>),
    Destroyed,
}

/// Wrapped keys that several nodes share. Each call is durable when it answers.
pub trait KeptKeys: Send + Sync {
    fn find(&self, name: &str) -> BoxFuture<'_, Result<Option<KeptKey>, Fault>>;

    /// Keeps a key unless there was ever one of that name; says whether it does.
    fn keep(&self, name: &str, wrapped: &[u8]) -> BoxFuture<'_, Result<bool, Fault>>;

    /// Takes the bytes away and leaves the name. False when there are none (any more).
    fn destroy(&self, name: &str) -> BoxFuture<'_, Result<bool, Fault>>;

    /// The names that were left.
    fn destroyed(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>>;
}

/// The personal fields of an event, as JSON: bound to the event itself. `None` when there are none or their key is gone.
pub async fn personal(vault: &dyn Vault, event: &Stored) -> Result<Option<Vec<u8>>, Fault> {
    match &event.personal {
        Some(sealed) => open(vault, event.envelope.id, sealed).await,
        None => Ok(None),
    }
}

/// Where the request of an event came from: bound to its workflow, whose events share it. Empty when its key is gone.
pub async fn context(vault: &dyn Vault, event: &Stored) -> Result<Context, Fault> {
    let plain = match &event.context {
        Some(sealed) => open(vault, event.envelope.workflow_id, sealed).await?,
        None => None,
    };
    Ok(plain
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default())
}

async fn open(
    vault: &dyn Vault,
    bound_to: Uuid,
    sealed: &Sealed,
) -> Result<Option<Vec<u8>>, Fault> {
    let key = vault.existing(&sealed.key).await?;
    Ok(key.and_then(|key| key.open(bound_to.as_bytes(), &sealed.bytes)))
}
