//! Connections that wait for the next message to the same host.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quivive_domain::webhook::Target;

use super::connection::Connection;

/// In all; the one that has waited longest goes first.
const MAX_IDLE: usize = 128;
/// Most servers hang up after a minute.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// After that the name is resolved anew, and what it means is looked at again.
const MAX_AGE: Duration = Duration::from_mins(2);

/// What a connection is good for: whoever is behind scheme, host and port of a target.
#[derive(Debug, Clone)]
pub(super) struct Origin(pub(super) Arc<Target>);

impl Origin {
    fn parts(&self) -> (bool, &str) {
        (self.0.is_encrypted(), self.0.authority())
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Origin {}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
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
