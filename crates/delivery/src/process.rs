//! Processes of several steps, each of which can be undone.
//!
//! **Cast.** A [`Process`] names its steps in one place, each a [`Step`] that can do and undo. Each becomes a subscription
//! of its own, so what is asked of it is an ordinary delivery: durable, tried again, transactional in our database. While a
//! process is under way a [`Case`] says where it is; [`Deadlines`] ends those that take too long.
//!
//! **Flow.** The event that begins it is delivered to the first step. Each step that is done says so with a
//! [`StepDone`], which is what the next one waits for. A step that cannot be done, or a deadline that has passed, appends an
//! [`UndoRequested`]; the step that stood there is undone, and says so with a [`StepUndone`], which is what the one before
//! it waits for. All of it is under the key of the first event, in its workflow.
//!
//! **Guarantees.** What a step leaves behind in our database, its event and the move of the case are one commit, and each
//! move is guarded: a step is done at most once and undone at most once, however often it was tried. Undoing never
//! overtakes doing: both are deliveries of one key to one subscription. Steps are undone in reverse order, the one that
//! failed included, for it may have gone through unnoticed. An undo that fails is tried again, then parked, and says so.
//!
//! **Not guaranteed.** That a step calls the outside once: after a crash it is called again, with the same idempotency key.
//! That a deadline is met to the second: a step that waits in its lane is undone when that comes up.
//!
//! [`StepDone`]: crate::events::StepDone
//! [`StepUndone`]: crate::events::StepUndone
//! [`UndoRequested`]: crate::events::UndoRequested

mod deadlines;
mod step;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

pub use deadlines::Deadlines;
pub use stored::{Case, Direction, Place, Processes};

use crate::BoxFuture;
use crate::clock::Clock;
use crate::event::Event;
use crate::events::{StepDone, StepUndone, UndoRequested};
use crate::subscriber::{Begin, Cx, Filter, Outcome, Replay, Retry, Subscription};
use step::{Asked, Steps};

/// One step of a process.
///
/// What it writes through the [`Cx`] is committed with the fact that it was done, or undone.
pub trait Step: Send + Sync {
    /// Does it. Asked again after `Retry` or a crash. What says `GiveUp`, `Poison` or `Undo`, panics every time, or has no
    /// attempt left ends the process: it and the steps before it are undone.
    fn perform<'a>(&'a self, asked: &'a For, cx: &'a mut Cx) -> BoxFuture<'a, Outcome>;

    /// Undoes it. It may not have gone through, or not quite: then that is done too.
    fn undo<'a>(&'a self, asked: &'a For, cx: &'a mut Cx) -> BoxFuture<'a, Outcome>;
}

/// What a step is asked for.
#[derive(Debug, Clone)]
pub struct For {
    /// The same for all steps: the id of the event that began the process.
    pub process: Uuid,
    /// As that event's envelope shows it.
    pub subject: Option<String>,
    /// The same however often this is asked; doing and undoing have one each.
    pub idempotency_key: String,
}

/// A process: what begins it, how long it may take, and its steps in order.
pub struct Process {
    kind: &'static str,
    begins_with: &'static str,
    within: Duration,
    retry: Retry,
    steps: Vec<(&'static str, Arc<dyn Step>)>,
}

impl Process {
    /// One that begins with each `E`. What is not done `within` this time of it is undone.
    pub fn beginning_with<E: Event>(kind: &'static str, within: Duration) -> Self {
        Self {
            kind,
            begins_with: E::META.kind,
            within,
            retry: Retry::DEFAULT,
            steps: Vec::new(),
        }
    }

    /// Adds the next step. The name is that of its subscription too.
    #[must_use]
    pub fn step(mut self, name: &'static str, step: impl Step + 'static) -> Self {
        self.steps.push((name, Arc::new(step)));
        self
    }

    /// How often and how late each step is tried before it is undone; its age counts for nothing, the process has a
    /// deadline.
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// The subscriptions that are its steps. It begins with events after its registration, and is never replayed.
    pub fn subscriptions(
        self,
        processes: &Arc<dyn Processes>,
        clock: &Arc<dyn Clock>,
    ) -> Vec<Subscription> {
        let names = self.steps.iter().map(|(name, _)| *name).collect();
        let steps = Arc::new(Steps {
            kind: self.kind,
            begins_with: self.begins_with,
            within: self.within,
            max_attempts: self.retry.max_attempts,
            names,
            processes: Arc::clone(processes),
            clock: Arc::clone(clock),
        });
        let retry = Retry {
            // One more than the step has, in which it is undone where the last one hung.
            max_attempts: self.retry.max_attempts.saturating_add(1),
            max_age: self.retry.max_age.max(self.within.saturating_mul(2)),
            ..self.retry
        };
        let subscription = |(index, (name, step)): (usize, (&'static str, Arc<dyn Step>))| {
            let trigger = if index == 0 {
                self.begins_with
            } else {
                StepDone::META.kind
            };
            let asked = Asked {
                steps: Arc::clone(&steps),
                index,
                step,
            };
            let wanted = [trigger, UndoRequested::META.kind, StepUndone::META.kind];
            Subscription::durable(name, Filter::matching(wanted), Arc::new(asked))
                .retry(retry)
                .begin(Begin::Head)
                .replay(Replay::Deny)
        };
        self.steps
            .into_iter()
            .enumerate()
            .map(subscription)
            .collect()
    }
}
