//! Keys of services.

use quivive_delivery::{Time, Write};
use quivive_domain::api_key::ApiKey;
use quivive_domain::{AccountState, ApiKeyId, Role};

use super::Read;

/// An API key with what the check of it must know.
#[derive(Debug, Clone)]
pub struct ApiKeyView {
    pub key: ApiKey,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    pub owner_state: AccountState,
    pub owner_roles: Vec<Role>,
}

/// What services sign their requests with.
pub trait ApiKeys: Send + Sync {
    /// A key with its owner's standing, in one read.
    fn view(&self, id: ApiKeyId) -> Read<'_, Option<ApiKeyView>>;

    /// Newest first, those that are over among them; at most `limit`.
    fn list(&self, limit: u32) -> Read<'_, Vec<ApiKey>>;

    /// Misses when the id is taken.
    fn insert(&self, key: &ApiKey, hash: [u8; 32]) -> Write;

    /// Misses when it is not there or was revoked.
    fn revoke(&self, id: ApiKeyId, now: Time) -> Write;

    /// Notes that it was used.
    fn note_use(&self, id: ApiKeyId, now: Time) -> Write;
}
