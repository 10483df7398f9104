//! Decisions of an operator while no engine runs: what [`Running`](super::Running) would do, done to the rows.
//!
//! The caller has the database to itself, which is looked at where nodes share it. An engine that starts afterwards goes on
//! from there.

use std::time::Duration;

use super::decisions::{Decider, Declined};
use super::machine::{AT_ONCE, Alert, Fate, Now, decided};
use super::scribe::Scribe;
use super::start::Parts;
use crate::commit::Transaction;
use crate::fault::Fault;
use crate::log::CommitError;
use crate::subscriber::{Choice, Condition, StoredLane, StoredSubscription};

/// The subscriptions of a database on which no engine runs.
pub struct AtRest {
    parts: Parts,
}

impl AtRest {
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// As [`Running::pause`](super::Running::pause).
    pub async fn pause(&self, name: &str) -> Result<(), Declined> {
        self.set_paused(name, true).await
    }

    /// As [`Running::resume`](super::Running::resume).
    pub async fn resume(&self, name: &str) -> Result<(), Declined> {
        self.set_paused(name, false).await
    }

    async fn set_paused(&self, name: &str, paused: bool) -> Result<(), Declined> {
        let stored = self.stored(name).await?;
        if stored.condition.paused == paused {
            return Err(Declined::WrongState);
        }
        let condition = Condition {
            paused,
            ..stored.condition
        };
        let write = self.parts.subscriptions.put_condition(name, &condition);
        let resumed = (!paused).then(|| self.scribe().alert(name, name, &Alert::Resumed));
        let transaction = Transaction {
            writes: vec![write],
            records: resumed.into_iter().collect(),
        };
        self.commit(transaction).await
    }

    /// As [`Running::dead_letters`](super::Running::dead_letters).
    pub async fn dead_letters(&self, name: &str, choice: &Choice) -> Result<u64, Declined> {
        let rows = self.decided(name, choice, &Fate::Redrive(None)).await?;
        Ok(rows.len() as u64)
    }

    /// As [`Running::redrive`](super::Running::redrive). They are delivered when an engine starts, at that rate.
    pub async fn redrive(
        &self,
        name: &str,
        choice: &Choice,
        per_second: Option<std::num::NonZeroU32>,
        by: Decider,
    ) -> Result<u64, Declined> {
        let mut rows = self.decided(name, choice, &Fate::Redrive(None)).await?;
        if let Some(rate) = per_second {
            for (count, row) in (0..).zip(&mut rows) {
                let wait = Duration::from_secs(count) / rate.get();
                row.due = row.due.checked_add(wait).unwrap_or(row.due);
            }
        }
        self.put(name, rows, |count| Alert::Redriven { count, by })
            .await
    }

    /// As [`Running::discard`](super::Running::discard).
    pub async fn discard(
        &self,
        name: &str,
        choice: &Choice,
        reason: String,
        by: Decider,
    ) -> Result<u64, Declined> {
        let fate = Fate::Discard(reason.clone());
        let rows = self.decided(name, choice, &fate).await?;
        self.put(name, rows, |count| Alert::Discarded {
            count,
            by,
            reason: reason.clone(),
        })
        .await
    }

    async fn stored(&self, name: &str) -> Result<StoredSubscription, Declined> {
        if let Some(share) = &self.parts.share
            && share
                .nodes
                .living()
                .await?
                .iter()
                .any(|node| node.reads > 0)
        {
            return Err(Declined::elsewhere());
        }
        let all = self.parts.subscriptions.load().await?;
        let found = all.into_iter().find(|stored| stored.name == name);
        found.ok_or(Declined::NotFound)
    }

    /// The rows of those that are meant, as they are when they are decided about.
    async fn decided(
        &self,
        name: &str,
        choice: &Choice,
        fate: &Fate,
    ) -> Result<Vec<StoredLane>, Declined> {
        let cursor = self.stored(name).await?.position;
        let rows = self.parts.subscriptions.lanes(name).await?;
        let now = Now {
            tick: Duration::ZERO,
            wall: self.parts.clock.now(),
        };
        let decided = |row| decided(row, cursor, choice, fate, now);
        Ok(rows.into_iter().filter_map(decided).collect())
    }

    /// Writes them in parts, each with the fact that tells it.
    async fn put(
        &self,
        name: &str,
        rows: Vec<StoredLane>,
        alert: impl Fn(u32) -> Alert,
    ) -> Result<u64, Declined> {
        if rows.is_empty() {
            return Err(Declined::WrongState);
        }
        for part in rows.chunks(AT_ONCE as usize) {
            let put = |row| self.parts.subscriptions.put_lane(name, row);
            let count = u32::try_from(part.len()).unwrap_or(u32::MAX);
            let transaction = Transaction {
                writes: part.iter().map(put).collect(),
                records: vec![self.scribe().alert(name, name, &alert(count))],
            };
            self.commit(transaction).await?;
        }
        Ok(rows.len() as u64)
    }

    async fn commit(&self, transaction: Transaction) -> Result<(), Declined> {
        match self.parts.log.commit(transaction).await {
            Ok(_) => Ok(()),
            Err(CommitError::Fault(fault)) => Err(fault.into()),
            Err(missed @ CommitError::Missed(_)) => Err(Fault::internal(missed).into()),
        }
    }

    fn scribe(&self) -> Scribe {
        Scribe {
            appender: self.parts.appender.clone(),
            catalogue: self.parts.catalogue.clone(),
            clock: self.parts.clock.clone(),
            ids: self.parts.ids.clone(),
            vault: self.parts.vault.clone(),
        }
    }
}
