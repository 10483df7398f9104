//! One subscription as a state machine: `step(state, input, now, rng) → effects`, without I/O, clock or randomness of its own.
//!
//! **Cast.** The [`window`] holds the events above the cursor; the [`lanes`] hold the keys in trouble, and [`reads`] brings
//! them what they do not hold; the [`ledger`]
//! knows what of both the database has. The [`breaker`] and the [`pulse`] tell a target that is away from events that are
//! bad; [`caution`] finds an event that ends the process. [`decisions`]
//! carries out what operators decide. [`step`] is the machine, [`turns`] says what begins, [`outcomes`]
//! what an end means. The runner does what the effects say and feeds what comes of it back in.
//!
//! ```text
//! the log → window: waiting → ready → running → done
//!                                 ↘ pausing ↗ ↘ failed, or running for 1 s
//!                                               lane: due → running → … → caught up → the window again
//!                                                         ↘ parked → decided → due, without the event if it is discarded
//! ```
//!
//! **Guarantees.** Events of one key are begun in the order of their positions, each when the one before it is done; an
//! event whose key has a lane is begun by the lane alone. A save never moves the cursor over an event that is neither
//! done nor left to a lane that has a row, or gets one in the same commit. The effects of an event are committed with
//! a row that says that the event is done, so they are applied once however often the process is killed: while the
//! cursor has not reached the event, the row says it, and the row goes in the commit that moves the cursor past it.
//!
//! **Whose turn.** The most important of what is ready, in the window and, apart from it, among the lanes that are due.
//! While the target is away nothing begins but one probe at a time, no attempt is spent and no lane is made; while the
//! subscription is paused nothing begins at all.
//!
//! **The hand-back.** A lane is caught up when all that was left to it is done. That is decided here, where the window
//! is filled too, so there is no moment between "nothing waits" and "the key flows again". In the database the row of a
//! lane that is caught up goes with the move of the cursor, never before it.
//!
//! **The order of the log.** Where all events wait for each other (`Order::Log`) there are no lanes, no caution and no
//! priority: what fails stays at the front, and the breaker opens at the first failure.
//!
//! **A replay** is a machine of its own; [`succession`] says when it is done.
//!
//! **Not here.** What a handler does, whether a commit is durable, when the log moves.

mod breaker;
mod careful;
mod caution;
mod decisions;
mod expiry;
mod lane;
mod lanes;
mod ledger;
mod letters;
#[cfg(test)]
mod log_order;
mod mutant;
mod outcomes;
mod places;
mod pulse;
mod reads;
#[cfg(test)]
mod simulation;
mod step;
mod succession;
mod terms;
mod turns;
mod verdict;
mod window;

pub(super) use caution::starting;
pub(super) use decisions::{AT_ONCE, Fate, Letters, Order, Wish};
pub(super) use lane::DeadLetter;
pub(super) use ledger::{Alert, Save, rest};
pub(super) use letters::decided;
pub(super) use reads::{Bounds, Sweep};
pub(super) use step::Machine;
pub use terms::DeliveryState;
pub(super) use terms::{Effect, Input, Kinds, Now, Rules, Selection, Versions, matches};
pub(super) use verdict::{Rng, Verdict};
