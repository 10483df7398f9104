//! What an operator decides: to pause or resume the subscription, to redrive or discard dead letters.
//!
//! **Guarantees.** What is decided about a key and the fact that tells it are one commit, and nothing of the key begins
//! before that is in the database. Who decided is answered after the first commit. Of many dead letters a part at a time
//! is decided about: [`AT_ONCE`] at most, the next when the one before is in the database.
//!
//! **Not guaranteed.** That a decision about many survives the process: what it had not come to stays parked, and is
//! decided about by asking again.

use std::num::NonZeroU32;
use std::time::Duration;

use super::ledger::Alert;
use super::letters::Walk;
use super::step::Machine;
use super::terms::{Effect, Now};
use crate::engine::decisions::{Decider, Declined};
use crate::subscriber::Choice;

/// Dead letters that one commit decides about at most: one save of lanes.
pub(in crate::engine) const AT_ONCE: u32 = 256;
/// Dead letters looked at in one step, so that a choice of few among many does not hold up deliveries.
const LOOK: usize = 4096;
/// Decisions about many that may be under way at once.
const UNDER_WAY: usize = 8;

/// An operator's order; the number tells its answer from others.
#[derive(Debug)]
pub(in crate::engine) struct Order {
    pub(in crate::engine) number: u64,
    pub(in crate::engine) wish: Wish,
}

#[derive(Debug)]
pub(in crate::engine) enum Wish {
    Pause,
    Resume,
    Letters(Box<Letters>),
    /// By retention. Events up to `upto` are about to go: what is not under way of them is passed over. `lost` of them were
    /// wanted.
    Expire {
        upto: u64,
        lost: u64,
    },
}

/// Which dead letters, what becomes of them, and who says so.
#[derive(Debug)]
pub(in crate::engine) struct Letters {
    pub(in crate::engine) choice: Choice,
    pub(in crate::engine) fate: Fate,
    pub(in crate::engine) by: Decider,
}

/// What becomes of dead letters.
#[derive(Debug, Clone)]
pub(in crate::engine) enum Fate {
    /// So many in a second at most, where it is said.
    Redrive(Option<NonZeroU32>),
    /// With the reason.
    Discard(String),
}

/// A decision about more dead letters than one step takes.
#[derive(Debug)]
pub(super) struct Decision {
    choice: Choice,
    fate: Fate,
    by: Decider,
    walk: Walk,
    /// The next step is not taken before.
    next: Duration,
}

impl Machine {
    pub(super) fn decide(&mut self, order: Order, now: Now, effects: &mut Vec<Effect>) {
        let decided = match order.wish {
            _ if self.stopping => Err(Declined::stopping()),
            Wish::Pause if self.is_paused() => Err(Declined::WrongState),
            Wish::Pause => {
                self.ledger.change().paused = true;
                Ok(0)
            }
            Wish::Resume if !self.is_paused() => Err(Declined::WrongState),
            Wish::Resume => {
                self.resume();
                Ok(0)
            }
            Wish::Expire { upto, lost } => {
                self.expire(upto, lost, now);
                Ok(lost)
            }
            Wish::Letters(letters) => self.decide_letters(*letters, now),
        };
        match decided {
            Ok(count) => self.ledger.answer(order.number, count),
            Err(declined) => effects.push(Effect::Answer {
                order: order.number,
                answer: Err(declined),
            }),
        }
    }

    /// How many dead letters are meant.
    pub(in crate::engine) fn count_letters(&self, choice: &Choice) -> u64 {
        self.lanes.count(choice)
    }

    fn decide_letters(&mut self, letters: Letters, now: Now) -> Result<u64, Declined> {
        let Letters { choice, fate, by } = letters;
        let count = self.lanes.count(&choice);
        if count == 0 {
            return Err(Declined::WrongState);
        }
        let mut decision = Decision {
            walk: self.lanes.walk(),
            next: now.tick,
            choice,
            fate,
            by,
        };
        if count > u64::from(decision.part()) && self.decisions.len() >= UNDER_WAY {
            return Err(Declined::busy());
        }
        // One that is meant may lie far behind others that are not, and an answer waits for a commit.
        while !self.decide_part(&mut decision, now) && !decision.walk.is_over {}
        if !decision.walk.is_over {
            self.decisions.push(decision);
        }
        Ok(count)
    }

    /// Goes on with what is decided about in parts.
    pub(super) fn decide_on(&mut self, now: Now) {
        if self.stopping {
            self.decisions.clear();
        }
        if self.decisions.is_empty() {
            return;
        }
        let mut decisions = std::mem::take(&mut self.decisions);
        for decision in &mut decisions {
            if decision.next <= now.tick && !self.lanes.is_deciding() {
                self.decide_part(decision, now);
            }
        }
        decisions.retain(|decision| !decision.walk.is_over);
        self.decisions = decisions;
    }

    /// When something more is to be decided about.
    pub(super) fn next_decision(&self) -> Option<Duration> {
        let next = self.decisions.iter().map(|decision| decision.next).min();
        next.filter(|_| !self.lanes.is_deciding())
    }

    /// One step. Says whether it found any.
    fn decide_part(&mut self, decision: &mut Decision, now: Now) -> bool {
        let Decision {
            choice,
            fate,
            by,
            walk,
            ..
        } = decision;
        let most = fate.part() as usize;
        let keys = self.lanes.next_letters(walk, choice, most, LOOK);
        for key in &keys {
            match fate {
                Fate::Redrive(_) => self.lanes.decide(key, now, |lane| lane.redrive(now)),
                Fate::Discard(_) => self.lanes.decide(key, now, |lane| lane.discard(now)),
            }
        }
        let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return false;
        }
        let by = *by;
        self.ledger.tell(match fate {
            Fate::Redrive(rate) => {
                if let Some(rate) = rate {
                    decision.next = now.tick + Duration::from_secs(count.into()) / rate.get();
                }
                Alert::Redriven { count, by }
            }
            Fate::Discard(reason) => {
                let reason = reason.clone();
                Alert::Discarded { count, by, reason }
            }
        });
        true
    }
}

impl Decision {
    fn part(&self) -> u32 {
        self.fate.part()
    }
}

impl Fate {
    /// Dead letters in one step: those of a second, where there is a rate.
    fn part(&self) -> u32 {
        match self {
            Self::Redrive(Some(rate)) => rate.get().min(AT_ONCE),
            Self::Redrive(None) | Self::Discard(_) => AT_ONCE,
        }
    }
}
