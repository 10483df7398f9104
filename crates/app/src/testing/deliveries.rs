//! The delivery engine of a [`World`]: it delivers nothing, and knows who is paused and how much is parked.

use std::num::NonZeroU32;

use quivive_delivery::engine::{Behind, Decider, Declined};
use quivive_delivery::subscriber::{Choice, StoredLane};
use quivive_delivery::{BoxFuture, Fault, Log as _, Transaction, Write};

use super::{State, World};
use crate::ports::{Deliveries, Positions};

/// A subscription, as far as operators change it.
#[derive(Debug, Clone, Default)]
pub struct FakeSubscription {
    pub paused: bool,
    pub parked: u64,
    /// What is delivered again.
    pub replaying: Option<Positions>,
}

impl World {
    fn decide<T: Send + 'static>(
        &self,
        subscription: &str,
        change: impl FnOnce(&mut FakeSubscription) -> Result<T, Declined>,
    ) -> BoxFuture<'static, Result<T, Declined>> {
        let decided = self.change(
            |s: &mut State| match s.subscriptions.get_mut(subscription) {
                Some(found) => change(found),
                None => Err(Declined::NotFound),
            },
        );
        Box::pin(std::future::ready(decided))
    }

    /// All that is parked, whatever is chosen.
    fn empty(&self, subscription: &str, by: Decider) -> BoxFuture<'static, Result<u64, Declined>> {
        self.change(|s| s.decided.push(by));
        self.decide(subscription, |found| {
            match std::mem::take(&mut found.parked) {
                0 => Err(Declined::WrongState),
                parked => Ok(parked),
            }
        })
    }

    fn set_paused(
        &self,
        subscription: &str,
        paused: bool,
    ) -> BoxFuture<'static, Result<(), Declined>> {
        self.decide(subscription, |found| {
            if std::mem::replace(&mut found.paused, paused) == paused {
                return Err(Declined::WrongState);
            }
            Ok(())
        })
    }
}

impl Deliveries for World {
    fn pause<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<(), Declined>> {
        self.set_paused(subscription, true)
    }

    fn resume<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<(), Declined>> {
        self.set_paused(subscription, false)
    }

    fn count<'a>(
        &'a self,
        subscription: &'a str,
        _: &'a Choice,
    ) -> BoxFuture<'a, Result<u64, Declined>> {
        self.decide(subscription, |found| Ok(found.parked))
    }

    fn redrive<'a>(
        &'a self,
        subscription: &'a str,
        _: Choice,
        _: Option<NonZeroU32>,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>> {
        self.empty(subscription, by)
    }

    fn discard<'a>(
        &'a self,
        subscription: &'a str,
        _: Choice,
        _: String,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>> {
        self.empty(subscription, by)
    }

    fn would_replay<'a>(
        &'a self,
        subscription: &'a str,
        range: Positions,
    ) -> BoxFuture<'a, Result<u64, Declined>> {
        let (from, to) = (range.from.unwrap_or(1), range.to.unwrap_or(9));
        self.decide(subscription, |_| {
            let count = (to + 1).checked_sub(from);
            count.filter(|count| *count > 0).ok_or(Declined::WrongState)
        })
    }

    fn replay<'a>(
        &'a self,
        subscription: &'a str,
        range: Positions,
        with: Vec<Write>,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>> {
        Box::pin(async move {
            self.change(|s| s.decided.push(by));
            let count = self.would_replay(subscription, range).await?;
            self.decide(subscription, |found| {
                if found.replaying.is_some() {
                    return Err(Declined::WrongState);
                }
                found.replaying = Some(range);
                Ok(())
            })
            .await?;
            let transaction = Transaction {
                writes: with,
                records: Vec::new(),
            };
            let committed = self.commit(transaction).await;
            committed.map_err(Fault::internal)?;
            Ok(count)
        })
    }

    fn behind<'a>(
        &'a self,
        subscription: &'a str,
        _: &'a StoredLane,
    ) -> BoxFuture<'a, Result<Option<Behind>, Declined>> {
        self.decide(subscription, |_| {
            Ok(Some(Behind {
                count: 3,
                more: false,
            }))
        })
    }
}
