//! What of a subscription is in the database: its cursor, and a row for each key in trouble.

use uuid::Uuid;

use super::dead_letters::ErrorClass;
use crate::commit::Write;
use crate::envelope::{Key, Stored};
use crate::{BoxFuture, Fault, Time};

/// Where subscriptions keep their cursors and lanes. Reads are futures; changes are writes for a commit.
pub trait Subscriptions: Send + Sync {
    /// All stored subscriptions.
    fn load(&self) -> BoxFuture<'_, Result<Vec<StoredSubscription>, Fault>>;

    /// All lanes of a subscription.
    fn lanes(&self, name: &str) -> BoxFuture<'_, Result<Vec<StoredLane>, Fault>>;

    /// How many keys of each subscription are in trouble, by how.
    fn lane_counts(&self) -> BoxFuture<'_, Result<Vec<LaneCount>, Fault>>;

    /// Events of these keys after `after` and up to `upto`, oldest first, at most `limit`: what waits behind lanes. Gap-free
    /// like the log: what it skips is of another key.
    fn backlog(
        &self,
        keys: &[Key],
        after: u64,
        upto: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, Fault>>;

    /// The events at these positions, oldest first; those that are gone are left out.
    fn events_at(&self, positions: &[u64]) -> BoxFuture<'_, Result<Vec<Stored>, Fault>>;

    /// Registers a new subscription at a position. A miss when the name is there.
    fn create(&self, name: &str, position: u64) -> Write;

    /// Moves the cursor forward, or leaves it where it is; a miss when it would go back.
    fn advance(&self, name: &str, position: u64) -> Write;

    /// Writes the condition as it is now. A miss when there is no such subscription.
    fn put_condition(&self, name: &str, condition: &Condition) -> Write;

    /// Moves the cursor and all lanes to another name.
    fn rename(&self, from: &str, to: &str) -> Write;

    /// Forgets a subscription with all its lanes; it may not be there.
    fn remove(&self, name: &str) -> Vec<Write>;

    /// All replays under way.
    fn replays(&self) -> BoxFuture<'_, Result<Vec<StoredReplay>, Fault>>;

    /// Writes the row of a replay that begins, beside that of its cursor. A miss when there is one of its subscription.
    fn put_replay(&self, replay: &StoredReplay) -> Write;

    /// Removes it. A miss when it is not there.
    fn end_replay(&self, name: &str) -> Write;

    /// From now on this is the generation of a subscription. A miss when it is that, or a later one, already.
    fn set_generation(&self, name: &str, generation: u32) -> Write;

    /// Writes a lane as it is now, whether or not it exists.
    fn put_lane(&self, name: &str, lane: &StoredLane) -> Write;

    /// Removes a lane, which may not be there.
    fn drop_lane(&self, name: &str, key: &Key) -> Write;
}

/// How many lanes of a subscription are in a state.
pub type LaneCount = (String, LaneState, usize);

/// A subscription's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubscription {
    pub name: String,
    /// Everything up to here is done or left to a lane.
    pub position: u64,
    pub condition: Condition,
    /// From 1; each replay is one more.
    pub generation: u32,
}

/// Events that a subscription gets again, beside those that it gets for the first time. The cursor and the lanes of a
/// replay are those of a subscription of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReplay {
    /// Of the cursor: the name of the subscription and the generation, `statistics@2`.
    pub name: String,
    pub subscription: String,
    pub generation: u32,
    /// The first position.
    pub from: u64,
    /// The last position; `None`: as far as the subscription is.
    pub to: Option<u64>,
    /// Who asked for it.
    pub by: Uuid,
}

/// How a subscription is, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Condition {
    /// Nothing is begun until an operator resumes it.
    pub paused: bool,
    /// An engine has it, and has not let go of it: found so at a start, the stop before was none.
    pub running: bool,
    /// The event that was begun last after such a start; 0 when there is none.
    pub suspect: u64,
    /// How many such starts in a row have found it so.
    pub crashes: u32,
}

/// The state of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    Retrying,
    Parked,
}

/// A lane's row: a second cursor, for one key in trouble. Of a subscription that keeps no order, each event in trouble
/// has a lane of its own, with the key `event:<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLane {
    pub key: Key,
    /// The key's events up to here are done.
    pub done: u64,
    pub state: LaneState,
    /// Attempts begun on the event at the front.
    pub attempts: u32,
    /// When it is tried again; of a parked one, when it was parked.
    pub due: Time,
    /// When the event at the front first failed.
    pub since: Time,
    /// The event at the front; while that is not known, the one before it. Nil when nothing waits: then the row only says
    /// that the key is done up to `done`, ahead of the subscription's cursor, and it goes when the cursor gets there.
    pub event_id: Uuid,
    /// Where that event is in the log, once it has failed; 0 before.
    pub position: u64,
    /// Its type, once it has failed.
    pub event_type: String,
    /// How it failed last.
    pub error_class: Option<ErrorClass>,
    /// The last error, redacted by the handler; 500 characters at most.
    pub error: String,
}
