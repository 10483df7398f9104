//! Tokens whose signature was found good, so that it need not be looked at again: that takes most of a request's time.
//!
//! By the SHA-256 of the whole token, so that no memory of ours holds one that opens something. A token says the same as long
//! as it lives; what is said against it is judged afresh each time.

use std::sync::Arc;

use quick_cache::sync::Cache;
use quivive_delivery::Time;

use crate::ports::{AccessClaims, AccessTokens};
use crate::sessions::secret_hash;

/// Some of them, in bounded memory: about 500 bytes each.
pub(super) struct Verified(Option<Cache<[u8; 32], Arc<AccessClaims>>>);

impl Verified {
    /// So many; none for 0.
    pub(super) fn new(max: usize) -> Self {
        Self((max > 0).then(|| Cache::new(max)))
    }

    /// The claims of a token of ours whose time is not over.
    pub(super) fn claims(
        &self,
        tokens: &dyn AccessTokens,
        token: &str,
        now: Time,
    ) -> Option<Arc<AccessClaims>> {
        let Some(cache) = &self.0 else {
            return tokens.verify(token, now).map(Arc::new);
        };
        let key = secret_hash(token.as_bytes());
        if let Some(claims) = cache.get(&key) {
            return (now.as_second() < claims.exp).then_some(claims);
        }
        let claims = Arc::new(tokens.verify(token, now)?);
        cache.insert(key, Arc::clone(&claims));
        Some(claims)
    }
}
