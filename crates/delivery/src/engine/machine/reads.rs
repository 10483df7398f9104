//! What lanes wait for that is in the log alone.
//!
//! A lane holds a bounded part of what waits behind its key. For the rest there are two reads, one of each at a time:
//! *fronts* fetches single events whose positions are known, for many lanes at once; the *sweep* reads the log once,
//! oldest first, for all lanes whose next event nobody knows. A lane joins the sweep if it knows its events at least up to where
//! the sweep is, and takes what it has room for; one that has none, or comes too late, waits for the next sweep, which
//! begins at the lane that is furthest behind.
//!
//! **Guarantees.** A lane gets the events of its key without a gap: what is not known of it is never passed over.
//!
//! **Not guaranteed.** That a lane whose next event is near waits less than one whose is far: they share the sweep.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::lane::Phase;
use super::lanes::Lanes;
use super::mutant::{self, Mutant};
use super::step::Machine;
use super::terms::{Effect, Now, key_of};
use super::verdict::later;
use super::window::WINDOW_EVENTS;
use crate::envelope::{Key, Stored};

/// After a read that failed.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// A lane whose next event only a newer program reads. It is read again for nothing, so not often.
const NEWER_AGAIN: Duration = Duration::from_mins(1);
/// How much a subscription holds in memory, and how much is read for lanes at once.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Bounds {
    /// Events above the cursor: what one stuck key can make the window hold before its lane is made.
    pub(in crate::engine) window: u64,
    /// Waiting events that one lane holds in memory.
    pub(in crate::engine) lane: usize,
    /// Waiting events that all lanes of a subscription hold: half of it what comes, half what is read again.
    pub(in crate::engine) lanes: usize,
    /// Events fetched by their positions in one read.
    pub(in crate::engine) fronts: usize,
    /// Events of one read of the sweep.
    pub(in crate::engine) swept: usize,
    /// For so many lanes at most the database is asked for their keys, and looks over what is between faster than it tells
    /// it.
    pub(in crate::engine) few: usize,
}

impl Bounds {
    pub(in crate::engine) const DEFAULT: Self = Self {
        window: WINDOW_EVENTS,
        lane: 64,
        lanes: 4096,
        fronts: 256,
        swept: 1024,
        few: 64,
    };
}

/// What the next read of the sweep is to bring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Sweep {
    pub(in crate::engine) after: u64,
    pub(in crate::engine) upto: u64,
    pub(in crate::engine) limit: usize,
    /// `None`: of all keys.
    pub(in crate::engine) keys: Option<Vec<Key>>,
}

#[derive(Debug, Default)]
pub(super) struct Reads {
    fronts: VecDeque<(Key, u64)>,
    fetching: bool,
    /// Lanes that take part in the sweep if they know their events up to where it is.
    members: BTreeSet<Key>,
    /// Members that have nothing to do meanwhile.
    hungry: usize,
    /// How far the sweep has come.
    at: u64,
    sweeping: bool,
    /// Nothing is read before.
    again: Duration,
}

impl Reads {
    pub(super) fn under_way(&self) -> usize {
        usize::from(self.fetching) + usize::from(self.sweeping)
    }

    /// Whether a lane waits for one.
    fn are_awaited(&self) -> bool {
        self.fetching || !self.fronts.is_empty() || self.hungry > 0
    }

    fn are_wanted(&self) -> bool {
        (!self.fetching && !self.fronts.is_empty()) || (!self.sweeping && self.hungry > 0)
    }
}

impl Machine {
    /// Reads for lanes that have nothing to deliver.
    pub(super) fn read_for_lanes(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.stopping || now.tick < self.lanes.reads.again {
            return;
        }
        effects.extend(self.lanes.fetch().map(Effect::Fronts));
        let sweep = self.lanes.sweep(self.window.read());
        effects.extend(sweep.map(Effect::Sweep));
    }

    /// When a read that failed is tried again.
    pub(super) fn next_read(&self, tick: Duration) -> Option<Duration> {
        let reads = &self.lanes.reads;
        (reads.again > tick && reads.are_wanted() && !self.stopping).then_some(reads.again)
    }

