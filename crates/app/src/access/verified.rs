//! Tokens whose signature was found good, so that it need not be looked at again: that takes most of a request's time.
//!
//! By the SHA-256 of the whole token, so that no memory of ours holds one that opens something. A token says the same as long
//! as it lives; what is said against it is judged afresh each time. Once other keys are good, each signature is looked at
//! again.

use std::sync::Arc;

use quick_cache::sync::Cache;
use quivive_delivery::Time;

use crate::ports::{AccessClaims, AccessTokens};
use crate::sessions::secret_hash;

/// What a token says, and the generation of the keys that it was verified with.
#[derive(Clone)]
struct Found {
    generation: u64,
    claims: Arc<AccessClaims>,
}

/// Some of them, in bounded memory: about 500 bytes each.
pub(super) struct Verified(Option<Cache<[u8; 32], Found>>);

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
        // Before the signature is looked at: of keys that change meanwhile it is known under the older ones.
        let generation = tokens.generation();
        if let Some(found) = cache.get(&key)
            && found.generation == generation
        {
            return (now.as_second() < found.claims.exp).then_some(found.claims);
        }
        let claims = Arc::new(tokens.verify(token, now)?);
        let found = Found {
            generation,
            claims: Arc::clone(&claims),
        };
        cache.insert(key, found);
        Some(claims)
    }
}
