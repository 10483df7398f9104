//! Make a backup of the whole server while it runs: one file set with a position, and the keys apart. Source: the
//! specification.

use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::BoxFuture;

use crate::workflows::prelude::*;

pub struct BackUp {
    pub copier: Arc<dyn Copier>,
}

/// Writes what a backup is made of.
pub trait Copier: Send + Sync {
    fn copy(&self) -> BoxFuture<'_, Result<Copied, NotCopied>>;
}

/// A backup that is there, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Of all its files, the keys among them.
    pub bytes: u64,
    /// Of the last event in it, and the log's epoch.
    pub position: u64,
    pub epoch: u64,
}

/// Why there is none. Nothing of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum NotCopied {
    NoSpace,
    IoError,
}

#[derive(Event)]
#[event(
    type = "operator.backup.attempted",
    version = 1,
    name = "BackupAttempted",
    audit = "BACKUP_ATTEMPTED"
)]
pub struct Attempted {
    pub by: String,
}

#[derive(Event)]
#[event(
    type = "operator.backup.succeeded",
    version = 1,
    name = "BackupSucceeded",
    audit = "BACKUP_SUCCEEDED"
)]
pub struct Succeeded {
    pub bytes: u64,
    pub position: u64,
}

#[derive(Event)]
#[event(
    type = "operator.backup.failed",
    version = 1,
    name = "BackupFailed",
    audit = "BACKUP_FAILED"
)]
pub struct Failed {
    pub by: String,
    pub reason: Reason,
}

impl Workflow for BackUp {
    const NAME: &'static str = "backup";
    /// As long as a disk may take for a large database.
    const DEADLINE: Duration = Duration::from_hours(24);
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = NotCopied;
    type Reply = Copied;

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            by: "system".to_owned(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            by: attempted.by.clone(),
            reason,
        }
    }

    async fn run(&self, _: &Cx) -> Run<Self> {
        // Nothing is guarded, so this is decided once.
        match self.copier.copy().await {
            Ok(copied) => {
                let succeeded = Succeeded {
                    bytes: copied.bytes,
                    position: copied.position,
                };
                succeed(Commit::default(), succeeded, copied)
            }
            Err(refusal) => refuse(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::nobody;

    struct Fixed(Result<Copied, NotCopied>);

    impl Copier for Fixed {
        fn copy(&self) -> BoxFuture<'_, Result<Copied, NotCopied>> {
            Box::pin(std::future::ready(self.0))
        }
    }

    fn back_up(result: Result<Copied, NotCopied>) -> BackUp {
        BackUp {
            copier: Arc::new(Fixed(result)),
        }
    }

    #[tokio::test]
    async fn what_was_copied_is_told() {
        let copied = Copied {
            bytes: 4_096,
            position: 7,
            epoch: 1,
        };
        let told = nobody().when(back_up(Ok(copied))).await.succeeded();
        assert_eq!(
            told.open("operator.backup.succeeded"),
            serde_json::json!({"bytes": 4_096, "position": 7})
        );
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        for refusal in [NotCopied::NoSpace, NotCopied::IoError] {
            let told = nobody().when(back_up(Err(refusal))).await;
            told.refused(refusal).raised(&[]);
        }
    }
}
