//! The relay: brings every event of the log to a message broker, after the log and never instead of it.
//!
//! **Cast.** A [`Relay`] is the handler of a subscription in the order of the log. It makes a message of each event and hands
//! them to a [`Broker`], a batch at a time. The [`Chain`] knows the last position of each shard.
//!
//! **Flow.** A message is the event as a `CloudEvent` without personal fields, with three attributes more: `shard`, which
//! follows from the key, so that a key stays in one shard; `pos`; and `prevpos`, the position before it in that shard. The
//! batch is done when the broker has confirmed all of it. The chain is written in the commit that moves the cursor.
//!
//! **Guarantees.** Between `prevpos` and `pos` there is no event of the shard: who has everything up to the one may take the
//! other, and who has not reads the log. A message that is published twice, after a crash or a broken connection, says the
//! same. What was not published is in no chain: the next message of every shard says the position before itself as the log
//! has it, so every consumer reads what is missing from the log.
//!
//! **Not guaranteed.** That the broker keeps what it confirmed; that a message comes once.

mod chain;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use chain::{Chain, Link};

use crate::catalogue::Catalogue;
use crate::cloudevents::{self, Origin};
use crate::commit::Write;
use crate::envelope::Stored;
use crate::log::{Head, Log};
use crate::subscriber::{
    Batch, BatchHandler, BatchOutcome, Begin, Order, Outcome, Received, Replay, Retry,
    Subscription, WithCursor,
};
use crate::{BoxFuture, Fault};

/// What its subscription is called.
pub const NAME: &str = "relay:broker";

/// What that begins with: it is there while a broker is configured.
pub const FAMILY: &str = "relay:";

/// Events in one batch: enough to hide the way to the broker and back, and some hundred kilobytes of messages.
const BATCH: Batch = Batch {
    max: 1_000,
    wait: Duration::ZERO,
};

/// A broker that is away is asked again soon: consumers read the log meanwhile, and should not for long.
const RETRY: Retry = Retry {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(5),
    ..Retry::NONE
};

/// Most messages fit.
const USUAL_BYTES: usize = 1_024;

/// One batch at the broker, connecting included.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub epoch: u64,
    pub position: u64,
}

/// What the relay knows, for a broker to compare with what it remembers.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The last place that the broker confirmed. One that remembers less has lost something.
    pub confirmed: Place,
    /// Of the log. One that remembers more remembers another log.
    pub head: Place,
}

/// A message for a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub shard: u32,
    pub place: Place,
    /// A `CloudEvent` in JSON.
    pub json: Vec<u8>,
}

/// A message broker with as many ordered streams as there are shards.
pub trait Broker: Send + Sync {
    /// Publishes messages, those of each shard in their order, and answers when the broker has confirmed all. After a failure
    /// the same messages come again, and any of them may be there already.
    fn publish<'a>(
        &'a self,
        known: Known,
        messages: &'a [Publication],
    ) -> BoxFuture<'a, Result<(), Fault>>;
}

/// Where the chain is kept.
pub trait Chains: Send + Sync {
    /// As it was kept last; `None` before the first time.
    fn load(&self) -> BoxFuture<'_, Result<Option<String>, Fault>>;

    /// A write for the commit that moves the cursor. It never misses.
    fn keep(&self, chain: &str) -> Write;
}

/// What a relay works with.
pub struct Parts {
    pub log: Arc<dyn Log>,
    pub catalogue: Arc<Catalogue>,
    pub origin: Origin,
    pub broker: Arc<dyn Broker>,
    pub shards: u32,
    pub chains: Arc<dyn Chains>,
}

/// The chain as it is, and as it was before the last batch: which of the two the cursor has come to, the engine knows.
struct Links {
    before: Chain,
    now: Chain,
}

/// The handler.
pub struct Relay {
    parts: Parts,
    links: Mutex<Links>,
    /// The last batch was not confirmed, which was told.
    failing: AtomicBool,
}

