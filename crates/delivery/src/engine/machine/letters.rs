//! The dead letters among the lanes: which there are, and how one goes on when it is decided about.

use std::ops::Bound;

use super::decisions::Fate;
use super::lane::{Lane, Phase};
use super::lanes::Lanes;
use super::mutant::{self, Mutant};
use super::terms::Now;
use crate::Time;
use crate::envelope::Key;
use crate::subscriber::{Choice, StoredLane};

/// When it was parked; the second number keeps those of the same time apart, and rises.
pub(super) type Entry = (Time, u64);

/// A walk through the dead letters that there were when it began: what is parked again meanwhile is not met again.
#[derive(Debug)]
pub(super) struct Walk {
    after: Bound<Entry>,
    upto: u64,
    pub(super) is_over: bool,
}

/// The row of a dead letter that is decided about while no engine runs; `None` when it is not meant.
pub(in crate::engine) fn decided(
    row: StoredLane,
    cursor: u64,
    choice: &Choice,
    fate: &Fate,
    now: Now,
) -> Option<StoredLane> {
    let key = row.key.clone();
    let mut lane = Lane::loaded(row, cursor, now);
    if lane.phase != Phase::Parked || !lane.fits(&key, choice) {
        return None;
    }
    match fate {
        Fate::Redrive(_) => lane.redrive(now),
        Fate::Discard(_) => lane.discard(now),
    }
    Some(lane.row(&key))
}

impl Lanes {
    pub(super) fn walk(&self) -> Walk {
        Walk {
            after: Bound::Unbounded,
            upto: self.tickets,
            is_over: false,
        }
    }

    /// How many dead letters are meant.
    pub(super) fn count(&self, choice: &Choice) -> u64 {
        let fitting = self.letters.values().filter(|key| self.fits(key, choice));
        fitting.count() as u64
    }

    /// The next ones that are meant, `most` at most, of the next `look` of all.
    pub(super) fn next_letters(
        &self,
        walk: &mut Walk,
        choice: &Choice,
        most: usize,
        look: usize,
    ) -> Vec<Key> {
        let mut found = Vec::new();
        let mut rest = self.letters.range((walk.after, Bound::Unbounded));
        for _ in 0..look {
            if found.len() == most {
                return found;
            }
            let Some((entry, key)) = rest.next() else {
                walk.is_over = true;
                return found;
            };
            walk.after = Bound::Excluded(*entry);
            if entry.1 <= walk.upto && self.fits(key, choice) {
                found.push(key.clone());
            }
        }
        found
    }

    fn fits(&self, key: &Key, choice: &Choice) -> bool {
        let lane = self.all.get(key);
        lane.is_some_and(|lane| lane.fits(key, choice))
    }

    /// A dead letter is decided about. Nothing of its key begins before the database has that.
    pub(super) fn decide(&mut self, key: &Key, now: Now, change: impl FnOnce(&mut Lane)) {
        let Some(lane) = self.all.get_mut(key) else {
            return;
        };
        debug_assert_eq!(lane.phase, Phase::Parked, "only a dead letter is listed");
        change(lane);
        self.parked -= 1;
        self.decided += 1;
        self.touch(key);
        self.enlist(key);
        if mutant::is(Mutant::BegunUntold) {
            self.settle(key, now);
        }
    }

    /// Whether the database does not have every decision yet.
    pub(super) fn is_deciding(&self) -> bool {
        self.decided > 0
    }

    /// The database has this lane as it is.
    pub(super) fn settle(&mut self, key: &Key, now: Now) {
        let Some(lane) = self.all.get_mut(key) else {
            return;
        };
        match lane.phase {
            Phase::Parked if lane.entry.is_none() => {
                self.tickets += 1;
                let entry = (lane.due, self.tickets);
                lane.entry = Some(entry);
                self.letters.insert(entry, key.clone());
            }
            Phase::Decided => {
                lane.phase = Phase::Due;
                self.decided -= 1;
                self.go_on(key, now);
            }
            Phase::Parked
            | Phase::Due
            | Phase::Reading
            | Phase::Running
            | Phase::Committing
            | Phase::Ahead => {}
        }
    }
}
