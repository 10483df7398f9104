//! The delivery engine as workflows see it: the one that runs or, before and without one, the rows it goes on from.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use quivive_app::ports;
use quivive_delivery::BoxFuture;
use quivive_delivery::engine::{AtRest, Behind, Decider, Declined, Running};
use quivive_delivery::subscriber::{Choice, StoredLane};

/// Changes go to the engine, once it runs. Until then nobody else has the database: whoever made this has its lock.
pub(crate) struct Deliveries {
    running: OnceLock<Running>,
    at_rest: AtRest,
}

impl Deliveries {
    pub(crate) fn new(at_rest: AtRest) -> Self {
        Self {
            running: OnceLock::new(),
            at_rest,
        }
    }

    /// The engine has been started.
    pub(crate) fn started(&self, running: &Running) {
        let _ = self.running.set(running.clone());
    }
}

impl ports::Deliveries for Deliveries {
    fn pause<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<(), Declined>> {
        Box::pin(async move {
            match self.running.get() {
                Some(running) => running.pause(subscription).await,
                None => self.at_rest.pause(subscription).await,
            }
        })
    }

    fn resume<'a>(&'a self, subscription: &'a str) -> BoxFuture<'a, Result<(), Declined>> {
        Box::pin(async move {
            match self.running.get() {
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
            match self.running.get() {
                Some(running) => running.dead_letters(subscription, choice),
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
            match self.running.get() {
                Some(running) => running.redrive(subscription, choice, per_second, by).await,
                None => {
                    let at_rest = &self.at_rest;
                    at_rest.redrive(subscription, &choice, per_second, by).await
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
            match self.running.get() {
                Some(running) => running.discard(subscription, choice, reason, by).await,
                None => {
                    let at_rest = &self.at_rest;
                    at_rest.discard(subscription, &choice, reason, by).await
                }
            }
        })
    }

    fn behind<'a>(
        &'a self,
        subscription: &'a str,
        letter: &'a StoredLane,
    ) -> BoxFuture<'a, Result<Option<Behind>, Declined>> {
        Box::pin(async move {
            match self.running.get() {
                Some(running) => running.behind(subscription, letter).await.map(Some),
                // Which events it takes only the engine knows.
                None => Ok(None),
            }
        })
    }
}
