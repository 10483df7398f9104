//! What requests were answered that their callers may repeat.

use quivive_delivery::{Time, Write};

use super::Read;
use crate::kernel::Once;

/// A request that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Of the request: with another it is no repetition.
    pub content: [u8; 32],
    /// As the web gave it; `None`: nobody knows any more, or not yet.
    pub answer: Option<Vec<u8>>,
}

/// Requests with an `Idempotency-Key`, each for a day.
pub trait Answers: Send + Sync {
    /// Nothing of one that was refused.
    fn find(&self, token: [u8; 32]) -> Read<'_, Option<Answered>>;

    /// That it was carried out, or refused: part of the commit that says so. What was refused may be tried again, and may say
    /// something else then. Misses when it was carried out before.
    fn decided(&self, once: &Once, done: bool, now: Time) -> Write;

    /// What it was answered. Also of one that no commit told of.
    fn keep(&self, once: &Once, answer: Vec<u8>, now: Time) -> Write;

    /// Whether there are some that are a day old.
    fn has_forgettable(&self, now: Time) -> Read<'_, bool>;

    /// Takes them away, some at a time.
    fn forget(&self, now: Time) -> Write;
}
