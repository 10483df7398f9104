//! In-memory stand-ins for what the engine works with: for tests of the engine and of what is built on it.
//!
//! **Cast.** A [`Memory`] is the database: the log, the cursors and the lanes. A [`Connection`] is one process's way to
//! it; [`Connection::cut`] is the kill: what was committed stays, nothing else of that process ever answers again.
//! [`TestClock`], [`TestIds`] and [`TestVault`] are the other ports.
//!
//! Writes that are not the engine's own are kept in the order of their commits and touch as many rows as they expect.

mod connection;
mod memory;
mod nodes;
mod ports;
mod processes;
mod replays;

use std::sync::Arc;

use uuid::Uuid;

pub use connection::Connection;
pub use memory::Memory;
pub use ports::{TestClock, TestIds, TestKey, TestVault};

use crate::catalogue::Catalogue;
use crate::clock::Time;
use crate::engine::Parts;
use crate::envelope::{Envelope, Key};
use crate::log::Appender;
use crate::tasks::Tasks;

/// An envelope with nothing in it but the least.
pub fn envelope(id: Uuid, kind: &str, key: &str, time: Time) -> Envelope {
    Envelope::first(id, kind, Key::stored(key.to_owned()), time)
}

/// All an engine needs, over one connection.
pub fn parts(connection: &Arc<Connection>, catalogue: Catalogue, tasks: Tasks) -> Parts {
    let memory = &connection.memory;
    Parts {
        log: connection.clone(),
        subscriptions: connection.clone(),
        vault: memory.vault.clone(),
        appender: Arc::new(Appender::new()),
        clock: memory.clock.clone(),
        ids: memory.ids.clone(),
        catalogue: Arc::new(catalogue),
        tasks,
        share: None,
    }
}
