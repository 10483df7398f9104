//! The machine itself: which input leads to what.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::lane::Phase;
use super::lanes::{Admission, Lanes, Start};
use super::ledger::Ledger;
use super::terms::{DeliveryState, Effect, Input, Now, Rules, key_of};
use super::verdict::{Class, Failure, Next, Rng, TIMED_OUT, Verdict, in_lane, in_window, later};
use super::window::{State, Window};
use crate::envelope::{Key, Stored};
use crate::subscriber::{LaneState, StoredLane};

/// Deliveries under way at once, all in all, in multiples of a subscription's concurrency: those that hang keep their
/// place for up to a timeout, and the others must find one.
const OVERFLOW: usize = 8;
/// A lane whose events could not be read waits this long.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// A subscription's state.
#[derive(Debug)]
pub(in crate::engine) struct Machine {
    rules: Rules,
    window: Window,
    lanes: Lanes,
    ledger: Ledger,
    stopping: bool,
}

impl Machine {
    /// As the database has it.
    pub(in crate::engine) fn new(
        rules: Rules,
        cursor: u64,
        lanes: Vec<StoredLane>,
        now: Now,
    ) -> Self {
        Self {
            window: Window::new(rules.order, cursor),
            lanes: Lanes::load(rules.order, lanes, cursor, now),
            ledger: Ledger::new(cursor),
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
            Input::Read(events) => events.into_iter().for_each(|event| self.admit(event)),
            Input::Finished { event, verdict } => self.finished(event, verdict, now, rng, effects),
            Input::Committed { event, result } => self.committed(&event, result, now, rng),
            Input::Saved { committed } => self.ledger.end(committed, &mut self.lanes, now),
            Input::Backlog { key, read } => self.backlog(&key, read, now),
            Input::Tick => self.tick(now, effects),
            Input::Stop => self.stopping = true,
        }
    }

    /// The position after which to read on and how many events at most, when it could use more.
    pub(in crate::engine) fn wants(&self) -> Option<(u64, u64)> {
        let room = self.window.room();
        let hungry = self.window.ready() < 2 * self.rules.concurrency;
        (hungry && room > 0 && !self.stopping).then(|| (self.window.read(), room))
    }

    /// When the next tick is needed though nothing else happens. The times of lanes are the wall clock's, so a caller
    /// that has lanes looks more often.
    pub(in crate::engine) fn next_tick(&self, now: Now) -> Option<Duration> {
        let save = self.ledger.next(self.window.cursor(), &self.lanes);
        let lane = self
            .lanes
            .next_due()
            .filter(|_| !self.stopping && self.lanes.under_way() < self.rules.concurrency)
            .map(|due| {
                now.tick + Duration::try_from(due.duration_since(now.wall)).unwrap_or_default()
            });
        self.window
            .next_wake()
            .into_iter()
            .chain(save)
            .chain(lane)
            .min()
    }

    /// Whether nothing is under way and the database has everything.
    pub(in crate::engine) fn is_at_rest(&self) -> bool {
        self.in_flight() == 0 && self.ledger.is_clean(self.window.cursor(), &self.lanes)
    }

    /// Everything up to here is done or left to a lane.
    pub(in crate::engine) fn cursor(&self) -> u64 {
        self.window.cursor()
    }

    /// Deliveries, commits of effects and reads of backlogs.
    pub(in crate::engine) fn in_flight(&self) -> usize {
        self.window.in_flight() + self.lanes.under_way()
    }

    pub(in crate::engine) fn lanes_retrying(&self) -> usize {
        self.lanes.retrying()
    }

