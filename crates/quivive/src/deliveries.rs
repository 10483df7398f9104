//! The delivery engine as workflows see it: the one that runs or, before and without one, the rows it goes on from.

use std::num::NonZeroU32;
use std::sync::{PoisonError, RwLock};

use quivive_app::ports::{self, Positions};
use quivive_delivery::engine::{AtRest, Behind, Decider, Declined, Running};
use quivive_delivery::subscriber::{Choice, StoredLane};
use quivive_delivery::{BoxFuture, Write};

/// Changes go to the engine, once it runs. Until then nobody else has the database: whoever made this has its lock.
pub(crate) struct Deliveries {
    running: RwLock<Option<Running>>,
    at_rest: AtRest,
}

impl Deliveries {
    pub(crate) fn new(at_rest: AtRest) -> Self {
        Self {
            running: RwLock::default(),
            at_rest,
        }
    }

    /// The engine has been started.
    pub(crate) fn started(&self, running: &Running) {
        self.set(Some(running.clone()));
    }

    /// The engine has ended. Its handlers hold what workflows hold, and that holds this: kept here it would never go.
    pub(crate) fn ended(&self) {
        self.set(None);
    }

    fn set(&self, running: Option<Running>) {
        *self.running.write().unwrap_or_else(PoisonError::into_inner) = running;
    }

    fn running(&self) -> Option<Running> {
        let running = self.running.read();
        running.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What handlers allow, only an engine that runs can say.
    fn to_replay(&self) -> Result<Running, Declined> {
        self.running().ok_or(Declined::WrongState)
    }
}

impl ports::Deliveries for Deliveries {
    fn pause<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<(), Declined>> {
        Box::pin(async move {
            match self.running() {
                Some(running) => running.pause(subscription).await,
                None => self.at_rest.pause(subscription).await,
            }
        })
    }

    fn resume<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<(), Declined>> {
        Box::pin(async move {
            match self.running() {
                Some(running) => running.resume(subscription).await,
                None => self.at_rest.resume(subscription).await,
            }
        })
    }

    fn count<'a>(
        &'a self,
        subscription: &'a str,
        choice: &'a Choice,
    ) -> BoxFuture<'a, Result<u64, Declined>> {
        Box::pin(async move {
            match self.running() {
                Some(running) => running.dead_letters(subscription, choice).await,
                None => self.at_rest.dead_letters(subscription, choice).await,
            }
        })
    }

    fn redrive<'a>(
        &'a self,
        subscription: &'a str,
        choice: Choice,
        per_second: Option<NonZeroU32>,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>> {
        Box::pin(async move {
            match self.running() {
                Some(running) => running.redrive(subscription, choice, per_second, by).await,
                None => {
                    self.at_rest
                        .redrive(subscription, &choice, per_second, by)
                        .await
                }
            }
        })
    }

    fn discard<'a>(
        &'a self,
        subscription: &'a str,
        choice: Choice,
        reason: String,
        by: Decider,
    ) -> BoxFuture<'a, Result<u64, Declined>> {
        Box::pin(async move {
            match self.running() {
                Some(running) => running.discard(subscription, choice, reason, by).await,
                None => {
                    self.at_rest
                        .discard(subscription, &choice, reason, by)
                        .await
                }
            }
        })
    }

    fn would_replay<'a>(
        &'a self,
        subscription: &'a str,
        Positions { from, to }: Positions,
    ) -> BoxFuture<'a, Result<u64, Declined>> {
        Box::pin(async move {
            let count = self
                .to_replay()?
                .would_replay(subscription, from, to)
                .await?;
            Ok(count)
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
            let count = self.would_replay(subscription, range).await?;
            let running = self.to_replay()?;
            running
                .replay(subscription, range.from, range.to, by.by, with)
                .await?;
            Ok(count)
        })
    }

    fn behind<'a>(
        &'a self,
        subscription: &'a str,
        letter: &'a StoredLane,
    ) -> BoxFuture<'a, Result<Option<Behind>, Declined>> {
        Box::pin(async move {
            match self.running() {
                Some(running) => running.behind(subscription, letter).await.map(Some),
                // Which events it takes only the engine knows.
                None => Ok(None),
            }
        })
    }
}
