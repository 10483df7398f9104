//! What the end of a delivery, or of the commit of its effects, means for its event.

use std::sync::Arc;

use uuid::Uuid;

use super::breaker::Change;
use super::ledger::Alert;
use super::mutant::{self, Mutant};
use super::pulse::mark_of;
use super::step::Machine;
use super::terms::{Effect, Now, key_of};
use super::verdict::{Class, Failure, Next, Rng, TIMED_OUT, Verdict, in_lane, in_window, later};
use super::window::Taken;
use crate::envelope::{Key, Stored};
use crate::subscriber::{LaneState, Order, StoredLane};

impl Machine {
    pub(super) fn finished(
        &mut self,
        event: Arc<Stored>,
        verdict: Verdict,
        now: Now,
        rng: &mut Rng,
        effects: &mut Vec<Effect>,
    ) {
        let position = event.position;
        let lane = self.lane_of(&event);
        if let Some(caution) = &mut self.caution {
            caution.ended(&key_of(self.rules.order, &event));
        }
        let probe = self.breaker.is_probe(position);
        self.called(&event, lane.as_ref(), &verdict, now);
        // Keys in trouble say nothing of how the others do.
        if lane.is_none() {
            if verdict.is_done() {
                self.places.well(self.window.running());
            } else if verdict.is_answer() == Some(false) {
                self.places.badly();
            }
        }
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
                self.lanes.hold_row(row.key.clone());
                effects.push(Effect::Commit {
                    event,
                    effects: left_behind,
                    row,
                });
                return;
            }
            Verdict::Pause(_) => {
                match lane {
                    Some(key) => self.lanes.hold(&key, now),
                    None => self.window.hold(position),
                }
                if !self.is_paused() {
                    self.ledger.change().paused = true;
                }
                return;
            }
            Verdict::Retry(text) => Failure::new(Class::Transient, text),
            Verdict::RetryAfter(wait, text) => Failure::rate_limited(wait, text),
            Verdict::GiveUp(text) => Failure::new(Class::Permanent, text),
            Verdict::Poison(text) => Failure::new(Class::Poison, text),
            Verdict::Alone(text) => Failure::of_batch(text),
            Verdict::TimedOut => Failure::new(Class::Transient, TIMED_OUT.to_owned()),
            Verdict::Panicked => Failure::panic(match &lane {
                Some(key) => self.lanes.panicked(key),
                // All wait for it, so it is tried again for ever.
                None if self.rules.order == Order::Log => 1,
                None => self.window.panicked(position),
            }),
        };
        // A probe that failed leaves the window at once, so that the next probe is another event's.
        let failure = if probe { failure.slow() } else { failure };
        self.failed(&event, lane.as_ref(), &failure, !probe, now, rng);
    }

    pub(super) fn committed(
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
                if !mutant::is(Mutant::MarkForgotten) {
                    self.lanes.mark(&key, event, now);
                }
                self.window.done(event.position);
            }
            (Err(text), lane) => {
                let failure = Failure::new(Class::Transient, text);
                self.failed(event, lane.as_ref(), &failure, true, now, rng);
            }
        }
    }

    /// Tells the breaker how a call went.
    fn called(&mut self, event: &Stored, lane: Option<&Key>, verdict: &Verdict, now: Now) {
        let Some(answered) = verdict.is_answer() else {
            return self.breaker.withdraw(event.position);
        };
        if !self.rules.breaker && self.rules.order != Order::Log {
            return;
        }
        let attempts = match lane {
            Some(key) => self.lanes.get(key).map(|lane| lane.attempts),
            None => self.window.slot(event.position).map(|slot| slot.attempts),
        };
        let first = attempts == Some(1);
        let change = self
            .breaker
            .ended(event.position, first, !answered, now.tick);
        match change {
            Some(Change::Opened { failures }) => {
                self.window.hold_all();
                self.ledger.tell(Alert::Opened(failures));
            }
            Some(Change::Closed) => self.ledger.tell(Alert::Closed),
            None => {}
        }
    }

    /// What becomes of an event whose attempt failed. `spared` says whether that is not held against the event while the
    /// target is away: then no attempt is spent and no lane is made.
    pub(super) fn failed(
        &mut self,
        event: &Arc<Stored>,
        lane: Option<&Key>,
        failure: &Failure,
        spared: bool,
        now: Now,
        rng: &mut Rng,
    ) {
        if self.rules.order == Order::Log {
            return self.stand(event.position, failure, now);
        }
        let away = !self.breaker.is_closed() && !mutant::is(Mutant::AttemptsSpentWhileOpen);
        if spared && away && !failure.is_final() {
            return match lane {
                Some(key) => self.lanes.hold(key, now),
                None => self.window.hold(event.position),
            };
        }
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
            let key = self.open(&taken, now);
            if !failure.is_of_batch() {
                self.got_lane(event, now);
            }
            (key, next)
        };
        match next {
            Next::Later(due) => self.lanes.retry(&key, failure, event, due),
            // A lane has no quick tries.
            Next::Quick(pause) => self
                .lanes
                .retry(&key, failure, event, later(now.wall, pause)),
            Next::Park => self.lanes.park(&key, failure, event, now),
        }
        self.ledger.hurry();
    }

    /// An event failed that all after it wait for.
    fn stand(&mut self, position: u64, failure: &Failure, now: Now) {
        self.window.hold(position);
        if failure.is_final() && !self.is_paused() {
            tracing::error!(position, error = failure.text, "paused before an event");
            self.ledger.change().paused = true;
        }
        if let Some(Change::Opened { failures }) = self.breaker.open(now.tick) {
            self.ledger.tell(Alert::Opened(failures));
        }
    }

    /// Makes a lane of what was taken out of the window.
    pub(super) fn open(&mut self, taken: &Taken, now: Now) -> Key {
        let key = self.lanes.open(taken, now);
        if let Some(caution) = &mut self.caution {
            caution.watch(key.clone());
        }
        key
    }

    /// Pauses the subscription if too many keys got lanes: then it is not the events.
    pub(super) fn got_lane(&mut self, event: &Stored, now: Now) {
        let mark = mark_of(self.rules.order, event);
        if let Some(lanes) = self.pulse.lane(mark, now.tick)
            && self.rules.breaker
            && !self.is_paused()
        {
            self.ledger.change().paused = true;
            self.ledger.tell(Alert::Paused(lanes));
        }
    }

    pub(super) fn resume(&mut self) {
        if self.is_paused() {
            self.ledger.change().paused = false;
            self.ledger.tell(Alert::Resumed);
            self.pulse = super::pulse::Pulse::new();
        }
    }

    /// The row that says that an event is done: the cursor of its lane, or a mark ahead of the subscription's cursor.
    fn row_of_done(&self, event: &Stored, in_lane: bool, now: Now) -> StoredLane {
        StoredLane {
            key: key_of(self.rules.order, event).into_owned(),
            done: event.position - u64::from(mutant::is(Mutant::EffectsWithoutRow)),
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
            position: 0,
            event_type: String::new(),
            error_class: None,
            error: String::new(),
        }
    }
}
