//! What a workflow hands over: guarded writes and the events that say what they mean.

use quivive_delivery::{Body, Event, EventMeta, Fault, Key, Write};
use quivive_domain::UserId;

use super::turns::Turn;
use crate::ports::Waiting;

/// Writes and events that become durable together with the outcome, or not at all. Begin one that grants anything with
/// [`super::Cx::fenced`].
///
/// A workflow cannot append to the log by itself: it holds neither the log nor the means to make a record.
/// ```compile_fail
/// fn append(cx: &quivive_app::kernel::Cx, commit: quivive_app::kernel::Commit) {
///     cx.log.commit(commit); // the context has no log
/// }
/// ```
/// ```compile_fail
/// fn append(commit: quivive_app::kernel::Commit) -> quivive_delivery::Transaction {
///     commit.into_transaction() // and a commit cannot be turned into rows outside the kernel
/// }
/// ```
/// What it can do, for comparison:
/// ```
/// fn decide(commit: &mut quivive_app::kernel::Commit, write: quivive_delivery::Write) {
///     commit.write(write);
/// }
/// ```
#[derive(Debug, Default)]
pub struct Commit {
    pub(super) writes: Vec<Write>,
    pub(super) events: Vec<Pending>,
    /// The person whom the workflow turned out to act for.
    pub(super) acted_by: Option<UserId>,
    pub(super) broken: Option<Fault>,
    /// The reserved guess was settled here; else its place is given back.
    pub(super) settled: bool,
    /// Kept until it is durable.
    pub(super) turn: Option<Turn>,
}

/// An event that waits for its envelope.
#[derive(Debug)]
pub(super) struct Pending {
    pub meta: EventMeta,
    pub body: Body,
    pub role: Role,
}

/// What an event is in its commit.
#[derive(Debug)]
pub(super) enum Role {
    /// Under a key of its own, or that of the workflow's subject.
    Fact(Option<Key>),
    /// Half of a triple that happens by itself.
    Automatic,
    /// The outcome of another attempt.
    Concludes(Waiting),
}

impl Role {
    /// The key that a fact has of its own.
    pub(super) fn key(self) -> Option<Key> {
        match self {
            Self::Fact(key) => key,
            Self::Automatic | Self::Concludes(_) => None,
        }
    }
}

impl Commit {
    /// Adds a guarded write. Writes run in the order in which they were added.
    pub fn write(&mut self, write: Write) -> &mut Self {
        self.writes.push(write);
        self
    }

    /// Adds guarded writes that belong together.
    pub fn write_all(&mut self, writes: impl IntoIterator<Item = Write>) -> &mut Self {
        self.writes.extend(writes);
        self
    }

    /// Adds the write that settles the guess which the attempt reserved, as right or wrong. Without one the kernel gives
    /// its place back.
    pub fn settle_guess(&mut self, write: Write) -> &mut Self {
        self.settled = true;
        self.write(write)
    }

    /// Adds a fact: caused by the outcome, about the same subject, by the same actor.
    pub fn fact<E: Event>(&mut self, event: &E) -> &mut Self {
        self.push(event, Role::Fact(None))
    }

    /// Adds the two events of a workflow that happens by itself: actor `system`, an id of its own, caused by the outcome.
    pub fn also<A: Event, O: Event>(&mut self, attempted: &A, outcome: &O) -> &mut Self {
        self.push(attempted, Role::Automatic)
            .push(outcome, Role::Automatic)
    }

    /// Closes another open attempt with its outcome, in this commit: misses when it was closed before.
    pub fn conclude<E: Event>(&mut self, attempt: Waiting, outcome: &E) -> &mut Self {
        self.push(outcome, Role::Concludes(attempt))
    }

    /// The outcome and its facts were done by this person, who was unknown when the attempt was made.
    pub fn acted_by(&mut self, user: UserId) -> &mut Self {
        self.acted_by = Some(user);
        self
    }

    fn push<E: Event>(&mut self, event: &E, role: Role) -> &mut Self {
        match event.encode() {
            Ok(body) => self.events.push(Pending {
                meta: E::META,
                body,
                role,
            }),
            Err(error) => self.broken = Some(Fault::internal(error)),
        }
        self
    }
}
