//! Connections that wait for the next message to the same host.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use quivive_domain::webhook::Target;

use super::connection::Connection;

/// In all; the one that has waited longest goes first.
const MAX_IDLE: usize = 128;
/// Most servers hang up after a minute.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// After that the name is resolved anew, and what it means is looked at again.
const MAX_AGE: Duration = Duration::from_mins(2);

/// What a connection is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    encrypted: bool,
    authority: String,
}

impl Origin {
    pub(super) fn of(target: &Target) -> Self {
        Self {
            encrypted: target.is_encrypted(),
            authority: target.authority(),
        }
    }
}

struct Idle {
    origin: Origin,
    connection: Connection,
    opened: Instant,
    since: Instant,
}

#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<VecDeque<Idle>>,
}

impl Pool {
    /// One that is still open.
    pub(super) async fn take(&self, origin: &Origin) -> Option<Pooled> {
        loop {
            let mut idle = self.newest(origin)?;
            if idle.connection.is_usable().await {
                return Some(Pooled {
                    connection: idle.connection,
                    opened: idle.opened,
                });
            }
        }
    }

    fn newest(&self, origin: &Origin) -> Option<Idle> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        idle.retain(|idle| now < idle.since + MAX_WAIT && now < idle.opened + MAX_AGE);
        let index = idle.iter().rposition(|idle| idle.origin == *origin)?;
        idle.remove(index)
    }

    /// Keeps a connection, unless something of its last answer is still to come.
    pub(super) async fn put(&self, origin: Origin, mut pooled: Pooled) {
        if !pooled.connection.is_usable().await {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= MAX_IDLE {
            idle.pop_front();
        }
        idle.push_back(Idle {
            origin,
            connection: pooled.connection,
            opened: pooled.opened,
            since: Instant::now(),
        });
    }
}

/// A connection and since when it is open.
pub(super) struct Pooled {
    pub(super) connection: Connection,
    opened: Instant,
}

impl Pooled {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            opened: Instant::now(),
        }
    }
}
