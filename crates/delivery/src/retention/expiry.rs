//! Readers that are older than what they read.

use std::time::Duration;

use super::{Anchor, Retention};
use crate::fault::Fault;

/// How long an expired reader may take to say so in the database, and how often that is looked at. Whoever takes longer
/// is found by the next run.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Retention {
    /// The log is held at `floor` though older events are due to go. Says where it is held then: further on, where who held
    /// it was expired.
    pub(super) async fn wait_or_expire(&self, anchor: &Anchor, floor: u64) -> Result<u64, Fault> {
        let age = self.terms.keep.saturating_add(self.terms.grace);
        let overdue = self.old(anchor, age).await?;
        if floor >= overdue {
            tracing::warn!(
                position = floor,
                "a reader has not come to events that are due to go: they stay for it until its grace ends"
            );
            return Ok(floor);
        }
        self.running.expire(anchor.position, overdue).await?;
        let mut waited = Duration::ZERO;
        loop {
            let floor = self.shelf.floor().await?;
            if floor >= overdue || waited >= PATIENCE {
                return Ok(floor);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
    }
}
