//! Attempts without an outcome: the kernel's own table.

use quivive_delivery::{Time, Write};
use uuid::Uuid;

use super::Read;

/// An attempt that has no outcome yet.
#[derive(Debug, Clone)]
pub struct OpenAttempt {
    pub workflow_id: Uuid,
    /// The type of its Attempted event.
    pub kind: String,
    pub attempted_id: Uuid,
    /// The head of the log when it was submitted: its event lies above.
    pub after: u64,
    pub deadline: Time,
    /// Waiting for the person, not running.
    pub waiting: bool,
    /// Which run of which server opened it.
    pub node: Uuid,
}

/// An attempt that waits, as what will conclude it keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub workflow_id: Uuid,
    pub attempted_id: Uuid,
}

/// The kernel's own table.
pub trait OpenAttempts: Send + Sync {
    /// Those that a crash or a deadline left behind: running ones of a node that lives no more, or of this one and past their
    /// deadline, and waiting ones past theirs.
    fn abandoned(&self, node: Uuid, now: Time) -> Read<'_, Vec<OpenAttempt>>;

    fn find(&self, workflow_id: Uuid) -> Read<'_, Option<OpenAttempt>>;

    fn open(&self, attempt: &OpenAttempt) -> Write;

    /// Misses when another has closed it.
    fn close(&self, workflow_id: Uuid) -> Write;

    /// Turns a running attempt into a waiting one.
    fn wait(&self, workflow_id: Uuid, until: Time) -> Write;
}
