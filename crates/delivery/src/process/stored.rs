//! What of a process under way is in the database: one row, from the end of its first step to that of its last.

use uuid::Uuid;

use crate::commit::Write;
use crate::envelope::Key;
use crate::{BoxFuture, Fault, Time};

/// Where processes keep their rows. Reads are futures; changes are writes for a commit.
pub trait Processes: Send + Sync {
    fn find(&self, id: Uuid) -> BoxFuture<'_, Result<Option<Case>, Fault>>;

    /// Those that should have been done by now, the oldest first, at most `limit`.
    fn overdue(&self, now: Time, limit: usize) -> BoxFuture<'_, Result<Vec<Case>, Fault>>;

    /// Writes the row of one that begins. A miss when it is there.
    fn begin(&self, case: &Case) -> Write;

    /// Moves one. A miss when it is not where it was.
    fn advance(&self, id: Uuid, from: Place, to: Place) -> Write;

    /// Removes the row of one that ends. A miss when it is not where it was.
    fn end(&self, id: Uuid, from: Place) -> Write;
}

/// A process under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The id of the event that began it.
    pub id: Uuid,
    pub kind: String,
    pub place: Place,
    pub deadline: Time,
    /// The type of the event that began it, and what is taken over from its envelope.
    pub begun_by: String,
    pub key: Key,
    pub workflow_id: Uuid,
    pub correlation_id: Uuid,
    pub subject: Option<String>,
}

/// Where a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub direction: Direction,
    /// The step that is to be done, or undone, next; the first is 0.
    pub step: u32,
}

/// Which way a process goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Doing,
    Undoing,
}

impl Place {
    pub(super) fn doing(step: u32) -> Self {
        let direction = Direction::Doing;
        Self { direction, step }
    }

    pub(super) fn undoing(step: u32) -> Self {
        let direction = Direction::Undoing;
        Self { direction, step }
    }
}
