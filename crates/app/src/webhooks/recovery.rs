//! A recovery: what an endpoint was sent since some moment is sent again, one message after the other, under the ids it had.
//!
//! A reader of its own goes through the log in the background, up to where the endpoint's subscription was when it began;
//! what came later, or waits in a lane, comes in its turn. It ends with the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quivive_delivery::{Fault, Log, Stored, Time};
use quivive_domain::EndpointId;
use tokio_util::sync::CancellationToken;

use super::message::{Message, is_about_endpoints};
use super::sender::Sender;
use super::{Tools, wanted};

/// Events read at a time.
const READ: usize = 256;

/// Between the tries of one message.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// From where on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Events that were recorded then or later.
    Time(Time),
    /// Events after this position of the log.
    Position(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryState {
    Running,
    Done,
    /// The endpoint was removed or disabled, or the log could not be read.
    Stopped,
}

/// How far a recovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    pub state: RecoveryState,
    /// What it began after.
    pub after: u64,
    /// The last position that it looks at.
    pub upto: u64,
    /// Done up to here.
    pub position: u64,
    pub sent: u64,
    /// Not taken after three tries.
    pub failed: u64,
}

/// A recovery that others may look at.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<Recovery>>);

impl Progress {
    fn lock(&self) -> MutexGuard<'_, Recovery> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn see(&self) -> Recovery {
        *self.lock()
    }
}

/// The last one of each endpoint.
#[derive(Default)]
pub(super) struct Recoveries(Mutex<HashMap<EndpointId, Progress>>);

impl Recoveries {
    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn see(&self, id: EndpointId) -> Option<Recovery> {
        self.lock().get(&id).map(Progress::see)
    }

    /// `None` while there is one under way.
    pub(super) fn begin(&self, id: EndpointId, after: u64, upto: u64) -> Option<Progress> {
        let mut all = self.lock();
        let busy = all
            .get(&id)
            .is_some_and(|one| one.see().state == RecoveryState::Running);
        if busy {
            return None;
        }
        let progress = Progress(Arc::new(Mutex::new(Recovery {
            state: RecoveryState::Running,
            after,
            upto,
            position: after,
            sent: 0,
            failed: 0,
        })));
        all.insert(id, progress.clone());
        Some(progress)
    }
}

/// The position after which everything was recorded then or later, as far as the clock went forward.
pub(super) async fn after(log: &dyn Log, since: Since) -> Result<u64, Fault> {
    let time = match since {
        Since::Position(position) => return Ok(position),
        Since::Time(time) => time,
    };
    let (mut low, mut high) = (0, log.head().borrow().position);
    while low < high {
        let middle = low + (high - low) / 2;
        match log.read(middle, 1).await?.pop() {
            Some(event) if event.recorded_at < time => low = event.position,
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

/// Goes through the log until it is done or may not go on.
pub(super) async fn run(
    tools: &Arc<Tools>,
    id: EndpointId,
    progress: &Progress,
    stopping: CancellationToken,
) {
    let all = async {
        loop {
            match batch(tools, id, progress).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(fault) => {
                    tracing::warn!(endpoint = %id, %fault, "a recovery of a webhook endpoint stopped");
                    progress.lock().state = RecoveryState::Stopped;
                    return;
                }
            }
        }
    };
    stopping.run_until_cancelled(all).await;
}

/// Says whether there is more. The endpoint is read anew each time, with its secrets.
async fn batch(tools: &Arc<Tools>, id: EndpointId, progress: &Progress) -> Result<bool, Fault> {
    let Recovery { position, upto, .. } = progress.see();
    let mut events = tools.log.read(position, READ).await?;
    events.retain(|event| event.position <= upto);
    let endpoint = tools.families().webhooks.endpoint(id).await?;
    let endpoint = endpoint.filter(|endpoint| endpoint.disabled.is_none());
    let Some(endpoint) = endpoint else {
        progress.lock().state = RecoveryState::Stopped;
        return Ok(false);
    };
    if events.is_empty() {
        let mut progress = progress.lock();
        progress.position = upto.max(position);
        progress.state = RecoveryState::Done;
        return Ok(false);
    }
    let filter = wanted::Filter::of(tools.kernel.catalogue(), &endpoint.events);
    let sender = Sender::to(tools, endpoint).await?;
    for event in events {
        let wanted = filter.admits(&event.envelope.kind) && !is_about_endpoints(&event);
        let taken = if wanted {
            Some(send(&sender, &event).await)
        } else {
            None
        };
        let mut progress = progress.lock();
        progress.position = event.position;
        progress.sent += u64::from(taken == Some(true));
        progress.failed += u64::from(taken == Some(false));
    }
    Ok(true)
}

/// Says whether it was taken, in three tries.
async fn send(sender: &Sender, event: &Stored) -> bool {
    let Ok(Some(message)) = Message::of(&sender.tools, &sender.endpoint, event) else {
        return false;
    };
    for pause in PAUSES.into_iter().map(Some).chain([None]) {
        if sender.send(&message, 0).await.attempt.error.is_none() {
            sender.tools.notes.well(sender.endpoint.id);
            return true;
        }
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
    false
}
