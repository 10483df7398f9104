//! What the runners of an engine share, and what they send it for: commits and reads whose end is an input.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::machine::{Input, Now, Sweep, Versions};
use super::scribe::Scribe;
use super::tail::{POLL_EVERY, Tail};
use super::tenure::{Share, Tenure};
use crate::clock::Clock;
use crate::commit::Transaction;
use crate::envelope::{Key, Stored};
use crate::log::Log;
use crate::subscriber::{Effects, StoredLane, Subscriptions};
use crate::{BoxFuture, Fault};

/// What all runners of an engine work with.
pub(crate) struct Tools {
    pub(crate) log: Arc<dyn Log>,
    pub(super) subscriptions: Arc<dyn Subscriptions>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(super) versions: Versions,
    pub(crate) scribe: Scribe,
    pub(super) tail: Tail,
    pub(super) began: Instant,
    /// `None`: this process has everything.
    pub(super) share: Option<Share>,
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
    tenure: Arc<Tenure>,
    subscription: Arc<str>,
    event: Arc<Stored>,
    effects: Effects,
    row: StoredLane,
) -> Input {
    let result = match tools.scribe.facts(&event, effects.facts).await {
        Ok(records) => {
            let mut writes = effects.writes;
            writes.push(tools.subscriptions.put_lane(&subscription, &row));
            let transaction = Transaction { writes, records };
            let committed = tenure.commit(&*tools.log, transaction).await;
            committed
                .map(|_| ())
                .map_err(|error| format!("its effects were not committed: {error}"))
        }
        Err(fault) => Err(format!("its facts cannot be sealed: {fault}")),
    };
    Input::Committed { event, result }
}

/// Positions that one read of a sweep looks over for a few keys at most: a tenth of a second of a reader.
const SPAN: u64 = 100_000;

/// Fetches the events at which lanes are.
pub(super) async fn fetch(tools: Arc<Tools>, fronts: Vec<(Key, u64)>) -> Input {
    let positions: Vec<_> = fronts.iter().map(|(_, position)| *position).collect();
    let read = read(tools.subscriptions.events_at(&positions)).await;
    Input::Fronts { fronts, read }
}

/// Reads on for lanes that do not know their next event.
pub(super) async fn sweep(tools: Arc<Tools>, mut sweep: Sweep) -> Input {
    let Sweep {
        after, upto, limit, ..
    } = sweep;
    let read = if let Some(keys) = &sweep.keys {
        sweep.upto = upto.min(after + SPAN);
        let events = tools.subscriptions.backlog(keys, after, sweep.upto, limit);
        read(events).await
    } else {
        told(tools.tail.read_back(after, limit).await)
    };
    // A read of all keys ends anywhere, one of some keys at its limit: it is whole up to its last event.
    if let Some(events) = &read
        && (events.len() == limit || sweep.keys.is_none())
        && let Some(last) = events.last()
    {
        sweep.upto = sweep.upto.min(last.position);
    }
    Input::Swept { sweep, read }
}

async fn read(events: BoxFuture<'_, Result<Vec<Stored>, Fault>>) -> Option<Vec<Arc<Stored>>> {
    let events = told(events.await)?;
    Some(events.into_iter().map(Arc::new).collect())
}

fn told<T>(read: Result<T, Fault>) -> Option<T> {
    read.inspect_err(|fault| {
        tracing::warn!(%fault, "what waits behind a lane cannot be read; trying again");
    })
    .ok()
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
