//! The lanes of one subscription, by key, and which of them is due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::lane::{DeadLetter, InDatabase, Lane, Phase};
use super::letters::Entry;
use super::mutant::{self, Mutant};
use super::reads::{Bounds, Reads};
use super::terms::{Now, key_of};
use super::verdict::Failure;
use super::window::Taken;
use crate::Time;
use crate::envelope::{Key, Priority, Stored};
use crate::subscriber::{Order, StoredLane};

/// The error of a lane that was made while its event still runs.
const HANGING: &str = "has not ended yet";

/// What the window is to do with an event whose key may have a lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The key is free.
    Flows,
    /// It was done before a restart.
    Done,
    /// The lane has it now.
    Left,
}

#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) order: Order,
    pub(super) bounds: Bounds,
    pub(super) reads: Reads,
    pub(super) all: HashMap<Key, Lane>,
    /// By due time; the second number keeps lanes of the same time apart.
    due: BTreeMap<(Time, u64), Key>,
    /// Those whose time has come, the most important first.
    pub(super) turns: BTreeMap<(Reverse<Priority>, Time, u64), Key>,
    /// Lanes that are caught up, by the position up to which their key is done.
    ahead: BTreeMap<(u64, u64), Key>,
    /// The dead letters: parked, and the database has that. By the time at which they were parked.
    pub(super) letters: BTreeMap<Entry, Key>,
    pub(super) tickets: u64,
    dirty: Vec<Key>,
    /// Keys whose row is written by a commit under way: a save keeps its hands off them.
    held: HashSet<Key>,
    /// Events in the queues of all lanes.
    pub(super) buffered: usize,
    /// Deliveries and commits under way.
    pub(super) under_way: usize,
    pub(super) parked: usize,
    /// Decided about, and the database does not have that yet.
    pub(super) decided: usize,
}

