//! One lane: a second cursor, for one key in trouble.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use super::mutant::{self, Mutant};
use super::terms::Now;
use super::verdict::{Class, Failure, PANICKED};
use crate::Time;
use crate::envelope::{Key, Priority, Stored};
use crate::subscriber::{Choice, LaneState, Order, StoredLane};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for its due time.
    Due,
    /// Its next event must be read from the log.
    Reading,
    Running,
    /// Handled; the effects and the lane are being committed together.
    Committing,
    /// Waits for a decision.
    Parked,
    /// Decided about, and waits until the database has that.
    Decided,
    /// Caught up. Only its row is left, which says that the key is ahead of the cursor.
    Ahead,
}

/// An event that was parked, to be told in the commit that parks it.
#[derive(Debug, Clone)]
pub(in crate::engine) struct DeadLetter {
    pub(in crate::engine) event: Arc<Stored>,
    pub(in crate::engine) attempts: u32,
    pub(in crate::engine) class: Class,
}

/// Whether the database has a row of a lane, so that a restart finds what was left to it. That of one which the key had before
/// is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InDatabase {
    No,
    /// A save that has one is under way.
    Soon,
    Yes,
}

impl InDatabase {
    pub(super) fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) phase: Phase,
    /// The key's events up to here are done.
    pub(super) done: u64,
    /// The last event that was left to the lane.
    pub(super) left: u64,
    /// The key's events above `done` and up to here are in `queue`, all of them.
    pub(super) known: u64,
    pub(super) queue: VecDeque<Arc<Stored>>,
    /// Attempts begun on the event at the front.
    pub(super) attempts: u32,
    pub(super) panics: u8,
    /// When it is tried again; of a parked lane, when it was parked.
    pub(super) due: Time,
    /// When the event at the front first failed.
    pub(super) since: Time,
    /// The event at the front; while the front is not known, the one before it.
    pub(super) event_id: Uuid,
    /// Once that event has failed: where it is, its type, and how it failed last.
    pub(super) position: u64,
    pub(super) kind: String,
    pub(super) class: Option<Class>,
    pub(super) error: String,
    pub(super) stored: InDatabase,
    /// Differs from its row.
    pub(super) dirty: bool,
    /// Its entry among the lanes that wait for their time.
    pub(super) ticket: Option<(Time, u64)>,
    /// Its entry among the lanes whose time has come.
    pub(super) turn: Option<(Reverse<Priority>, Time, u64)>,
    /// Its entry among the lanes that are caught up.
    pub(super) mark: Option<(u64, u64)>,
    /// Its entry among the dead letters.
    pub(super) entry: Option<(Time, u64)>,
    pub(super) letter: Option<DeadLetter>,
    /// What runs counts as a delivery under way; the others of its batch do not.
    pub(super) leads: bool,
}

impl Lane {
    pub(super) fn new(phase: Phase, done: u64, event_id: Uuid, now: Now) -> Self {
        Self {
            phase,
            done,
            left: done,
            known: done,
            queue: VecDeque::new(),
            attempts: 0,
            panics: 0,
            due: now.wall,
            since: now.wall,
            event_id,
            position: 0,
            kind: String::new(),
            class: None,
            error: String::new(),
            stored: InDatabase::No,
            dirty: false,
            ticket: None,
            turn: None,
            mark: None,
            entry: None,
            letter: None,
            leads: true,
        }
    }

    /// As it was when the engine last stopped; `left` is the last event that can have been left to it.
    pub(super) fn loaded(row: StoredLane, left: u64, now: Now) -> Self {
        let left = left.max(row.done);
        let caught_up = row.event_id.is_nil() || (row.attempts == 0 && row.done == left);
        let phase = match row.state {
            LaneState::Retrying if caught_up => Phase::Ahead,
            LaneState::Retrying => Phase::Due,
            LaneState::Parked => Phase::Parked,
        };
        Self {
            left,
            attempts: row.attempts,
            panics: u8::from(row.error == PANICKED),
            due: row.due,
            since: row.since,
            position: row.position,
            kind: row.event_type,
            class: row.error_class,
            error: row.error,
            stored: InDatabase::of(phase != Phase::Ahead),
            ..Self::new(phase, row.done, row.event_id, now)
        }
    }

    /// Leaves the next event of the key to it, which has `room` for so many in its queue. Says by how much that grew.
    pub(super) fn leave(&mut self, event: &Arc<Stored>, room: usize) -> usize {
        let complete = self.known == self.left && self.phase != Phase::Parked;
        self.left = event.position;
        if complete && self.queue.len() < room {
            self.known = event.position;
            self.queue.push_back(event.clone());
            return 1;
        }
        0
    }

    /// Of the event at the front; normal while that is not known.
    pub(super) fn priority(&self) -> Priority {
        let front = self.queue.front();
        front.map_or(Priority::Normal, |event| event.envelope.priority)
    }

    /// Ends what is under way. Says by how much the deliveries under way become fewer.
    pub(super) fn end(&mut self) -> usize {
        let busy = match self.phase {
            Phase::Running | Phase::Committing => usize::from(self.leads),
            Phase::Due | Phase::Reading | Phase::Parked | Phase::Decided | Phase::Ahead => 0,
        };
        self.leads = true;
        busy
    }

