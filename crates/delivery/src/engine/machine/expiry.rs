//! What becomes of events that go before they were handled.

use super::ledger::Alert;
use super::mutant::{self, Mutant};
use super::step::Machine;
use super::terms::{DeliveryState, Now};
use crate::envelope::Stored;

impl Machine {
    /// The lowest position from which it still reads: its cursor, or that of the lane that is furthest behind.
    pub(in crate::engine) fn lowest(&self) -> u64 {
        let cursor = self.window.cursor();
        self.lanes.lowest().map_or(cursor, |lane| lane.min(cursor))
    }

    /// Whether an event was wanted and is not handled.
    pub(in crate::engine) fn owes(&self, event: &Stored) -> bool {
        let (state, ..) = self.state_of(event);
        let asked_for = self.rules.upto.is_none_or(|upto| event.position <= upto);
        asked_for && !matches!(state, DeliveryState::Skipped | DeliveryState::Done)
    }

    /// Goes on after `upto`, a replay at most after its last position. What is under way ends as it ends.
    pub(super) fn expire(&mut self, upto: u64, lost: u64, now: Now) {
        let upto = self.rules.upto.map_or(upto, |last| last.min(upto));
        let from = self.lowest();
        if from >= upto {
            return;
        }
        if self.held().is_some_and(|event| event.position <= upto) {
            self.let_go_of_held();
        }
        let of_lanes = upto + u64::from(mutant::is(Mutant::ExpiryTooFar));
        self.lanes.expire(of_lanes, now);
        self.window.expire(upto);
        if lost > 0 && !mutant::is(Mutant::LossUntold) {
            let to = upto;
            self.ledger.tell(Alert::Expired { from, to, lost });
        }
        self.ledger.hurry();
    }
}
