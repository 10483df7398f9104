//! The machine itself: which input leads to what.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Admits, Breaker};
use super::caution::{Caution, starting};
use super::decisions::Decision;
use super::lane::Phase;
use super::lanes::{Admission, Lanes};
use super::ledger::Ledger;
use super::mutant::{self, Mutant};
use super::places::Places;
use super::pulse::Pulse;
use super::terms::{DeliveryState, Effect, Input, Now, Rules, Selection, key_of};
use super::verdict::Rng;
use super::window::{State, Window};
use crate::envelope::{Key, Stored};
use crate::subscriber::{Order, StoredLane, StoredSubscription};

/// A subscription's state.
#[derive(Debug)]
pub(in crate::engine) struct Machine {
    pub(super) rules: Rules,
    pub(super) window: Window,
    pub(super) lanes: Lanes,
    pub(super) ledger: Ledger,
    pub(super) breaker: Breaker,
    pub(super) pulse: Pulse,
    pub(super) places: Places,
    /// While it is not known whether an event ended the last run.
    pub(super) caution: Option<Caution>,
    /// The event at which it waits for a newer program: this one cannot read it.
    held: Option<Arc<Stored>>,
    /// What operators decided about and is not done yet.
    pub(super) decisions: Vec<Decision>,
    pub(super) stopping: bool,
}

impl Machine {
    /// As the database had it; its condition has been written as [`starting`] says since. `head` is that of the log.
    pub(in crate::engine) fn new(
        rules: Rules,
        StoredSubscription {
            position: cursor,
            condition,
            ..
        }: StoredSubscription,
        lanes: Vec<StoredLane>,
        head: u64,
        now: Now,
    ) -> Self {
        let lanes = Lanes::load(rules.order, rules.bounds, lanes, cursor, now);
        let unclean = condition.running;
        // A replay never gets further than its last position.
        let head = rules.upto.map_or(head, |last| last.min(head));
        Self {
            window: Window::new(rules.order, rules.bounds.window, cursor),
            // Where nothing is set aside there is nobody to blame.
            caution: (unclean && rules.order != Order::Log)
                .then(|| Caution::new(&condition, cursor, head, lanes.due(now))),
            lanes,
            ledger: Ledger::new(rules.save_every, cursor, starting(condition)),
            breaker: Breaker::of(rules.order, &rules.retry),
            pulse: Pulse::new(),
            places: Places::new(rules.concurrency, rules.growing_to),
            held: None,
            decisions: Vec::new(),
            stopping: false,
            rules,
        }
    }

    /// Takes one input; what is to be done is added to `effects`. A batch of inputs ends with a [`Input::Tick`].
    pub(in crate::engine) fn step(
        &mut self,
        input: Input,
        now: Now,
        rng: &mut Rng,
        effects: &mut Vec<Effect>,
    ) {
        match input {
            Input::Read(events) => {
                // Some may have been passed over while they were read.
                let read = self.window.read();
                let next = events.into_iter().filter(|event| event.position > read);
                next.for_each(|event| self.admit(event));
            }
            Input::Unwanted(upto) => {
                if self.held.is_none() && upto > self.window.read() {
                    self.window.pass(upto);
                }
            }
            Input::Finished { event, verdict } => self.finished(event, verdict, now, rng, effects),
            Input::FinishedTogether(ended) => {
                let count = if mutant::is(Mutant::BatchForgotten) {
                    1
                } else {
                    ended.len()
                };
                for (event, verdict) in ended.into_iter().take(count) {
                    self.finished(event, verdict, now, rng, effects);
                }
            }
            Input::Committed { event, result } => self.committed(&event, result, now, rng),
            Input::Saved { committed } => {
                for (order, count) in self.ledger.end(committed, &mut self.lanes, now) {
                    let answer = Ok(count);
                    effects.push(Effect::Answer { order, answer });
                }
                self.marked(effects);
            }
            Input::Fronts { fronts, read } => self.fetched(fronts, read, now),
            Input::Swept { sweep, read } => self.swept(&sweep, read, now),
            Input::Tick => self.tick(now, rng, effects),
            Input::Order(order) => self.decide(order, now, effects),
            Input::Stop => self.stopping = true,
        }
    }

    /// From now on it takes other events; those that it has taken stay.
    pub(in crate::engine) fn select(&mut self, selection: Selection) {
        self.rules.selection = selection;
    }

    /// The position after which to read on and how many events at most, when it could use more. It reads as far as the
    /// window goes, for priority to choose from, but not for an event at a time.
    pub(in crate::engine) fn wants(&self) -> Option<(u64, u64)> {
        let upto = self
            .rules
            .upto
            .filter(|_| !mutant::is(Mutant::RangeIgnored));
        let left = upto.map_or(u64::MAX, |upto| upto.saturating_sub(self.window.read()));
        let room = self.window.room().min(left);
        let at_once = self.rules.batch.map_or(1, |batch| batch.max);
        let hungry = self.window.ready() < 2 * self.places.now() * at_once
            || self.window.room() >= self.rules.bounds.window / 4;
        let open = self.held.is_none() && !self.stopping;
        (hungry && room > 0 && open).then(|| (self.window.read(), room))
    }

