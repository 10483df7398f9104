//! Backends that may state the address of the user that they call for: they hold an API key with the scope `client.forward`.

use quick_cache::sync::Cache;
use quivive_delivery::{Fault, Log};
use quivive_domain::api_key::Scope;
use tokio::time::Instant;

use super::Access;
use super::revocations::FRESH;
use crate::sessions::secret_hash;

/// Keys remembered at once. There are few backends.
const REMEMBERED: usize = 64;

/// Keys that were good within the last second, by the SHA-256 of their text: a backend calls for all of its users, and what
/// is refused to them must cost no read. A revocation is felt within that second.
pub(super) struct Forwarders(Cache<[u8; 32], Instant>);

impl Forwarders {
    pub(super) fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Access {
    /// Whether it was good within the last second.
    pub fn forwarded_lately(&self, key: &str) -> bool {
        let good = self.forwarders.0.get(&secret_hash(key.as_bytes()));
        good.is_some_and(|since| since.elapsed() < FRESH)
    }

    /// Whether who holds this key may state addresses. Reads.
    pub async fn may_forward(&self, key: &str, log: &dyn Log) -> Result<bool, Fault> {
        let since = Instant::now();
        let service = self.service(key, log).await?;
        let may = service.is_some_and(|service| service.may(Scope::ClientForward));
        if may {
            let hash = secret_hash(key.as_bytes());
            self.forwarders.0.insert(hash, since);
        }
        Ok(may)
    }
}
