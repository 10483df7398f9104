//! How a [`World`] commits: plans and their guards, all or nothing, and the trouble that a test asks for.

use std::sync::Arc;

use quivive_delivery::{
    BoxFuture, CommitError, Committed, Expect, Fault, Head, Log, Stored, Transaction, Value, Write,
};
use tokio::sync::watch;
use uuid::Uuid;

use super::{EPOCH, State, World};

/// Changes the state and says how many rows it touched.
pub(super) type Plan = Arc<dyn Fn(&mut State) -> u64 + Send + Sync>;

/// What happens to a commit instead of, or before, being applied.
#[derive(Clone)]
pub(super) enum Trouble {
    Fails(Fault),
    /// Something else is done first.
    After(Arc<dyn Fn(World) -> BoxFuture<'static, ()> + Send + Sync>),
}

/// Trouble for the next commits that carry an event of a type.
pub(super) struct Ambush {
    kind: &'static str,
    times: u32,
    trouble: Trouble,
}

/// A guard on one row: touched when it is there and fits.
pub(super) fn row<T>(
    row: Option<&mut T>,
    fits: impl FnOnce(&T) -> bool,
    change: impl FnOnce(&mut T),
) -> u64 {
    match row {
        Some(row) if fits(row) => {
            change(row);
            1
        }
        _ => 0,
    }
}

pub(super) fn any(write: Write) -> Write {
    Write {
        expect: Expect::Any,
        ..write
    }
}

/// A guard that must find nothing.
pub(super) fn none(write: Write) -> Write {
    Write {
        expect: Expect::Rows(0),
        ..write
    }
}

impl World {
    /// The next `times` commits that carry an event of that type fail.
    pub fn fail(&self, kind: &'static str, times: u32, fault: Fault) {
        self.ambush(kind, times, Trouble::Fails(fault));
    }

    /// Changes the state right before the next `times` commits that carry an event of that type: after the workflow has
    /// decided.
    pub fn meanwhile(
        &self,
        kind: &'static str,
        times: u32,
        change: impl Fn(&mut State) + Send + Sync + 'static,
    ) {
        let change = Arc::new(change);
        self.before(kind, times, move |world| {
            let change = Arc::clone(&change);
            Box::pin(async move { world.change(|state| change(state)) })
        });
    }

    /// Does something right before the next `times` commits that carry an event of that type; for outcomes, which are
    /// waited for.
    pub fn before(
        &self,
        kind: &'static str,
        times: u32,
        action: impl Fn(World) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) {
        self.ambush(kind, times, Trouble::After(Arc::new(action)));
    }

    fn ambush(&self, kind: &'static str, times: u32, trouble: Trouble) {
        self.inside().ambushes.push(Ambush {
            kind,
            times,
            trouble,
        });
    }

    fn trouble(&self, transaction: &Transaction) -> Option<Trouble> {
        let mut inside = self.inside();
        let carries = |kind| {
            transaction
                .records
                .iter()
                .any(|r| r.envelope().kind == kind)
        };
        let ambush = inside
            .ambushes
            .iter_mut()
            .find(|a| a.times > 0 && carries(a.kind))?;
        ambush.times -= 1;
        Some(ambush.trouble.clone())
    }

    /// A write by its name: its plan, and the ids it is about.
    pub fn write(
        &self,
        name: &'static str,
        ids: &[Uuid],
        plan: impl Fn(&mut State) -> u64 + Send + Sync + 'static,
    ) -> Write {
        let mut inside = self.inside();
        let number = i64::try_from(inside.plans.len()).unwrap_or(i64::MAX);
        inside.plans.push(Arc::new(plan));
        let ids = ids.iter().copied().map(Value::Id);
        Write::one(
            name,
            std::iter::once(Value::Int(number)).chain(ids).collect(),
        )
    }

    fn apply(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        let mut inside = self.inside();
        let mut state = inside.state.clone();
        for (index, write) in transaction.writes.iter().enumerate() {
            let plan = match write.params.first() {
                Some(Value::Int(number)) => inside
                    .plans
                    .get(usize::try_from(*number).unwrap_or(usize::MAX)),
                _ => None,
            };
            let plan = plan.expect("writes of a world are made by World::write");
            let touched = plan(&mut state);
            if let Expect::Rows(rows) = write.expect
                && rows != touched
            {
                inside.missed.push(write.sql);
                return Err(CommitError::Missed(index));
            }
        }
        inside.state = state;
        let mut head = *self.0.head.borrow();
        let first_position = head.position + u64::from(!transaction.records.is_empty());
        for record in transaction.records {
            head.position += 1;
            let stored = record.stored(&head.chain, head.position, EPOCH, inside.now);
            head.chain = stored.chain;
            inside.log.push(stored);
        }
        drop(inside);
        self.0.head.send_replace(head);
        Ok(Committed {
            first_position: Some(first_position),
        })
    }
}

impl Log for World {
    fn commit(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        match self.trouble(&transaction) {
            None => {
                let result = self.apply(transaction);
                Box::pin(async move {
                    tokio::task::yield_now().await;
                    result
                })
            }
            Some(Trouble::Fails(fault)) => {
                Box::pin(std::future::ready(Err(CommitError::Fault(fault))))
            }
            Some(Trouble::After(action)) => {
                let world = self.clone();
                Box::pin(async move {
                    action(world.clone()).await;
                    world.apply(transaction)
                })
            }
        }
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        let inside = self.inside();
        let events: Vec<_> = inside
            .log
            .iter()
            .filter(|e| e.position > after)
            .take(limit)
            .cloned()
            .collect();
        Box::pin(std::future::ready(Ok(events)))
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.0.head.subscribe()
    }
}