    /// Whether there is an event to deliver or to read.
    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.known < self.left
    }

    /// Notes that the event at the front is done. Says by how much its queue shrank.
    pub(super) fn pass(&mut self, event: &Stored, now: Now) -> usize {
        self.done = event.position;
        self.known = self.known.max(self.done);
        self.left = self.left.max(self.done);
        self.renew(event.envelope.id, now);
        let front = self
            .queue
            .front()
            .is_some_and(|front| front.position <= self.done);
        if front {
            self.queue.pop_front();
        }
        usize::from(front)
    }

    /// Notes that everything up to a position is gone. Says by how much its queue shrank.
    pub(super) fn expire(&mut self, upto: u64, now: Now) -> usize {
        self.done = self.done.max(upto);
        self.known = self.known.max(self.done);
        self.left = self.left.max(self.done);
        self.letter = None;
        self.renew(self.event_id, now);
        let before = self.queue.len();
        self.queue.retain(|event| event.position > upto);
        before - self.queue.len()
    }

    /// Forgets what was tried on the event at the front.
    pub(super) fn renew(&mut self, event_id: Uuid, now: Now) {
        self.event_id = event_id;
        (self.attempts, self.panics) = (0, 0);
        (self.due, self.since) = (now.wall, now.wall);
        (self.position, self.class) = (0, None);
        self.kind.clear();
        self.error.clear();
    }

    /// Where its next event is, when it is not in the queue and that is known of it.
    pub(super) fn front(&self, order: Order) -> Option<u64> {
        match order {
            // Such a lane is for one event.
            Order::None | Order::Log => Some(self.known + 1),
            Order::Key => {
                let known = self.position > self.known && self.position <= self.left;
                known.then_some(self.position)
            }
        }
    }

    /// Whether it takes part in a sweep: more is left to it than it knows, and it does not wait for its time.
    pub(super) fn joins(&self, order: Order) -> bool {
        let runs = match self.phase {
            Phase::Reading | Phase::Running | Phase::Committing => true,
            Phase::Due => self.attempts == 0,
            Phase::Parked | Phase::Decided | Phase::Ahead => false,
        };
        runs && self.known < self.left && self.front(order).is_none()
    }

    /// Whether what was read lets it go on: there is something to deliver, or it is known that there is nothing.
    pub(super) fn is_fed(&self) -> bool {
        let complete = self.known >= self.left;
        match self.phase {
            Phase::Reading => complete || !self.queue.is_empty(),
            Phase::Due => complete && self.queue.is_empty(),
            _ => false,
        }
    }

    /// Lets go of its queue. Says by how much that shrank.
    pub(super) fn forget(&mut self) -> usize {
        self.known = self.done;
        std::mem::take(&mut self.queue).len()
    }

    /// Notes how the event at the front failed.
    pub(super) fn fail(&mut self, event: &Stored, failure: &Failure) {
        self.position = event.position;
        self.kind.clone_from(&event.envelope.kind);
        self.class = Some(failure.class);
        self.error.clone_from(&failure.text);
    }

    /// Whether it is a dead letter that is meant.
    pub(super) fn fits(&self, key: &Key, choice: &Choice) -> bool {
        let Choice {
            key: wanted,
            event_id,
            event_type,
            error_class,
            since,
            until,
        } = choice;
        wanted.as_ref().is_none_or(|wanted| wanted == key)
            && event_id.is_none_or(|id| id == self.event_id)
            && event_type.as_ref().is_none_or(|kind| *kind == self.kind)
            && error_class.is_none_or(|class| Some(class) == self.class)
            && since.is_none_or(|since| since <= self.due)
            && until.is_none_or(|until| self.due < until)
    }

    /// The event at the front begins anew, then what waits behind it.
    pub(super) fn redrive(&mut self, now: Now) {
        if mutant::is(Mutant::RedriveSkips) {
            self.done = self.position;
            self.known = self.position;
        }
        let position = self.position;
        self.renew(self.event_id, now);
        self.position = position;
        self.phase = Phase::Decided;
    }

    /// The event at the front is passed over; what waits behind it is next.
    pub(super) fn discard(&mut self, now: Now) {
        self.done = self.position;
        if mutant::is(Mutant::DiscardDropsLane) {
            self.done = self.left;
        }
        self.known = self.done;
        self.left = self.left.max(self.done);
        self.renew(self.event_id, now);
        self.phase = Phase::Decided;
    }

    pub(super) fn row(&self, key: &Key) -> StoredLane {
        StoredLane {
            key: key.clone(),
            done: self.done,
            state: match self.phase {
                Phase::Parked => LaneState::Parked,
                Phase::Due
                | Phase::Reading
                | Phase::Running
                | Phase::Committing
                | Phase::Decided
                | Phase::Ahead => LaneState::Retrying,
            },
            attempts: self.attempts,
            due: self.due,
            since: self.since,
            event_id: match self.phase {
                Phase::Ahead => Uuid::nil(),
                _ => self.event_id,
            },
            position: self.position,
            event_type: self.kind.clone(),
            error_class: self.class,
            error: self.error.clone(),
        }
    }
}
