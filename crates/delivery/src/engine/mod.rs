//! The engine: brings every committed event to every subscription that wants it.
//!
//! **Cast.** The `tail` reads the log once for all. Each subscription has a `runner`, a task that does what its
//! `machine`, a state without I/O, decides: what is delivered now, what is tried again when, what is written down. The
//! `scribe` makes records of what handlers and the engine have to say. What only wants to hear of a commit in passing, and
//! may miss it, is told by the module `after`.
//!
//! **Flow.** A commit moves the head of the log → the tail reads on and fills its ring → a runner takes what its window
//! has room for → events that are ready are delivered, one at a time per key → what is done moves the cursor, in memory;
//! once a second the cursor is saved. That is all that is ever written for an event that is handled without trouble.
//! An event that fails is tried twice more at once, then its key gets a lane: a second cursor with a due time, one row,
//! behind which the key's later events wait in the log. A lane whose event will not work is parked, and says so with an
//! `EventDeadLettered`, in the same commit. Before keys get lanes in numbers it is asked whether it is the events at all: a
//! target that is away opens the breaker, and nothing is spent on it; keys that fail all the same pause the subscription.
//!
//! Where several nodes share a database, each subscription is in the hands of one: `sharing` says of which, and a `tenure` is
//! what its commits say it by. What every node must know is a `view`.
//!
//! A subscription may get events again: the module `replay` gives it a second runner for that, with a cursor of its own.
//!
//! **Guarantees.** Every event reaches every subscription that wants it at least once. The events of one key reach it in
//! order, through retries and restarts too. A key in trouble delays no other, nor does a handler that hangs: after a
//! second its key has a lane. An event that ends the process is found and parked. What a handler leaves behind in our database is committed exactly once, with the fact that
//! it was. Whatever a handler does, the commit that raised the event is not affected.
//!
//! **Not guaranteed.** Order between keys. Exactly-once of what a handler does elsewhere: after a crash it is called
//! again, with the same idempotency key. A target of their own for the events of one subscription: while one does not
//! answer, the breaker holds back the events of all, so what calls two is better two subscriptions. That a handler which blocks its thread delays only its own key.

mod after;
mod at_rest;
mod decisions;
mod delivery;
mod errands;
mod figures;
mod machine;
mod recent;
mod replay;
mod roster;
mod runner;
mod running;
pub(crate) mod scribe;
mod selection;
mod sharing;
mod start;
mod tail;
mod tenure;
#[cfg(test)]
mod tests;
mod together;
mod trial;
mod view;

pub use after::Told;
pub use at_rest::AtRest;
pub use decisions::{Behind, Decider, Declined};
pub use machine::DeliveryState;
pub use replay::ReplayError;
pub use running::{DeliveryStatus, Running, SubscriptionStatus, Wanted};
pub use start::{Engine, Parts, StartError};
pub use tenure::Share;
