//! The newest events, in memory: whoever follows the log as it grows reads what was just written without asking for it.
//!
//! **Guarantees.** What is here is durable, and the same that a read of the database would find. Bounded: a few megabytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quivive_delivery::{Head, Stored, Time, Transaction};

/// As many as an engine that keeps up reads at once, and some more.
const MAX_EVENTS: usize = 2048;
/// Of their bodies.
const MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Default)]
pub(crate) struct Fresh(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    /// Without a gap.
    events: VecDeque<Arc<Stored>>,
    bytes: usize,
}

impl Fresh {
    /// The events after a position, at most `limit`; `None` where not all of them are here.
    pub(crate) fn after(&self, position: u64, limit: usize) -> Option<Vec<Arc<Stored>>> {
        let inside = self.inside();
        let first = inside.events.front()?.position;
        let from = usize::try_from((position + 1).checked_sub(first)?).ok()?;
        let events = inside.events.range(from.min(inside.events.len())..);
        Some(events.take(limit).cloned().collect())
    }

    /// Adds what a group has appended after `durable`, now that it is on the disk.
    pub(crate) fn add(
        &self,
        mut durable: Head,
        recorded_at: Time,
        group: impl Iterator<Item = (Transaction, bool)>,
    ) -> Head {
        let mut inside = self.inside();
        for (transaction, committed) in group {
            if !committed {
                continue;
            }
            for record in transaction.records {
                let position = durable.position + 1;
                let stored = record.stored(&durable.chain, position, durable.epoch, recorded_at);
                durable.position = position;
                durable.chain = stored.chain;
                inside.push(Arc::new(stored));
            }
        }
        durable
    }

    /// What comes next does not follow on what is here.
    pub(crate) fn clear(&self) {
        *self.inside() = Inside::default();
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn push(&mut self, event: Arc<Stored>) {
        self.bytes += event.body.len();
        self.events.push_back(event);
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.events.pop_front() else {
                return;
            };
            self.bytes -= oldest.body.len();
        }
    }
}
