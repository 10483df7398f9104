//! The end of a replay: when it has come, and what the next generation takes over.

use super::mutant::{self, Mutant};
use super::step::Machine;
use crate::subscriber::Condition;

impl Machine {
    /// Whether a replay that has come to `position` has nothing left to deliver up to `upto`, and no key in trouble, parked
    /// ones included.
    pub(in crate::engine) fn has_replayed(&self, position: u64, upto: u64) -> bool {
        let there = position >= upto || mutant::is(Mutant::SwapTooEarly);
        let troubled = self.lanes_retrying() + self.lanes_parked() > 0;
        there && (!troubled || mutant::is(Mutant::SwapInTrouble))
    }

    /// How the generation begins that takes the place of this one: after a stop, and paused where this one is.
    pub(in crate::engine) fn bequeathed(&self) -> Condition {
        Condition {
            paused: self.is_paused() && !mutant::is(Mutant::SwapResumes),
            ..Condition::default()
        }
    }
}
