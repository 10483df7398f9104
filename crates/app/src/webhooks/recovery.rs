//! A recovery: what an endpoint wants of what happened since some moment is sent again, under the ids it had.
//!
//! It is a replay of the endpoint's subscription, from there up to where that was when it began; what came later, or waits in
//! a lane, comes in its turn. So order, retries and a restart are those of any subscription, and a message that is not taken
//! after all its attempts is a dead letter of the replay. The handler counts what was taken, each message once.

use quivive_delivery::engine::{Running, SubscriptionStatus};
use quivive_delivery::{Fault, Log, Time};

use crate::ports::{Positions, StoredRecovery};

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
    /// Nothing is sent: the endpoint is disabled, or its messages failed in numbers.
    Paused,
    Done,
}

/// How far a recovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    pub state: RecoveryState,
    /// What it began after.
    pub after: u64,
    /// The last position that it looks at.
    pub upto: u64,
    /// Everything up to here was taken, was not wanted, or is in trouble.
    pub position: u64,
    /// Messages that were taken.
    pub sent: u64,
    /// Accounts, or messages where no order is kept, that are tried again later.
    pub retrying: usize,
    /// Those that are dead letters: it is not done before it is decided about them.
    pub parked: usize,
}

impl Recovery {
    /// One that finds nothing to send.
    pub(super) fn of_nothing(Positions { from, to }: Positions) -> Self {
        Self {
            state: RecoveryState::Done,
            after: from.unwrap_or(1) - 1,
            upto: to.unwrap_or_default(),
            position: to.unwrap_or_default(),
            sent: 0,
            retrying: 0,
            parked: 0,
        }
    }

    /// `replay` is what the engine says of it, where it does.
    pub(super) fn of(stored: StoredRecovery, replay: Option<&SubscriptionStatus>) -> Self {
        let StoredRecovery {
            after, upto, sent, ..
        } = stored;
        let state = match replay {
            _ if !stored.under_way => RecoveryState::Done,
            Some(status) if status.paused => RecoveryState::Paused,
            _ => RecoveryState::Running,
        };
        let reached = if stored.under_way { after } else { upto };
        Self {
            state,
            after,
            upto,
            position: replay.map_or(reached, |status| status.position.min(upto)),
            sent,
            retrying: replay.map_or(0, |status| status.lanes_retrying),
            parked: replay.map_or(0, |status| status.lanes_parked),
        }
    }
}

/// What the engine says of the replay of a subscription, while there is one.
pub(super) fn replay_of(running: &Running, subscription: &str) -> Option<SubscriptionStatus> {
    running.status().into_iter().find(|status| {
        let replay = status.replay.as_ref();
        replay.is_some_and(|replay| replay.subscription == subscription)
    })
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
