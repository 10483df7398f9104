//! What every node must know: a view follows the log in this process, from the head at its start, in order and without a gap.
//!
//! **Guarantees.** Every event that it wants reaches its handler, one at a time; one that fails is tried again before the
//! next, for who must know everything is better late than wrong. How far it is says how much it knows.
//!
//! **Not guaranteed.** What was before the start: a view loads that from tables. An event that its handler gives up on, or
//! cannot read, is passed over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::delivery::Target;
use super::errands::{Tools, catch_up};
use super::machine::{Selection, Verdict};
use super::tail::{POLL_EVERY, Taken};
use crate::envelope::Stored;

/// Events taken at once.
const EVENTS: usize = 256;

/// Between two tries of an event that failed.
const PAUSE: Duration = Duration::from_millis(250);

pub(super) struct View {
    pub(super) selection: Selection,
    pub(super) target: Arc<Target>,
    /// Everything up to here is known.
    position: AtomicU64,
}

impl View {
    pub(super) fn new(selection: Selection, target: Target, head: u64) -> Self {
        Self {
            selection,
            target: Arc::new(target),
            position: AtomicU64::new(head),
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Follows the log until the server stops.
    pub(super) async fn run(&self, tools: &Tools, stopping: CancellationToken) {
        let follow = self.follow(tools);
        stopping.run_until_cancelled(follow).await;
    }

    async fn follow(&self, tools: &Tools) {
        let mut reached = tools.tail.reached();
        let mut taken = self.position();
        loop {
            reached.mark_unchanged();
            let events = match tools.tail.take_all(taken, EVENTS) {
                Taken::Events(events) => events,
                Taken::Behind => catch_up(tools, taken, EVENTS).await,
                Taken::Empty | Taken::Nothing(_) => Vec::new(),
            };
            for event in &events {
                if self.selection.takes(event) {
                    self.tell(event).await;
                }
                taken = event.position;
                self.position.store(taken, Ordering::Release);
            }
            tools.moved.send_replace(());
            if events.is_empty() {
                let _ = tokio::time::timeout(POLL_EVERY, reached.changed()).await;
            }
        }
    }

    async fn tell(&self, event: &Arc<Stored>) {
        let (name, id) = (&*self.target.name, event.envelope.id);
        loop {
            let told = tokio::time::timeout(self.target.timeout, self.target.deliver(event, 1));
            let verdict = told.await.unwrap_or(Verdict::TimedOut);
            match &verdict {
                Verdict::Done => return,
                Verdict::Retry(_)
                | Verdict::RetryAfter(..)
                | Verdict::TimedOut
                | Verdict::Panicked => {
                    let error = verdict.text();
                    tracing::warn!(view = name, event = %id, error, "a view waits for an event that failed");
                    tokio::time::sleep(PAUSE).await;
                }
                Verdict::DoneWith(_)
                | Verdict::GiveUp(_)
                | Verdict::Poison(_)
                | Verdict::Pause(_)
                | Verdict::Alone(_) => {
                    let error = verdict.text();
                    tracing::error!(view = name, event = %id, error, "a view passes over an event");
                    return;
                }
            }
        }
    }
}
