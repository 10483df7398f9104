//! Whose turn it is: what begins, as far as there are places and nothing holds the whole subscription back.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::Admits;
use super::mutant::{self, Mutant};
use super::pulse::mark_of;
use super::step::Machine;
use super::terms::{Effect, Now};
use super::verdict::{Rng, later};
use crate::envelope::Stored;
use crate::subscriber::{Batch, Order};

impl Machine {
    pub(super) fn tick(&mut self, now: Now, rng: &mut Rng, effects: &mut Vec<Effect>) {
        self.window.wake(now.tick);
        self.window.settle(now.tick);
        // While the target is away, that a call hangs says nothing of its event.
        while self.breaker.is_closed()
            && !mutant::is(Mutant::HangHoldsUp)
            && let Some(position) = self.window.hanging(now.tick)
        {
            if let Some(taken) = self.window.take(position) {
                self.places.badly();
                self.open(&taken, now);
                self.got_lane(&taken.event, now);
                self.ledger.hurry();
            }
        }
        self.decide_on(now);
        self.begin(now, rng, effects);
        self.unstall(now);
        self.read_for_lanes(now, effects);
        if self.stopping || self.is_paused() {
            self.unmark(now);
        }
        if self.stopping && self.in_flight() == 0 {
            self.leave_gaps(now);
        }
        if self.stopping
            && self.in_flight() == 0
            && self.ledger.condition().running
            && !mutant::is(Mutant::StopNotSaved)
        {
            let condition = self.ledger.change();
            (condition.running, condition.suspect, condition.crashes) = (false, 0, 0);
        }
        let cursor = self.window.cursor();
        if self
            .next_save()
            .is_some_and(|next| self.stopping || next <= now.tick)
            && let Some(save) = self.ledger.begin(cursor, &mut self.lanes, now, rng)
        {
            effects.push(Effect::Save(save));
        }
    }

    /// A full window does not wait for the quick attempts of a few: they go on in lanes.
    fn unstall(&mut self, now: Now) {
        while self.breaker.is_closed()
            && let Some((position, until)) = self.window.stalling()
            && let Some(taken) = self.window.take(position)
        {
            let key = self.open(&taken, now);
            self.lanes
                .defer(&key, later(now.wall, until.saturating_sub(now.tick)));
            self.got_lane(&taken.event, now);
            self.ledger.hurry();
        }
    }

    /// What was not begun waits in lanes, as far as something behind it is done: the next start begins with the cursor and
    /// with lanes, and what is done shall not come again.
    fn leave_gaps(&mut self, now: Now) {
        while self.rules.order != Order::Log
            && !mutant::is(Mutant::StopLeavesGaps)
            && let Some(position) = self.window.gap()
            && let Some(taken) = self.window.take(position)
        {
            self.open(&taken, now);
        }
    }

    /// What may begin now.
    pub(super) fn admits(&self, tick: Duration) -> Admits {
        let paused = self.is_paused() && !mutant::is(Mutant::PausedGoesOn);
        let stopping = self.stopping && !mutant::is(Mutant::StoppedGoesOn);
        let careful = self.caution.is_some()
            && self.in_flight() > 0
            && !mutant::is(Mutant::CarefulInParallel);
        // What goes on after a loss would hide it from the next start.
        let untold = self.ledger.owes_a_loss() && !mutant::is(Mutant::LossOvertaken);
        if stopping || paused || careful || untold {
            Admits::Nothing
        } else {
            self.breaker.admits(tick)
        }
    }

    /// Begins what is ready, as long as there are places.
    pub(super) fn begin(&mut self, now: Now, rng: &mut Rng, effects: &mut Vec<Effect>) {
        match self.admits(now.tick) {
            Admits::Nothing => {}
            _ if self.caution.is_some() => self.begin_carefully(now, rng, effects),
            Admits::OneProbe if mutant::is(Mutant::ManyProbes) => {
                while self.begin_in_lane(now, effects) || self.begin_in_window(now, effects) {}
            }
            // What was never tried is the better probe.
            Admits::OneProbe => {
                while !self.begin_in_window(now, effects)
                    && self.begin_in_lane(now, effects)
                    && self.admits(now.tick) == Admits::OneProbe
                {}
            }
            Admits::Anything => {
                while self.begin_in_lane(now, effects) {}
                match self.rules.batch {
                    Some(batch) => while self.begin_batch(batch, now, effects) {},
                    None => while self.begin_in_window(now, effects) {},
                }
            }
        }
    }

    fn begin_in_lane(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        if self.lanes.under_way() >= self.places.of_lanes() {
            return false;
        }
        let Some((event, attempt)) = self.lanes.start(now) else {
            return false;
        };
        self.deliver(event, attempt, now, effects);
        true
    }

    fn begin_in_window(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        if !self.has_place() {
            return false;
        }
        let Some((event, attempt)) = self.window.begin(now.tick, true) else {
            return false;
        };
        self.deliver(event, attempt, now, effects);
        true
    }

    /// Begins a batch if it is full, or if what is ready has waited long enough.
    fn begin_batch(&mut self, batch: Batch, now: Now, effects: &mut Vec<Effect>) -> bool {
        let is_full = self.window.ready() >= batch.max;
        let is_due = self.batch_due().is_some_and(|due| due <= now.tick);
        if !self.has_place() || !(is_full || is_due) {
            return false;
        }
        let mut together = Vec::with_capacity(batch.max.min(self.window.ready()));
        while together.len() < batch.max
            && let Some((event, attempt)) = self.window.begin(now.tick, together.is_empty())
        {
            self.begun(&event, attempt, now);
            together.push((event, attempt));
        }
        self.window.settle(now.tick);
        if together.is_empty() {
            return false;
        }
        effects.push(Effect::DeliverTogether(together));
        true
    }

    /// When what is ready has waited long enough for a batch.
    pub(super) fn batch_due(&self) -> Option<Duration> {
        let batch = self.rules.batch?;
        Some(self.window.ready_since()? + batch.wait)
    }

    /// Whether another delivery, or batch, may begin in the window.
    pub(super) fn has_place(&self) -> bool {
        if self.rules.order == Order::Log {
            return self.in_flight() == 0;
        }
        let (running, in_lanes) = (self.window.running(), self.lanes.under_way());
        self.places.has_one(running, in_lanes)
    }

    fn deliver(&mut self, event: Arc<Stored>, attempt: u32, now: Now, effects: &mut Vec<Effect>) {
        self.begun(&event, attempt, now);
        effects.push(Effect::Deliver { event, attempt });
    }

    pub(super) fn begun(&mut self, event: &Stored, attempt: u32, now: Now) {
        self.breaker.begun(event.position);
        if attempt == 1 {
            let mark = mark_of(self.rules.order, event);
            self.pulse.active(mark, now.tick);
        }
    }
}
