//! Handlers that take several events at once.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::handler::{Content, Handler};
use super::outcome::{Cx, Outcome};
use super::received::Received;
use crate::BoxFuture;

/// How many events are handed over at once, and how long the first waits for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    pub max: usize,
    pub wait: Duration,
}

impl Batch {
    pub const DEFAULT: Self = Self {
        max: 100,
        wait: Duration::from_secs(1),
    };
}

/// What a handler says of a batch.
#[derive(Debug, Clone)]
pub enum BatchOutcome {
    /// Of each event, in their order.
    Each(Vec<Outcome>),
    /// The same of all. Where that is a failure, the batch is halved once, to find out whose it is.
    All(Outcome),
}

impl From<Vec<Outcome>> for BatchOutcome {
    fn from(each: Vec<Outcome>) -> Self {
        Self::Each(each)
    }
}

impl<T: Into<Outcome>> From<T> for BatchOutcome {
    fn from(all: T) -> Self {
        Self::All(all.into())
    }
}

/// The code that reacts to several events at once. No two of them have the same key, unless the subscription keeps no
/// order. An event in trouble comes alone.
pub trait BatchHandler: Send + Sync {
    fn handle<'a>(&'a self, events: &'a [Received]) -> BoxFuture<'a, BatchOutcome>;
}

/// An async function that reacts to several events: `async fn(&[Received<E>]) -> Vec<Outcome>`, or anything that becomes
/// an outcome of all.
pub trait BatchReaction<'a, E: 'a>: Send + Sync {
    type Future: Future<Output: Into<BatchOutcome>> + Send + 'a;

    fn react(&self, events: &'a [Received<E>]) -> Self::Future;
}

impl<'a, E: 'a, F, Said> BatchReaction<'a, E> for F
where
    F: Fn(&'a [Received<E>]) -> Said + Send + Sync,
    Said: Future<Output: Into<BatchOutcome>> + Send + 'a,
{
    type Future = Said;

    fn react(&self, events: &'a [Received<E>]) -> Said {
        self(events)
    }
}

/// A function as a handler of those events that a condition lets pass; the others count as done.
pub(super) struct BatchFunction<E, F> {
    pub(super) react: F,
    pub(super) content: PhantomData<fn() -> E>,
}

impl<E: Content, F: for<'a> BatchReaction<'a, E>> BatchHandler for BatchFunction<E, F> {
    fn handle<'a>(&'a self, events: &'a [Received]) -> BoxFuture<'a, BatchOutcome> {
        Box::pin(async move {
            let (mut typed, mut unread) = (Vec::with_capacity(events.len()), Vec::new());
            for (index, event) in events.iter().enumerate() {
                match E::of(event) {
                    Ok(event) => typed.push(event),
                    Err(error) => unread.push((index, Outcome::from(error))),
                }
            }
            if typed.is_empty() {
                return BatchOutcome::Each(unread.into_iter().map(|(_, said)| said).collect());
            }
            let said = self.react.react(&typed).await.into();
            merge(said, typed.len(), unread)
        })
    }
}

/// A handler that gets only what meets a condition.
pub(super) struct BatchWhen<E, C> {
    pub(super) handler: Arc<dyn BatchHandler>,
    pub(super) condition: Arc<C>,
    pub(super) content: PhantomData<fn() -> E>,
}

impl<E: Content, C: Fn(&Received<E>) -> bool + Send + Sync> BatchHandler for BatchWhen<E, C> {
    fn handle<'a>(&'a self, events: &'a [Received]) -> BoxFuture<'a, BatchOutcome> {
        Box::pin(async move {
            let (mut wanted, mut others) = (Vec::with_capacity(events.len()), Vec::new());
            for (index, event) in events.iter().enumerate() {
                match E::of(event) {
                    Ok(typed) if (self.condition)(&typed) => wanted.push(event.clone()),
                    Ok(_) => others.push((index, Outcome::Done)),
                    Err(error) => others.push((index, Outcome::from(error))),
                }
            }
            if wanted.is_empty() {
                return BatchOutcome::Each(others.into_iter().map(|(_, said)| said).collect());
            }
            let said = self.handler.handle(&wanted).await;
            merge(said, wanted.len(), others)
        })
    }
}

/// Puts what is said of some events between what was clear of the others. `others` is by rising index in the whole.
fn merge(said: BatchOutcome, count: usize, others: Vec<(usize, Outcome)>) -> BatchOutcome {
    if others.is_empty() {
        return said;
    }
    let mut each = match said {
        BatchOutcome::Each(each) => each,
        BatchOutcome::All(all) => vec![all; count],
    };
    for (index, outcome) in others {
        // What says too little of its events is refused as a whole, where it is counted.
        each.insert(index.min(each.len()), outcome);
    }
    BatchOutcome::Each(each)
}

/// A batch handler that gets one event.
pub(super) struct Alone(pub(super) Arc<dyn BatchHandler>);

impl Handler for Alone {
    fn handle<'a>(&'a self, event: &'a Received, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match self.0.handle(std::slice::from_ref(event)).await {
                BatchOutcome::All(outcome) => outcome,
                BatchOutcome::Each(mut each) => match (each.pop(), each.is_empty()) {
                    (Some(outcome), true) => outcome,
                    _ => Outcome::Retry("it did not say one outcome of one event".to_owned()),
                },
            }
        })
    }
}