impl Lanes {
    pub(super) fn load(
        order: Order,
        bounds: Bounds,
        rows: Vec<StoredLane>,
        cursor: u64,
        now: Now,
    ) -> Self {
        let mut lanes = Self {
            order,
            bounds,
            reads: Reads::default(),
            all: HashMap::new(),
            due: BTreeMap::new(),
            turns: BTreeMap::new(),
            ahead: BTreeMap::new(),
            letters: BTreeMap::new(),
            tickets: 0,
            dirty: Vec::new(),
            held: HashSet::new(),
            buffered: 0,
            under_way: 0,
            parked: 0,
            decided: 0,
        };
        for row in rows {
            let left = match order {
                Order::Key => cursor,
                // Such a lane is for one event: the first after `done`. Above the cursor the window brings it again.
                Order::None | Order::Log if row.done < cursor => row.done + 1,
                Order::None | Order::Log => row.done,
            };
            let key = row.key.clone();
            let lane = Lane::loaded(row, left, now);
            lanes.parked += usize::from(lane.phase == Phase::Parked);
            lanes.all.insert(key.clone(), lane);
            lanes.enlist(&key);
            lanes.settle(&key, now);
        }
        lanes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Lane> {
        self.all.get(key)
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    pub(super) fn retrying(&self) -> usize {
        self.all.len() - self.parked - self.ahead.len()
    }

    pub(super) fn parked(&self) -> usize {
        self.parked
    }

    /// The keys of the lanes that are due.
    pub(super) fn due(&self, now: Now) -> HashSet<Key> {
        let due = self.due.range(..=(now.wall, u64::MAX));
        due.map(|(_, key)| key.clone()).collect()
    }

    pub(super) fn next_due(&self) -> Option<Time> {
        let turn = self.turns.first_key_value().map(|(turn, _)| turn.1);
        turn.or_else(|| self.due.first_key_value().map(|((due, _), _)| *due))
    }

    /// Shows it the next event of the log.
    pub(super) fn admit(&mut self, event: &Arc<Stored>) -> Admission {
        let key = key_of(self.order, event);
        let Some(lane) = self.all.get_mut(key.as_ref()) else {
            return Admission::Flows;
        };
        if event.position <= lane.done {
            return Admission::Done;
        }
        if lane.phase == Phase::Ahead || mutant::is(Mutant::LaneBypassed) {
            return Admission::Flows;
        }
        let half = self.bounds.lanes / 2;
        let room = (lane.queue.len() + half.saturating_sub(self.buffered)).min(self.bounds.lane);
        self.buffered += lane.leave(event, room);
        if lane.phase == Phase::Due && lane.ticket.is_none() && lane.turn.is_none() {
            self.enlist(&key);
        }
        Admission::Left
    }

    /// Makes a lane of what was taken out of the window. It runs on if it was running, else it is due now.
    pub(super) fn open(&mut self, taken: &Taken, now: Now) -> Key {
        let key = key_of(self.order, &taken.event).into_owned();
        let phase = if taken.running {
            Phase::Running
        } else {
            Phase::Due
        };
        let mut lane = Lane::new(
            phase,
            taken.event.position - 1,
            taken.event.envelope.id,
            now,
        );
        lane.attempts = taken.attempts;
        lane.panics = taken.panics;
        let room = (self.bounds.lanes / 2).saturating_sub(self.buffered);
        for event in std::iter::once(&taken.event).chain(&taken.followers) {
            self.buffered += lane.leave(event, room.min(self.bounds.lane));
        }
        if taken.running {
            HANGING.clone_into(&mut lane.error);
            lane.leads = taken.leads;
            self.under_way += usize::from(lane.leads);
        }
        if let Some(old) = self.all.insert(key.clone(), lane) {
            debug_assert_eq!(old.phase, Phase::Ahead, "a key with a lane does not flow");
            old.mark.and_then(|mark| self.ahead.remove(&mark));
        }
        self.touch(&key);
        self.enlist(&key);
        key
    }

    /// Starts the most important of the lanes that are due, among equals the one that was due first.
    /// Those that have none in memory are read for.
    pub(super) fn start(&mut self, now: Now) -> Option<(Arc<Stored>, u32)> {
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= now.wall
        {
            let ((due, number), key) = entry.remove_entry();
            if let Some(lane) = self.all.get_mut(&key) {
                let turn = (Reverse(lane.priority()), due, number);
                (lane.ticket, lane.turn) = (None, Some(turn));
                self.turns.insert(turn, key);
            }
        }
        while let Some((_, key)) = self.turns.pop_first() {
            let Some(lane) = self.all.get_mut(&key) else {
                continue;
            };
            lane.turn = None;
            if let Some(front) = lane.queue.front().cloned() {
                if front.envelope.id != lane.event_id {
                    lane.renew(front.envelope.id, now);
                }
                lane.phase = Phase::Running;
                // What of the key lies before it is done or lost: a restart does not look for it.
                lane.done = front.position - 1;
                // Also where the clock was set back since: its row says that it had begun.
                lane.due = lane.due.min(now.wall);
                lane.attempts += 1;
                self.under_way += 1;
                let attempt = lane.attempts;
                self.touch(&key);
                return Some((front, attempt));
            }
            if lane.known < lane.left {
                self.hunger(&key);
            }
            // A lane from before a restart whose event the window has not brought yet.
        }
        None
    }

    /// The target is away: as if this attempt had not been made.
    pub(super) fn hold(&mut self, key: &Key, now: Now) {
        let Some(lane) = self.all.get_mut(key) else {
            return;
        };
        self.under_way -= lane.end();
        lane.phase = Phase::Due;
        lane.due = now.wall;
        lane.attempts = lane.attempts.saturating_sub(1);
        self.touch(key);
        self.enlist(key);
    }

    /// The event at the front is done, in the database too where its effects were committed with the lane.
    pub(super) fn pass(&mut self, key: &Key, event: &Stored, now: Now) {
        let Some(lane) = self.all.get_mut(key) else {
            return;
        };
        self.under_way -= lane.end();
        lane.phase = Phase::Due;
        self.buffered -= lane.pass(event, now);
        self.touch(key);
        self.go_on(key, now);
    }

    /// Counts a panic of the running delivery; says how many there were.
    pub(super) fn panicked(&mut self, key: &Key) -> u8 {
        self.all.get_mut(key).map_or(1, |lane| {
            lane.panics += 1;
            lane.panics
        })
    }

    /// The event at the front is tried again at `due`.
    pub(super) fn retry(&mut self, key: &Key, failure: &Failure, event: &Stored, due: Time) {
        let Some(lane) = self.all.get_mut(key) else {
            return;
        };
        self.under_way -= lane.end();
        lane.phase = Phase::Due;
        lane.due = due;
        lane.fail(event, failure);
        // Those that wait must not keep from others what these need to go on.
        if self.buffered > self.bounds.lanes / 2 {
            self.buffered -= lane.forget();
        }
        self.touch(key);
        self.enlist(key);
    }

    /// A new lane begins at `due`.
    pub(super) fn defer(&mut self, key: &Key, due: Time) {
        if let Some(lane) = self.all.get_mut(key) {
            lane.due = due;
            self.enlist(key);
        }
    }

    /// The event at the front waits for a decision, and with it the whole key.
    pub(super) fn park(&mut self, key: &Key, failure: &Failure, event: &Arc<Stored>, now: Now) {
        let Some(lane) = self.all.get_mut(key) else {
            return;
        };
        self.under_way -= lane.end();
        lane.phase = Phase::Parked;
        lane.due = now.wall;
        lane.fail(event, failure);
        lane.letter = Some(DeadLetter {
            event: event.clone(),
            attempts: lane.attempts,
            class: failure.class,
        });
        self.buffered -= lane.forget();
        self.parked += 1;
        self.touch(key);
        self.enlist(key);
    }

    /// A commit writes this key's row from now until [`Self::let_go`].
    pub(super) fn hold_row(&mut self, key: Key) {
        if let Some(lane) = self.all.get_mut(&key)
            && lane.phase == Phase::Running
        {
            lane.phase = Phase::Committing;
        }
        self.held.insert(key);
    }

    pub(super) fn let_go(&mut self, key: &Key, committed: bool) {
        self.held.remove(key);
        if let Some(lane) = self.all.get_mut(key)
            && lane.phase == Phase::Committing
            && committed
        {
            lane.stored = InDatabase::Yes;
        }
    }

    /// A commit wrote that the key is done up to this event, which may be ahead of the cursor.
    pub(super) fn mark(&mut self, key: &Key, event: &Stored, now: Now) {
        let lane = self
            .all
            .entry(key.clone())
            .or_insert_with(|| Lane::new(Phase::Ahead, event.position, event.envelope.id, now));
        debug_assert_eq!(lane.phase, Phase::Ahead, "a key with a lane does not flow");
        lane.pass(event, now);
        self.enlist(key);
    }

    /// How far the cursor may be saved: not over events whose lane neither has a row nor gets one in the same save.
    pub(super) fn limit(&self, cursor: u64) -> u64 {
        if mutant::is(Mutant::CursorOverLanes) {
            return cursor;
        }
        self.held
            .iter()
            .filter_map(|key| self.all.get(key))
            .filter(|lane| lane.phase == Phase::Committing && lane.stored != InDatabase::Yes)
            .fold(cursor, |limit, lane| limit.min(lane.done))
    }

    /// How far the lane is done that is furthest behind.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.all.values().map(|lane| lane.done).min()
    }

    /// Passes over the events of all lanes up to a position, but in those where one is under way.
    pub(super) fn expire(&mut self, upto: u64, now: Now) {
        let behind = |(_, lane): &(&Key, &Lane)| {
            lane.done < upto && matches!(lane.phase, Phase::Due | Phase::Parked)
        };
        let keys = self.all.iter().filter(behind);
        let mut keys: Vec<_> = keys.map(|(key, _)| key.clone()).collect();
        // A map has no order; what comes of it should.
        keys.sort_unstable();
        for key in keys {
            let Some(lane) = self.all.get_mut(&key) else {
                continue;
            };
            if lane.phase == Phase::Parked {
                lane.phase = Phase::Due;
                self.parked -= 1;
            }
            self.buffered -= lane.expire(upto, now);
            self.touch(&key);
            self.go_on(&key, now);
        }
    }

    pub(super) fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// Whether a row is not needed any more at this cursor.
    pub(super) fn has_passed(&self, cursor: u64) -> bool {
        self.ahead
            .first_key_value()
            .is_some_and(|((done, _), _)| *done <= cursor)
    }

    /// Takes the lanes that are caught up and that the cursor has reached: their rows are not needed any more.
    pub(super) fn take_passed(&mut self, cursor: u64) -> Vec<(Key, u64)> {
        let mut passed = Vec::new();
        let mut kept = BTreeMap::new();
        while let Some(entry) = self.ahead.first_entry()
            && (entry.key().0 <= cursor || mutant::is(Mutant::RowDroppedEarly))
        {
            let (mark, key) = entry.remove_entry();
            if self.held.contains(&key) {
                kept.insert(mark, key);
            } else {
                self.all.remove(&key);
                passed.push((key, mark.0));
            }
        }
        self.ahead.append(&mut kept);
        passed
    }

    /// Takes the rows to write, with the letters to tell in the same commit.
    pub(super) fn take_rows(&mut self) -> Vec<(StoredLane, Option<DeadLetter>)> {
        let mut rows = Vec::with_capacity(self.dirty.len());
        for key in std::mem::take(&mut self.dirty) {
            match self.all.get_mut(&key) {
                Some(_) if self.held.contains(&key) => self.dirty.push(key),
                Some(lane) if lane.dirty => {
                    lane.dirty = false;
                    if lane.stored == InDatabase::No {
                        lane.stored = InDatabase::Soon;
                    }
                    rows.push((lane.row(&key), lane.letter.take()));
                }
                Some(_) | None => {}
            }
        }
        rows
    }

    /// The rows are in the database.
    pub(super) fn saved(&mut self, rows: &[(StoredLane, Option<DeadLetter>)], now: Now) {
        for (row, _) in rows {
            if let Some(lane) = self.all.get_mut(&row.key)
                && lane.stored != InDatabase::No
            {
                lane.stored = InDatabase::of(!row.event_id.is_nil());
                if !lane.dirty {
                    self.settle(&row.key, now);
                }
            }
        }
    }

    /// The rows are not in the database, and what should have gone is still there.
    pub(super) fn unsaved(
        &mut self,
        rows: Vec<(StoredLane, Option<DeadLetter>)>,
        passed: Vec<(Key, u64)>,
        now: Now,
    ) {
        for (row, letter) in rows {
            if let Some(lane) = self.all.get_mut(&row.key) {
                if lane.stored == InDatabase::Soon {
                    lane.stored = InDatabase::No;
                }
                let letter = letter.filter(|_| !mutant::is(Mutant::LetterLost));
                lane.letter = lane.letter.take().or(letter);
                self.touch(&row.key);
            }
        }
        for (key, done) in passed {
            if !self.all.contains_key(&key) {
                let lane = Lane::new(Phase::Ahead, done, Uuid::nil(), now);
                self.all.insert(key.clone(), lane);
                self.enlist(&key);
            }
        }
    }

    /// After an event is done or read: on with the next, or caught up.
    pub(super) fn go_on(&mut self, key: &Key, now: Now) {
        if let Some(lane) = self.all.get_mut(key)
            && !lane.has_work()
        {
            lane.renew(lane.event_id, now);
            lane.done = lane.left;
            lane.phase = Phase::Ahead;
            self.touch(key);
        }
        self.enlist(key);
    }

    /// Enters a lane where its phase says, and nowhere else.
    pub(super) fn enlist(&mut self, key: &Key) {
        let Some(lane) = self.all.get_mut(key) else {
            return;
        };
        lane.ticket
            .take()
            .and_then(|ticket| self.due.remove(&ticket));
        lane.turn.take().and_then(|turn| self.turns.remove(&turn));
        lane.mark.take().and_then(|mark| self.ahead.remove(&mark));
        lane.entry
            .take()
            .and_then(|entry| self.letters.remove(&entry));
        self.tickets += 1;
        match lane.phase {
            Phase::Due => {
                lane.ticket = Some((lane.due, self.tickets));
                self.due.insert((lane.due, self.tickets), key.clone());
            }
            Phase::Ahead => {
                lane.mark = Some((lane.done, self.tickets));
                self.ahead.insert((lane.done, self.tickets), key.clone());
            }
            Phase::Reading
            | Phase::Running
            | Phase::Committing
            | Phase::Parked
            | Phase::Decided => {}
        }
        self.join(key);
    }

    pub(super) fn touch(&mut self, key: &Key) {
        if let Some(lane) = self.all.get_mut(key)
            && !lane.dirty
        {
            lane.dirty = true;
            self.dirty.push(key.clone());
        }
    }
}

#[cfg(test)]
mod tests;
