//! What became of messages, in memory until it is written down: a delivery that goes well costs no commit of its own.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quivive_delivery::{Ids, Log, Time, Transaction};
use quivive_domain::EndpointId;

use crate::kernel::Families;
use crate::ports::{Attempt, Webhooks};

/// Between two times of writing. Who asks for the attempts has them written first.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// Attempts of an endpoint that are kept, here and in the database.
const KEPT: usize = 100;

/// Endpoints in one commit: some 200 rows, so that no commit of somebody else waits long behind it.
const MAX_TOGETHER: usize = 2;

#[derive(Default)]
pub(super) struct Notes {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    attempts: HashMap<EndpointId, VecDeque<Attempt>>,
    /// Since when an endpoint only fails.
    failing: HashMap<EndpointId, Time>,
    /// Of which that is not in the database yet.
    changed: HashSet<EndpointId>,
}

impl Notes {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the database says of an endpoint.
    pub(super) fn begin(&self, id: EndpointId, failing_since: Option<Time>) {
        let mut inside = self.inside();
        inside.changed.remove(&id);
        match failing_since {
            Some(since) => inside.failing.insert(id, since),
            None => inside.failing.remove(&id),
        };
    }

    pub(super) fn forget(&self, id: EndpointId) {
        self.begin(id, None);
        self.inside().attempts.remove(&id);
    }

    pub(super) fn attempt(&self, attempt: Attempt) {
        let mut inside = self.inside();
        let kept = inside.attempts.entry(attempt.endpoint).or_default();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(attempt);
    }

    /// It took a message.
    pub(super) fn well(&self, id: EndpointId) {
        let mut inside = self.inside();
        if inside.failing.remove(&id).is_some() {
            inside.changed.insert(id);
        }
    }

    /// It did not. Since when that is so.
    pub(super) fn failing(&self, id: EndpointId, now: Time) -> Time {
        let mut inside = self.inside();
        if !inside.failing.contains_key(&id) {
            inside.changed.insert(id);
        }
        *inside.failing.entry(id).or_insert(now)
    }

    /// Whether since when it fails is as the database has it, as far as this process knows.
    pub(super) fn is_written(&self, id: EndpointId) -> bool {
        !self.inside().changed.contains(&id)
    }

    /// Writes down what is new. What cannot be written is let go: it says how things went, and nothing hangs on it.
    pub(super) async fn write(&self, families: &Families, log: &dyn Log) {
        loop {
            let writes = self.take(&*families.webhooks, &*families.ids);
            if writes.is_empty() {
                return;
            }
            let transaction = Transaction {
                writes,
                records: Vec::new(),
            };
            if let Err(error) = log.commit(transaction).await {
                tracing::warn!(%error, "what became of webhooks could not be written down");
                return;
            }
        }
    }

    fn take(&self, webhooks: &dyn Webhooks, ids: &dyn Ids) -> Vec<quivive_delivery::Write> {
        let mut inside = self.inside();
        let mut writes = Vec::new();
        for id in std::mem::take(&mut inside.changed) {
            let since = inside.failing.get(&id).copied();
            writes.push(webhooks.note_failing(id, since));
        }
        let some: Vec<_> = inside.attempts.keys().take(MAX_TOGETHER).copied().collect();
        for id in some {
            let attempts = inside.attempts.remove(&id).unwrap_or_default();
            writes.extend(
                attempts
                    .iter()
                    .map(|attempt| webhooks.insert_attempt(ids.next(), attempt)),
            );
            writes.push(webhooks.trim_attempts(id, u32::try_from(KEPT).unwrap_or(u32::MAX)));
        }
        writes
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing::nobody;

    fn attempt(endpoint: u128, number: u32) -> Attempt {
        Attempt {
            endpoint: EndpointId(Uuid::from_u128(endpoint)),
            event_id: Uuid::nil(),
            event_type: "session.created".to_owned(),
            number,
            at: Time::UNIX_EPOCH,
            latency_ms: 1,
            status: Some(204),
            error: None,
        }
    }

    #[test]
    fn of_what_is_not_written_down_yet_the_last_hundred_of_each_endpoint_are_kept() {
        let (notes, world) = (Notes::default(), nobody().world.clone());
        for number in 1..=1_000 {
            notes.attempt(attempt(1, number));
        }
        for number in 1..=3 {
            notes.attempt(attempt(2, number));
        }
        let numbers = |endpoint: u128| -> Vec<u32> {
            let inside = notes.inside();
            let kept = &inside.attempts[&EndpointId(Uuid::from_u128(endpoint))];
            kept.iter().map(|attempt| attempt.number).collect()
        };
        assert_eq!(numbers(1), (901..=1_000).collect::<Vec<_>>());
        assert_eq!(numbers(2), [1, 2, 3]);
        // Each with what trims the table.
        assert_eq!(notes.take(&world, &world).len(), 100 + 1 + 3 + 1);
        assert!(notes.take(&world, &world).is_empty(), "once");
    }
}
