//! What operators change of the delivery engine.

use std::num::NonZeroU32;

use quivive_delivery::engine::{Behind, Decider, Declined};
use quivive_delivery::subscriber::{Choice, StoredLane};
use quivive_delivery::{BoxFuture, Write};

/// From which position to which, both included; `None`: as far as there is something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Positions {
    pub from: Option<u64>,
    pub to: Option<u64>,
}

/// What an operator may change of the delivery engine: of the one that runs or, where none does, of what it goes on from.
pub trait Deliveries: Send + Sync {
    /// Nothing of it is delivered until it is resumed.
    fn pause<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<(), Declined>>;

    fn resume<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<(), Declined>>;

    /// How many dead letters are meant.
    fn count<'a>(
        &'a self,
        subscription: &'a str,
        choice: &'a Choice,
    ) -> BoxFuture<'a, Result<u64, Declined>>;

    /// Delivers dead letters again, `per_second` at most where that is given. Answers with how many are meant.
    fn redrive<'a>(
        &'a self,
        subscription: &'a str,
        choice: Choice,
        per_second: Option<NonZeroU32>,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>>;

    /// Passes over dead letters, for good. Answers with how many are meant.
    fn discard<'a>(
        &'a self,
        subscription: &'a str,
        choice: Choice,
        reason: String,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>>;

    /// How many positions a replay would go through.
    fn would_replay<'a>(
        &'a self,
        subscription: &'a str,
        range: Positions,
    ) -> BoxFuture<'a, Result<u64, Declined>>;

    /// Delivers events again, beside those that go on. Answers with how many positions there are to go through, when that it
    /// has begun is committed, and `with` in the same commit.
    fn replay<'a>(
        &'a self,
        subscription: &'a str,
        range: Positions,
        with: Vec<Write>,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>>;

    /// What waits behind a dead letter; `None` where nobody can tell.
    fn behind<'a>(
        &'a self,
        subscription: &'a str,
        letter: &'a StoredLane,
    ) -> BoxFuture<'a, Result<Option<Behind>, Declined>>;
}
