//! One after the other: commits that would only make each other miss, such as two logins of one person that both end the
//! oldest session. Within this process, for speed alone: what must hold, the guards hold.

use std::array;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};
use uuid::Uuid;

/// Whose turn it is; the next one comes when it is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

/// So many turns at once. Accounts share them, so that there is nothing to clean up.
const TURNS: usize = 256;

pub(super) struct Turns([Arc<Mutex<()>>; TURNS]);

impl Turns {
    pub(super) fn new() -> Self {
        Self(array::from_fn(|_| Arc::default()))
    }

    pub(super) async fn of(&self, id: Uuid) -> Turn {
        // The last byte of an id is random.
        let [.., last] = id.into_bytes();
        Arc::clone(&self.0[usize::from(last)]).lock_owned().await
    }
}