    /// When the next tick is needed though nothing else happens. The times of lanes are the wall clock's, so a caller
    /// that has lanes looks more often.
    pub(in crate::engine) fn next_tick(&self, now: Now) -> Option<Duration> {
        let save = self.next_save();
        let begins = self.admits(now.tick) != Admits::Nothing;
        let lane = self
            .lanes
            .next_due()
            .filter(|_| begins && self.lanes.under_way() < self.places.of_lanes())
            .map(|due| {
                now.tick + Duration::try_from(due.duration_since(now.wall)).unwrap_or_default()
            });
        let batch = self.batch_due().filter(|_| begins && self.has_place());
        let breaker = self.breaker.next_wake().filter(|wake| *wake > now.tick);
        self.window
            .next_wake(self.breaker.is_closed())
            .into_iter()
            .chain(save)
            .chain(lane)
            .chain(breaker)
            .chain(batch)
            .chain(self.next_decision())
            .chain(self.next_read(now.tick))
            .min()
    }

    pub(super) fn next_save(&self) -> Option<Duration> {
        let (cursor, taken) = (self.window.cursor(), self.window.taken());
        self.ledger.next(cursor, taken, &self.lanes)
    }

    /// Its cursor is saved soon if the database does not have it at `upto`, or it is not there. Says whether that is so.
    pub(in crate::engine) fn end_rest(&mut self, upto: u64) -> bool {
        self.ledger.end_rest(upto) || self.lowest() < upto
    }

    /// Whether nothing is under way and the database has everything.
    pub(in crate::engine) fn is_at_rest(&self) -> bool {
        self.in_flight() == 0 && self.ledger.is_clean(self.window.cursor(), &self.lanes)
    }

    /// Everything up to here is done or left to a lane.
    pub(in crate::engine) fn cursor(&self) -> u64 {
        self.window.cursor()
    }

    /// Whether nothing that it has read waits for its turn, and it would read on.
    pub(in crate::engine) fn is_clear(&self) -> bool {
        self.held.is_none() && self.window.is_empty()
    }

    /// Deliveries, commits of effects and reads for lanes.
    pub(in crate::engine) fn in_flight(&self) -> usize {
        self.window.in_flight() + self.lanes.under_way() + self.lanes.reads.under_way()
    }

    /// The event at which it stands still until there is a newer program; nothing after it is read.
    pub(in crate::engine) fn held(&self) -> Option<&Arc<Stored>> {
        self.held.as_ref()
    }

    pub(super) fn let_go_of_held(&mut self) {
        self.held = None;
    }

    pub(in crate::engine) fn lanes_retrying(&self) -> usize {
        self.lanes.retrying()
    }

    pub(in crate::engine) fn lanes_parked(&self) -> usize {
        self.lanes.parked()
    }

    /// Whether nothing begins until an operator resumes it.
    pub(in crate::engine) fn is_paused(&self) -> bool {
        self.ledger.condition().paused
    }

    /// Whether nothing, or but a probe, begins because the target is away.
    pub(in crate::engine) fn is_broken(&self) -> bool {
        !self.breaker.is_closed()
    }

    pub(in crate::engine) fn selection(&self) -> &Selection {
        &self.rules.selection
    }

    /// The last event that was left to a key's lane, if it has one.
    pub(in crate::engine) fn left_to(&self, key: &Key) -> Option<u64> {
        self.lanes.get(key).map(|lane| lane.left)
    }

    /// Where an event is, the attempts begun on it and the last error.
    pub(in crate::engine) fn state_of(&self, event: &Stored) -> (DeliveryState, u32, Option<&str>) {
        if !self.rules.selection.takes(event) {
            return (DeliveryState::Skipped, 0, None);
        }
        if let Some(lane) = self.lanes.get(&key_of(self.rules.order, event))
            && lane.phase != Phase::Ahead
            && event.position <= lane.left
        {
            let error = Some(lane.error.as_str()).filter(|error| !error.is_empty());
            return match lane.phase {
                _ if event.position <= lane.done => (DeliveryState::Done, 0, None),
                _ if event.envelope.id != lane.event_id => (DeliveryState::Waiting, 0, None),
                Phase::Parked => (DeliveryState::Parked, lane.attempts, error),
                _ => (DeliveryState::Retrying, lane.attempts, error),
            };
        }
        if event.position > self.window.read() {
            return (DeliveryState::Waiting, 0, None);
        }
        match self.window.slot(event.position) {
            None => (DeliveryState::Done, 0, None),
            Some(slot) if slot.state == State::Gone => (DeliveryState::Done, 0, None),
            Some(slot) if slot.attempts < 2 && slot.state != State::Pausing => {
                (DeliveryState::Waiting, slot.attempts, None)
            }
            Some(slot) => (DeliveryState::Retrying, slot.attempts, None),
        }
    }

    fn admit(&mut self, event: Arc<Stored>) {
        if self.held.is_some() {
            return;
        }
        if !self.rules.selection.takes(&event) {
            return self.window.pass(event.position);
        }
        if !self.rules.versions.read(&event) {
            self.held = Some(event);
            return;
        }
        let admission = if self.lanes.is_empty() {
            Admission::Flows
        } else {
            self.lanes.admit(&event)
        };
        match admission {
            Admission::Flows => self.window.push(event),
            Admission::Done | Admission::Left => self.window.pass(event.position),
        }
    }

    /// The key of the lane that runs this event, if it is a lane that does.
    pub(super) fn lane_of(&self, event: &Stored) -> Option<Key> {
        if self.lanes.is_empty() {
            return None;
        }
        let key = key_of(self.rules.order, event);
        match self.lanes.get(&key)?.phase {
            Phase::Running | Phase::Committing => Some(key.into_owned()),
            Phase::Due | Phase::Reading | Phase::Parked | Phase::Decided | Phase::Ahead => None,
        }
    }
}