    /// Takes the events that were fetched for these lanes; `None` when they could not be read.
    pub(super) fn fetched(
        &mut self,
        fronts: Vec<(Key, u64)>,
        read: Option<Vec<Arc<Stored>>>,
        now: Now,
    ) {
        self.lanes.reads.fetching = false;
        let Some(events) = read else {
            self.lanes.reads.again = now.tick + READ_AGAIN;
            self.lanes.reads.fronts.extend(fronts);
            return;
        };
        let mut events = events.into_iter().peekable();
        for (key, position) in fronts {
            while events.next_if(|event| event.position < position).is_some() {}
            let event = events.next_if(|event| event.position == position);
            // A lane for one event that is done has the position of the next.
            let own = |event: &Arc<Stored>| *key_of(self.rules.order, event) == key;
            let event = event.filter(|event| own(event) && self.rules.selection.takes(event));
            let reads = |event: &Arc<Stored>| self.rules.versions.read(event);
            if event.as_ref().is_some_and(|event| !reads(event)) {
                self.lanes.read_later(&key, now);
            } else {
                self.lanes.got_front(&key, position, event, now);
            }
        }
    }

    /// Takes what the sweep brought: all events there are, of its keys, up to its end.
    pub(super) fn swept(&mut self, sweep: &Sweep, read: Option<Vec<Arc<Stored>>>, now: Now) {
        self.lanes.reads.sweeping = false;
        let Some(events) = read else {
            self.lanes.reads.again = now.tick + READ_AGAIN;
            return;
        };
        let mut open = self.lanes.open_to(sweep);
        let mut newer = Vec::new();
        for event in events {
            let key = &event.envelope.key;
            if !open.contains(key) || !self.rules.selection.takes(&event) {
                continue;
            }
            let readable = self.rules.versions.read(&event);
            if !readable {
                newer.push(key.clone());
            }
            let closed = !self.lanes.take_swept(&event, readable);
            if closed && !mutant::is(Mutant::FullLaneGoesOn) {
                open.remove(&event.envelope.key);
            }
        }
        self.lanes.know(&open, sweep.upto);
        self.lanes.end_hunger(now);
        for key in newer {
            self.lanes.read_later(&key, now);
        }
    }
}

impl Lanes {
    /// Whether a lane waits for a read.
    pub(super) fn is_reading(&self) -> bool {
        self.reads.are_awaited()
    }

    /// The next fronts to fetch, by position.
    fn fetch(&mut self) -> Option<Vec<(Key, u64)>> {
        let reads = &mut self.reads;
        if reads.fetching || reads.fronts.is_empty() {
            return None;
        }
        reads.fetching = true;
        let count = self.bounds.fronts.min(reads.fronts.len());
        let mut fronts: Vec<_> = reads.fronts.drain(..count).collect();
        fronts.sort_unstable_by_key(|(_, position)| *position);
        Some(fronts)
    }

    /// The next read of the sweep; nothing above `head` was left to a lane.
    fn sweep(&mut self, head: u64) -> Option<Sweep> {
        let crowded = self.buffered + self.bounds.swept > self.bounds.lanes;
        let is_busy = !self.turns.is_empty() || self.under_way > 0;
        if self.reads.sweeping || self.reads.hungry == 0 || (crowded && is_busy) {
            return None;
        }
        let members = self.reads.members.iter();
        let of = |key| self.all.get(key);
        let hungry = members
            .clone()
            .filter_map(of)
            .filter(|lane| lane.phase == Phase::Reading)
            .map(|lane| lane.known);
        let (mut first, mut next) = (None::<u64>, None::<u64>);
        for known in hungry {
            first = Some(first.map_or(known, |first| first.min(known)));
            if known >= self.reads.at {
                next = Some(next.map_or(known, |next| next.min(known)));
            }
        }
        let after = next.or(first)?;
        let joined = members.filter(|key| of(key).is_some_and(|lane| lane.known >= after));
        let few = self.bounds.few;
        let keys: Vec<_> = joined.take(few + 1).cloned().collect();
        self.reads.at = after;
        self.reads.sweeping = true;
        Some(Sweep {
            after,
            upto: head,
            limit: self.bounds.swept,
            keys: (keys.len() <= few).then_some(keys),
        })
    }

