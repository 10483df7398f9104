//! What account provisioning makes: profiles here, contacts in the operator's customer relations.

use std::time::Duration;

use quivive_delivery::{BoxFuture, Time, Write};
use quivive_domain::{Address, UserId};
use uuid::Uuid;

/// Profiles of accounts.
pub trait Profiles: Send + Sync {
    /// Gives the account one, unless it has one; `process` is what does.
    fn create(&self, account: UserId, process: Uuid, now: Time) -> Write;

    /// Removes it if it was this process that made it.
    fn remove(&self, account: UserId, process: Uuid) -> Write;
}

/// Somebody, as the customer relations of the operator are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    pub user_id: UserId,
    pub email: Address,
    pub display_name: Option<String>,
    pub locale: String,
}

/// Why the customer relations were not told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CrmError {
    /// Worth another try, not before this much time has passed.
    #[error("{why}")]
    Transient {
        retry_after: Option<Duration>,
        why: String,
    },
    /// It will not take this one.
    #[error("{0}")]
    Permanent(String),
}

/// Customer relations management, elsewhere.
pub trait Crm: Send + Sync {
    /// Adds a contact. `idempotency_key` is the same for every try.
    fn add<'a>(
        &'a self,
        contact: &'a Contact,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<(), CrmError>>;

    /// Removes a contact; well, too, where there is none.
    fn remove<'a>(
        &'a self,
        user_id: UserId,
        idempotency_key: &'a str,
    ) -> BoxFuture<'a, Result<(), CrmError>>;
}