    pub(in crate::engine) fn lanes_parked(&self) -> usize {
        self.lanes.parked()
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
        if !self.rules.selection.takes(&event) {
            return self.window.pass(event.position);
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

    fn finished(
        &mut self,
        event: Arc<Stored>,
        verdict: Verdict,
        now: Now,
        rng: &mut Rng,
        effects: &mut Vec<Effect>,
    ) {
        let position = event.position;
        let lane = self.lane_of(&event);
        let failure = match verdict {
            Verdict::Done => {
                match lane {
                    Some(key) => self.lanes.pass(&key, &event, now),
                    None => self.window.done(position),
                }
                return;
            }
            Verdict::DoneWith(left_behind) => {
                let row = self.row_of_done(&event, lane.is_some(), now);
                if lane.is_none() {
                    self.window.commit(position);
                }
                self.lanes.hold(row.key.clone());
                effects.push(Effect::Commit {
                    event,
                    effects: left_behind,
                    row,
                });
                return;
            }
            Verdict::Retry(text) => Failure::new(Class::Transient, text),
            Verdict::RetryAfter(wait, text) => Failure::rate_limited(wait, text),
            Verdict::GiveUp(text) => Failure::new(Class::Permanent, text),
            Verdict::Poison(text) => Failure::new(Class::Poison, text),
            Verdict::TimedOut => Failure::new(Class::Transient, TIMED_OUT.to_owned()),
            Verdict::Panicked => Failure::panic(match &lane {
                Some(key) => self.lanes.panicked(key),
                None => self.window.panicked(position),
            }),
        };
        self.failed(&event, lane.as_ref(), &failure, now, rng);
    }

    fn committed(
        &mut self,
        event: &Arc<Stored>,
        result: Result<(), String>,
        now: Now,
        rng: &mut Rng,
    ) {
        let lane = self.lane_of(event);
        let key = key_of(self.rules.order, event);
        self.lanes.let_go(&key, result.is_ok());
        match (result, lane) {
            (Ok(()), Some(key)) => self.lanes.pass(&key, event, now),
            (Ok(()), None) => {
                self.lanes.mark(&key, event, now);
                self.window.done(event.position);
            }
            (Err(text), lane) => {
                let failure = Failure::new(Class::Transient, text);
                self.failed(event, lane.as_ref(), &failure, now, rng);
            }
        }
    }

    fn failed(
        &mut self,
        event: &Arc<Stored>,
        lane: Option<&Key>,
        failure: &Failure,
        now: Now,
        rng: &mut Rng,
    ) {
        let retry = &self.rules.retry;
        let (key, next) = if let Some(key) = lane {
            let Some(lane) = self.lanes.get(key) else {
                return;
            };
            let next = in_lane(retry, failure, lane.attempts, lane.since, now, rng);
            (key.clone(), next)
        } else {
            let Some(slot) = self.window.slot(event.position) else {
                return;
            };
            let next = in_window(retry, failure, slot.attempts, now, rng);
            if let Next::Quick(pause) = next {
                return self.window.pause(event.position, now.tick + pause);
            }
            let Some(mut taken) = self.window.take(event.position) else {
                return;
            };
            taken.running = false;
            (self.lanes.open(&taken, now), next)
        };
        match next {
            Next::Later(due) => self.lanes.retry(&key, failure, due),
            // A lane has no quick tries.
            Next::Quick(pause) => self.lanes.retry(&key, failure, later(now.wall, pause)),
            Next::Park => self.lanes.park(&key, failure, event),
        }
        self.ledger.hurry();
    }

    fn backlog(&mut self, key: &Key, read: Option<(Vec<Arc<Stored>>, u64)>, now: Now) {
        match read {
            Some((mut events, known)) => {
                events.retain(|event| self.rules.selection.takes(event));
                self.lanes.read(key, events, known, now);
            }
            None => self.lanes.unread(key, later(now.wall, READ_AGAIN)),
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.window.wake(now.tick);
        while let Some(position) = self.window.hanging(now.tick) {
            if let Some(taken) = self.window.take(position) {
                self.lanes.open(&taken, now);
                self.ledger.hurry();
            }
        }
        if !self.stopping {
            self.begin(now, effects);
        }
        let cursor = self.window.cursor();
        if self
            .ledger
            .next(cursor, &self.lanes)
            .is_some_and(|next| self.stopping || next <= now.tick)
            && let Some(save) = self.ledger.begin(cursor, &mut self.lanes, now)
        {
            effects.push(Effect::Save(save));
        }
    }

    /// Begins what is ready, as long as there are places.
    fn begin(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let places = self.rules.concurrency;
        while self.lanes.under_way() < places
            && let Some(start) = self.lanes.start(now)
        {
            effects.push(match start {
                Start::Deliver { event, attempt } => Effect::Deliver { event, attempt },
                Start::Read { key, after, upto } => Effect::Backlog { key, after, upto },
            });
        }
        while self.window.running() < places
            && self.window.running() + self.lanes.under_way() < OVERFLOW * places
            && let Some((event, attempt)) = self.window.begin(now.tick)
        {
            effects.push(Effect::Deliver { event, attempt });
        }
    }

    /// The key of the lane that runs this event, if it is a lane that does.
    fn lane_of(&self, event: &Stored) -> Option<Key> {
        if self.lanes.is_empty() {
            return None;
        }
        let key = key_of(self.rules.order, event);
        match self.lanes.get(&key)?.phase {
            Phase::Running | Phase::Committing => Some(key.into_owned()),
            Phase::Due | Phase::Reading | Phase::Parked | Phase::Ahead => None,
        }
    }

    /// The row that says that an event is done: the cursor of its lane, or a mark ahead of the subscription's cursor.
    fn row_of_done(&self, event: &Stored, in_lane: bool, now: Now) -> StoredLane {
        StoredLane {
            key: key_of(self.rules.order, event).into_owned(),
            done: event.position,
            state: LaneState::Retrying,
            attempts: 0,
            due: now.wall,
            since: now.wall,
            // Events may be left to the lane while the commit is under way: its row must not say that nothing waits.
            event_id: if in_lane {
                event.envelope.id
            } else {
                Uuid::nil()
            },
            error: String::new(),
        }
    }
}
