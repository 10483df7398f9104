//! Caution: finds the event that ends the process.
//!
//! A start that finds that the last run was not stopped cannot know whether an event ended it. So it begins what may have
//! been under way one event at a time, each with a mark in the database before it begins. An event whose mark [`STARTS`]
//! such starts find ends the process: it is parked.
//!
//! **Guarantees.** Nothing but what was under way is blamed, and the blame is there before the process can end of it. After
//! a clean stop there is neither caution nor blame.
//!
//! **Not guaranteed.** That it is quick: while it lasts, a delivery that hangs delays the others up to its timeout. That it
//! tells subscriptions apart: an event that is slow in one may be blamed for what ends the process in another.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::mutant::{self, Mutant};
use super::window::WINDOW_EVENTS;
use crate::envelope::{Key, Stored};
use crate::subscriber::Condition;

/// A mark that so many unclean starts find is one too many.
const STARTS: u32 = 3;
/// Events of a lane that are begun with caution at most: its row may be a second old, but its backlog may be a day long.
const LANE_EVENTS: usize = 64;

#[derive(Debug)]
pub(super) struct Caution {
    /// Events above it were in no window.
    upto: u64,
    /// Lanes that were due or are new, and how many of their events are still to be begun with caution.
    lanes: HashMap<Key, usize>,
    /// The event whose mark this start found, and how many have.
    blamed: (u64, u32),
    /// What begins as soon as its mark is in the database.
    pub(super) marking: Option<(Arc<Stored>, u32)>,
    /// Something has begun since the start. Before that, the mark that it found is all there is to go by.
    pub(super) began: bool,
}

impl Caution {
    /// As a start found it: `head` is that of the log, `lanes` are those that are due.
    pub(super) fn new(found: &Condition, cursor: u64, head: u64, lanes: HashSet<Key>) -> Self {
        let lanes = lanes.into_iter().map(|key| (key, LANE_EVENTS)).collect();
        Self {
            blamed: (found.suspect, starting(*found).crashes),
            marking: None,
            began: false,
            upto: head.min(cursor + WINDOW_EVENTS),
            lanes,
        }
    }

    /// A key got a lane: what it leaves to that was in the window.
    pub(super) fn watch(&mut self, key: Key) {
        self.lanes.insert(key, LANE_EVENTS);
    }

    /// A delivery of this key ended.
    pub(super) fn ended(&mut self, key: &Key) {
        if let Some(left) = self.lanes.get_mut(key) {
            *left -= 1;
            if *left == 0 {
                self.lanes.remove(key);
            }
        }
    }

    /// How many unclean starts have found the mark of this event.
    pub(super) fn crashes_of(&self, position: u64) -> u32 {
        let (blamed, crashes) = self.blamed;
        if blamed == position { crashes } else { 0 }
    }

    /// Whether all that may have been under way was, once more.
    pub(super) fn is_over(&self, cursor: u64) -> bool {
        self.lanes.is_empty() && cursor >= self.upto
    }

    /// Whether the window has not come to the end of what was in it.
    pub(super) fn has_window(&self, cursor: u64) -> bool {
        cursor < self.upto
    }

    pub(super) fn forget_lanes(&mut self) {
        self.lanes.clear();
    }
}

/// The condition with which a start goes on from what it found.
pub(in crate::engine) fn starting(found: Condition) -> Condition {
    let blamed = found.running && found.suspect != 0 && !mutant::is(Mutant::CrashesNotCounted);
    Condition {
        running: true,
        crashes: found.crashes + u32::from(blamed),
        ..found
    }
}

pub(super) fn is_too_many(crashes: u32) -> bool {
    crashes >= STARTS
}
