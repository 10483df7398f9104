//! What reacts in this process right after a commit: best effort.
//!
//! **Cast.** The [`AfterCommit`] knows the subscriptions of this phase and tells them of an event, all at once; its task
//! follows the log from where it was at the start.
//!
//! **Guarantees.** A handler that fails, panics or hangs keeps no event from another handler, and nothing from a durable
//! subscription. What each said is returned, for each handler.
//!
//! **Not guaranteed.** Order, and that an event is told at all: what fails is not tried again, what was committed while
//! the process was down is not told, nor is what lies too far behind the head when its turn comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::delivery::Target;
use super::errands::{Tools, catch_up};
use super::machine::{Selection, Verdict};
use super::tail::{POLL_EVERY, Taken};
use crate::envelope::Stored;

/// Events told at once. One that hangs keeps its place until its handlers' timeouts.
const EVENTS: usize = 64;

/// How far it may be behind the head; what is older is lost.
const BEHIND_EVENTS: u64 = 8192;

/// What one handler said of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub subscription: Arc<str>,
    /// The error is for operators.
    pub result: Result<(), String>,
}

/// The subscriptions of this phase.
pub(super) struct AfterCommit {
    subscriptions: Vec<(Selection, Arc<Target>)>,
    /// Everything up to here was told.
    position: AtomicU64,
}

impl AfterCommit {
    pub(super) fn new(subscriptions: Vec<(Selection, Arc<Target>)>, head: u64) -> Self {
        Self {
            subscriptions,
            position: AtomicU64::new(head),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    /// Everything up to here was told.
    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.subscriptions.iter().map(|(_, target)| target)
    }

    /// Tells everybody who wants this event, and waits for all.
    pub(super) async fn tell(&self, event: &Arc<Stored>) -> Vec<Told> {
        let wanted = self
            .subscriptions
            .iter()
            .filter(|(selection, _)| selection.takes(event));
        join_all(wanted.map(async |(_, target)| Told {
            subscription: Arc::clone(&target.name),
            result: told(target, event).await,
        }))
        .await
    }

    /// Follows the log until the server stops. What is under way then is dropped.
    pub(super) async fn run(&self, tools: &Tools, stopping: CancellationToken) {
        let mut reached = tools.tail.reached();
        let mut taken = self.position();
        let mut work = FuturesUnordered::new();
        while !stopping.is_cancelled() {
            reached.mark_unchanged();
            while work.len() < EVENTS {
                let events = next(tools, &mut taken, EVENTS - work.len()).await;
                if events.is_empty() {
                    break;
                }
                work.extend(events.into_iter().map(async |event| {
                    report(&event, self.tell(&event).await);
                }));
            }
            if work.is_empty() {
                self.position.store(taken, Ordering::Release);
                tools.moved.send_replace(());
            }
            tokio::select! {
                () = stopping.cancelled() => {}
                Some(()) = work.next(), if !work.is_empty() => {}
                Ok(()) = reached.changed(), if work.len() < EVENTS => {}
                () = tokio::time::sleep(POLL_EVERY), if taken < *tools.tail.reached().borrow() => {}
            }
        }
    }
}

/// The next events, from the ring or, if that has let go of them, from the log. Empty when there are none yet.
async fn next(tools: &Tools, taken: &mut u64, limit: usize) -> Vec<Arc<Stored>> {
    let events = match tools.tail.take_all(*taken, limit) {
        Taken::Events(events) => events,
        Taken::Empty | Taken::Nothing(_) => return Vec::new(),
        Taken::Behind => {
            let oldest = tools
                .log
                .head()
                .borrow()
                .position
                .saturating_sub(BEHIND_EVENTS);
            if let Some(lost) = oldest.checked_sub(*taken).filter(|lost| *lost > 0) {
                tracing::warn!(
                    lost,
                    "handlers after the commit are too slow; events are not told"
                );
                *taken = oldest;
            }
            catch_up(tools, *taken, limit).await
        }
    };
    *taken = events.last().map_or(*taken, |event| event.position);
    events
}

async fn told(target: &Target, event: &Arc<Stored>) -> Result<(), String> {
    let verdict = tokio::time::timeout(target.timeout, target.deliver(event, 1)).await;
    match verdict.unwrap_or(Verdict::TimedOut) {
        Verdict::Done => Ok(()),
        Verdict::DoneWith(_) => {
            Err("it left something to commit, which only a durable subscription may".to_owned())
        }
        failed => Err(failed.text().to_owned()),
    }
}

fn report(event: &Stored, told: Vec<Told>) {
    for Told {
        subscription,
        result,
    } in told
    {
        if let Err(error) = result {
            let (id, kind) = (event.envelope.id, &event.envelope.kind);
            tracing::warn!(%subscription, event = %id, r#type = kind, error, "a handler after the commit failed");
        }
    }
}
