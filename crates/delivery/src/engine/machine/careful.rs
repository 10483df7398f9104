//! Whose turn it is while it is not known whether an event ended the last run.

use std::sync::Arc;

use super::caution::{Caution, is_too_many};
use super::mutant::{self, Mutant};
use super::step::Machine;
use super::terms::{Effect, Now};
use super::verdict::{CRASHED, Class, Failure, Rng};
use crate::envelope::Stored;

impl Machine {
    /// One event at a time, each with a mark in the database before it begins. The mark is written in a save like any other,
    /// so what was done before it is not done again.
    pub(super) fn begin_carefully(&mut self, now: Now, rng: &mut Rng, effects: &mut Vec<Effect>) {
        while let Some((event, attempt)) = self.next_carefully(now) {
            self.begun(&event, attempt, now);
            let position = event.position;
            let crashes = self.caution.as_ref().map_or(0, |c| c.crashes_of(position));
            if is_too_many(crashes) {
                let lane = self.lane_of(&event);
                let failure = Failure::new(Class::Poison, CRASHED.to_owned());
                self.failed(&event, lane.as_ref(), &failure, false, now, rng);
                continue;
            }
            self.suspect(position, crashes);
            if let Some(caution) = &mut self.caution {
                caution.marking = Some((event, attempt));
            }
            return self.marked(effects);
        }
        let cursor = self.window.cursor();
        let is_over = |caution: &Caution| caution.is_over(cursor);
        let over = self.caution.as_ref().is_some_and(is_over);
        // A lane that reads may have what is still to begin with caution. Once nothing is, it is not waited for: it may
        // wait itself, for room that the others make.
        if self.in_flight() > 0 || (!over && self.lanes.is_reading()) {
            return;
        }
        if over || self.caution.as_ref().is_some_and(|c| c.began) {
            // What was marked has ended, and nothing takes its place.
            self.suspect(0, 0);
        }
        if over {
            self.caution = None;
            self.begin(now, rng, effects);
        }
    }

    fn suspect(&mut self, position: u64, crashes: u32) {
        let condition = self.ledger.condition();
        if (condition.suspect, condition.crashes) != (position, crashes) {
            let condition = self.ledger.change();
            (condition.suspect, condition.crashes) = (position, crashes);
        }
    }

    /// Delivers what waits for its mark, if that is in the database.
    pub(super) fn marked(&mut self, effects: &mut Vec<Effect>) {
        let is_there = |(event, _): &mut (Arc<Stored>, u32)| {
            self.ledger.has_mark(event.position) || mutant::is(Mutant::BegunWithoutMark)
        };
        if let Some(caution) = &mut self.caution
            && let Some((event, attempt)) = caution.marking.take_if(is_there)
        {
            caution.began = true;
            effects.push(Effect::Deliver { event, attempt });
        }
    }

    /// What waits for its mark does not begin any more.
    pub(super) fn unmark(&mut self, now: Now) {
        let waiting = self.caution.as_mut().and_then(|c| c.marking.take());
        if let Some((event, _)) = waiting {
            self.breaker.withdraw(event.position);
            match self.lane_of(&event) {
                Some(key) => self.lanes.hold(&key, now),
                None => self.window.hold(event.position),
            }
        }
    }

    /// The next event to begin with caution. First those that the window had, then those of lanes that were due.
    fn next_carefully(&mut self, now: Now) -> Option<(Arc<Stored>, u32)> {
        let cursor = self.window.cursor();
        let caution = self.caution.as_mut()?;
        if caution.has_window(cursor) {
            if let Some(first) = self.window.begin(now.tick, true) {
                return Some(first);
            }
        } else if caution.is_over(cursor) {
            return None;
        }
        let next = self.lanes.start(now);
        // What is left of them has no event, or is not due any more.
        if next.is_none() && !self.lanes.is_reading() && !caution.has_window(cursor) {
            caution.forget_lanes();
        }
        next
    }
}