impl Relay {
    pub fn new(parts: Parts) -> Self {
        // It is loaded before the first event.
        let now = Chain::at(0, parts.shards);
        Self {
            parts,
            links: Mutex::new(Links {
                before: now.clone(),
                now,
            }),
            failing: AtomicBool::new(false),
        }
    }

    /// Its subscription. A new one begins with what comes after its registration: what is older is in the feed.
    pub fn subscription(self) -> Subscription {
        let relay = Arc::new(self);
        Subscription::together(NAME, Arc::clone(&relay) as Arc<dyn BatchHandler>)
            .with_cursor(relay)
            .batch(BATCH.max, BATCH.wait)
            .order(Order::Log)
            .concurrency(1)
            .retry(RETRY)
            .timeout(TIMEOUT)
            .target("broker")
            .replay(Replay::Deny)
            .begin(Begin::Head)
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain that ends before a position: the one at hand or, at the start and after another node had the subscription,
    /// the one that was kept.
    async fn chain_before(&self, position: u64) -> Result<Chain, Fault> {
        let ends = |chain: &Chain| chain.position() + 1 == position;
        let now = self.links().now.clone();
        if ends(&now) {
            return Ok(now);
        }
        let kept = self.parts.chains.load().await?;
        let kept = kept.and_then(|text| Chain::read(&text, self.parts.shards));
        let chain = kept.filter(ends);
        Ok(chain.unwrap_or_else(|| Chain::at(position - 1, self.parts.shards)))
    }

    async fn publish(&self, events: &[Received]) -> Result<(), Fault> {
        let Head {
            epoch, position, ..
        } = *self.parts.log.head().borrow();
        let place = |position| Place { epoch, position };
        let Some(first) = events.first() else {
            return Ok(());
        };
        let mut chain = self.chain_before(first.stored.position).await?;
        let before = chain.clone();
        let mut messages = Vec::with_capacity(events.len());
        let known = Known {
            confirmed: place(chain.position()),
            head: place(position),
        };
        for event in events {
            let event = &*event.stored;
            let link = chain.follow(event);
            match self.message(event, epoch, link) {
                Ok(json) => messages.push(Publication {
                    shard: link.shard,
                    place: place(event.position),
                    json,
                }),
                // It stays in the chain, so consumers miss it and read the log.
                Err(error) => {
                    tracing::error!(position = event.position, %error, "an event cannot be told to the broker");
                }
            }
        }
        self.parts.broker.publish(known, &messages).await?;
        *self.links() = Links { before, now: chain };
        Ok(())
    }

    fn message(
        &self,
        event: &Stored,
        epoch: u64,
        link: Link,
    ) -> Result<Vec<u8>, serde_json::Error> {
        let Parts {
            catalogue, origin, ..
        } = &self.parts;
        let message = cloudevents::message(event, catalogue, origin)?;
        let mut json = Vec::with_capacity(USUAL_BYTES);
        serde_json::to_writer(&mut json, &message.relayed(epoch, link))?;
        Ok(json)
    }
}

impl BatchHandler for Relay {
    fn handle<'a>(&'a self, events: &'a [Received]) -> BoxFuture<'a, BatchOutcome> {
        Box::pin(async move {
            let published = self.publish(events).await;
            let failed = self.failing.swap(published.is_err(), Ordering::Relaxed);
            match &published {
                Err(error) if !failed => {
                    tracing::warn!(%error, "the broker takes no events; trying again");
                }
                Ok(()) if failed => tracing::info!("the broker takes events again"),
                _ => {}
            }
            BatchOutcome::All(published.map_or_else(Outcome::from, Outcome::from))
        })
    }
}

impl WithCursor for Relay {
    fn writes(&self, cursor: u64) -> Vec<Write> {
        let links = self.links();
        let chain = if links.now.position() <= cursor {
            &links.now
        } else {
            &links.before
        };
        vec![self.parts.chains.keep(&chain.to_string())]
    }
}
