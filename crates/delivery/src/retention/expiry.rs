//! Readers that are older than what they read.

use std::time::Duration;

use super::{Anchor, Retention};
use crate::fault::Fault;

/// How long readers may take to say in the database how far they are, and how often that is looked at. Whoever takes longer
/// is found by the next run.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Retention {
    /// How far the log may be cut for its readers, at most up to `old`. Who is behind is woken, and who is overdue expired.
    pub(super) async fn readers(&self, anchor: &Anchor, old: u64) -> Result<u64, Fault> {
        if self.shelf.floor().await? >= old {
            return Ok(old);
        }
        self.running.wake(old);
        let floor = self.reaches(old).await?;
        if floor >= old {
            return Ok(old);
        }
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
        Ok(self.reaches(overdue).await?.min(old))
    }

    /// Waits a little for the readers to come to a position, and says how far they are.
    async fn reaches(&self, position: u64) -> Result<u64, Fault> {
        let mut waited = Duration::ZERO;
        loop {
            let floor = self.shelf.floor().await?;
            if floor >= position || waited >= PATIENCE {
                return Ok(floor);
            }
            tokio::time::sleep(LOOK_EVERY).await;
            waited += LOOK_EVERY;
        }
    }
}
