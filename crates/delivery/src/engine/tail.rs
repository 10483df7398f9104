//! The tail: reads the log once, for all subscriptions.
//!
//! **Cast.** One task reads batches into a ring; every subscription takes from the ring what its window has room for. A
//! subscription that is older than the ring reads the log for itself until it has caught up.
//!
//! **Guarantees.** What is taken after a position is what the log has after it, without a gap. The tail never runs more
//! than [`AHEAD_EVENTS`] before the fastest subscription, so memory is bounded and a slow one holds up nobody.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::envelope::Stored;
use crate::log::Log;

/// Events read from the log at once.
pub(super) const BATCH_EVENTS: usize = 1024;
/// The guarantee behind the wake-up: a signal may be lost, an event is not.
pub(super) const POLL_EVERY: Duration = Duration::from_millis(200);
/// Events kept for those that are not the fastest.
const RING_EVENTS: usize = 8192;
/// How far the tail reads before the fastest subscription: enough that it never waits for the log.
const AHEAD_EVENTS: u64 = 4096;

/// What the ring has after a position.
#[derive(Debug)]
pub(super) enum Taken {
    Events(Vec<Arc<Stored>>),
    /// Nothing yet.
    Empty,
    /// It is not in the ring any more: read the log.
    Behind,
}

#[derive(Debug)]
struct Ring {
    /// The events after `before`, up to the last one read.
    events: VecDeque<Arc<Stored>>,
    before: u64,
}

pub(super) struct Tail {
    log: Arc<dyn Log>,
    ring: Mutex<Ring>,
    reached: watch::Sender<u64>,
    /// The furthest any subscription has taken.
    fastest: AtomicU64,
    taken: Notify,
}

impl Tail {
    /// `start` is the cursor of the subscription that is furthest.
    pub(super) fn new(log: Arc<dyn Log>, start: u64) -> Self {
        Self {
            log,
            ring: Mutex::new(Ring {
                events: VecDeque::with_capacity(RING_EVENTS),
                before: start,
            }),
            reached: watch::Sender::new(start),
            fastest: AtomicU64::new(start),
            taken: Notify::new(),
        }
    }

    /// Tells when there is more to take.
    pub(super) fn reached(&self) -> watch::Receiver<u64> {
        self.reached.subscribe()
    }

    /// Somebody takes what comes after this position.
    pub(super) fn expect(&self, position: u64) {
        self.fastest.fetch_max(position, Ordering::AcqRel);
        self.taken.notify_one();
    }

    /// At most `limit` events after a position.
    pub(super) fn take(&self, after: u64, limit: usize) -> Taken {
        let events = {
            let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
            if after < ring.before {
                return Taken::Behind;
            }
            let from = ring.events.partition_point(|event| event.position <= after);
            ring.events
                .range(from..)
                .take(limit)
                .cloned()
                .collect::<Vec<_>>()
        };
        let Some(last) = events.last() else {
            return Taken::Empty;
        };
        self.fastest.fetch_max(last.position, Ordering::AcqRel);
        self.taken.notify_one();
        Taken::Events(events)
    }

    /// Reads until the server stops.
    pub(super) async fn run(&self, stopping: CancellationToken) {
        let mut head = self.log.head();
        let mut failing = false;
        while !stopping.is_cancelled() {
            let end = *self.reached.borrow();
            let room = self.fastest.load(Ordering::Acquire) + AHEAD_EVENTS > end;
            if room {
                match self.log.read(end, BATCH_EVENTS).await {
                    Ok(events) => {
                        if std::mem::take(&mut failing) {
                            tracing::info!("the log can be read again");
                        }
                        let full = events.len() == BATCH_EVENTS;
                        if events.is_empty() {
                            self.rest();
                        }
                        self.push(events);
                        if full || head.borrow_and_update().position > *self.reached.borrow() {
                            continue;
                        }
                    }
                    Err(fault) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(%fault, "the log cannot be read; trying again");
                        }
                    }
                }
            }
            tokio::select! {
                () = stopping.cancelled() => {}
                Ok(()) = head.changed(), if room && !failing => {}
                () = self.taken.notified(), if !room => {}
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
        }
    }

    /// Lets go of what the ring holds: the log is quiet, and whoever has not taken it yet reads for itself.
    fn rest(&self) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = ring.events.back() {
            ring.before = last.position;
            ring.events = VecDeque::new();
        }
    }

    fn push(&self, events: Vec<Stored>) {
        let Some(last) = events.last().map(|event| event.position) else {
            return;
        };
        let events: Vec<_> = events.into_iter().map(Arc::new).collect();
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let surplus = (ring.events.len() + events.len()).saturating_sub(RING_EVENTS);
        let oldest = ring.events.drain(..surplus).next_back();
        if let Some(oldest) = oldest {
            ring.before = oldest.position;
        }
        ring.events.extend(events);
        drop(ring);
        self.reached.send_replace(last);
    }
}