    /// Reads the next event of a lane that has none in memory.
    pub(super) fn hunger(&mut self, key: &Key) {
        let Some(lane) = self.all.get_mut(key) else {
            return;
        };
        lane.phase = Phase::Reading;
        if let Some(position) = lane.front(self.order) {
            self.reads.fronts.push_back((key.clone(), position));
        } else {
            self.reads.hungry += 1;
            self.reads.members.insert(key.clone());
        }
    }

    /// Enters a lane among those that take part in the sweep, or not.
    pub(super) fn join(&mut self, key: &Key) {
        let Some(lane) = self.all.get(key) else {
            return;
        };
        if lane.joins(self.order) {
            if !self.reads.members.contains(key) {
                self.reads.members.insert(key.clone());
            }
        } else if !self.reads.members.is_empty() {
            self.reads.members.remove(key);
        }
    }

    fn got_front(&mut self, key: &Key, position: u64, event: Option<Arc<Stored>>, now: Now) {
        let Some(lane) = self.all.get_mut(key) else {
            return;
        };
        debug_assert_eq!(
            lane.phase,
            Phase::Reading,
            "a lane that reads does nothing else"
        );
        (lane.phase, lane.due) = (Phase::Due, now.wall);
        lane.known = lane.known.max(position);
        self.buffered += usize::from(event.is_some());
        lane.queue.extend(event);
        self.go_on(key, now);
    }

    /// The next event of a lane is none for this program.
    fn read_later(&mut self, key: &Key, now: Now) {
        let Some(lane) = self.all.get_mut(key) else {
            return;
        };
        if lane.phase == Phase::Reading {
            self.reads.hungry -= usize::from(lane.front(self.order).is_none());
            (lane.phase, lane.due) = (Phase::Due, later(now.wall, NEWER_AGAIN));
            self.enlist(key);
        }
    }

    /// The lanes that take part in this read.
    fn open_to(&self, sweep: &Sweep) -> HashSet<Key> {
        let joined = |key: &&Key| {
            let lane = self.all.get(*key);
            lane.is_some_and(|lane| lane.known >= sweep.after || mutant::is(Mutant::LateLaneJoins))
        };
        let members = &self.reads.members;
        match &sweep.keys {
            Some(keys) => {
                let keys = keys.iter().filter(|key| members.contains(*key));
                keys.filter(joined).cloned().collect()
            }
            None => members.iter().filter(joined).cloned().collect(),
        }
    }

    /// Leaves an event of the sweep to its lane. Says whether the lane takes part further.
    fn take_swept(&mut self, event: &Arc<Stored>, readable: bool) -> bool {
        let Some(lane) = self.all.get_mut(&event.envelope.key) else {
            return false;
        };
        if event.position <= lane.known || event.position > lane.left {
            return true;
        }
        let first = lane.queue.is_empty();
        let room =
            first || (lane.queue.len() < self.bounds.lane && self.buffered < self.bounds.lanes);
        if !readable || !room {
            lane.known = event.position - 1;
            return false;
        }
        lane.known = event.position;
        lane.queue.push_back(event.clone());
        self.buffered += 1;
        true
    }

    /// There is nothing more of these up to here.
    fn know(&mut self, open: &HashSet<Key>, upto: u64) {
        self.reads.at = upto;
        for key in open {
            if let Some(lane) = self.all.get_mut(key) {
                lane.known = lane.known.max(upto.min(lane.left));
            }
        }
    }

    /// Lets those go on that can.
    fn end_hunger(&mut self, now: Now) {
        let Self { all, reads, .. } = self;
        let mut fed = Vec::new();
        reads.members.retain(|key| {
            let Some(lane) = all.get(key) else {
                return false;
            };
            if lane.is_fed() {
                fed.push(key.clone());
            }
            lane.known < lane.left
        });
        for key in fed {
            if let Some(lane) = self.all.get_mut(&key)
                && lane.phase == Phase::Reading
            {
                self.reads.hungry -= 1;
                (lane.phase, lane.due) = (Phase::Due, now.wall);
            }
            self.go_on(&key, now);
        }
    }
}
