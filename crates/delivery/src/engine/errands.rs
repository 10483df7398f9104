//! What the runners of an engine share, and what they send it for: commits and reads whose end is an input.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::machine::{Input, LANE_EVENTS, Now, Versions};
use super::scribe::Scribe;
use super::tail::{POLL_EVERY, Tail};
use crate::clock::Clock;
use crate::commit::Transaction;
use crate::envelope::{Key, Stored};
use crate::log::Log;
use crate::subscriber::{Effects, Order, StoredLane, Subscriptions};

/// What all runners of an engine work with.
pub(crate) struct Tools {
    pub(crate) log: Arc<dyn Log>,
    pub(super) subscriptions: Arc<dyn Subscriptions>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(super) versions: Versions,
    pub(crate) scribe: Scribe,
    pub(super) tail: Tail,
    pub(super) began: Instant,
    /// Tells that some subscription has moved or come to rest.
    pub(super) moved: watch::Sender<()>,
}

impl Tools {
    pub(super) fn now(&self) -> Now {
        Now {
            tick: self.began.elapsed(),
            wall: self.clock.now(),
        }
    }
}

/// Commits what a handler left behind, with the row that says that the event is done.
pub(super) async fn commit(
    tools: Arc<Tools>,
    subscription: Arc<str>,
    event: Arc<Stored>,
    effects: Effects,
    row: StoredLane,
) -> Input {
    let result = match tools.scribe.facts(&event, effects.facts).await {
        Ok(records) => {
            let mut writes = effects.writes;
            writes.push(tools.subscriptions.put_lane(&subscription, &row));
            let committed = tools.log.commit(Transaction { writes, records }).await;
            committed
                .map(|_| ())
                .map_err(|error| format!("its effects were not committed: {error}"))
        }
        Err(fault) => Err(format!("its facts cannot be sealed: {fault}")),
    };
    Input::Committed { event, result }
}

/// Reads the next events of a lane.
pub(super) async fn backlog(
    tools: Arc<Tools>,
    order: Order,
    key: Key,
    after: u64,
    upto: u64,
) -> Input {
    let read = match order {
        Order::Key => {
            tools
                .subscriptions
                .backlog(&key, after, upto, LANE_EVENTS)
                .await
        }
        // A lane for one event, which lies right after the position.
        Order::None => tools.log.read(after, 1).await,
    };
    let read = match read {
        Ok(mut events) => {
            let full = order == Order::Key && events.len() >= LANE_EVENTS;
            events.retain(|event| event.position <= upto);
            let last = events.last().map_or(upto, |event| event.position);
            let known = if full { last } else { upto };
            Some((events.into_iter().map(Arc::new).collect(), known))
        }
        Err(fault) => {
            tracing::warn!(%fault, "what waits behind a lane cannot be read; trying again");
            None
        }
    };
    Input::Backlog { key, read }
}

/// Reads the log for a subscription that is older than the ring.
pub(super) async fn catch_up(tools: &Tools, after: u64, limit: usize) -> Vec<Arc<Stored>> {
    match tools.tail.read_back(after, limit).await {
        Ok(events) => events,
        Err(fault) => {
            tracing::warn!(%fault, "the log cannot be read; trying again");
            tokio::time::sleep(POLL_EVERY).await;
            Vec::new()
        }
    }
}
