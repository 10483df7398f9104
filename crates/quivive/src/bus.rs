//! The relay to a message broker, where one is configured.

use std::sync::Arc;

use quivive_delivery::cloudevents::Origin;
use quivive_delivery::relay::{Broker, Chains, Parts, Relay};
use quivive_delivery::subscriber::Subscription;
use quivive_delivery::{BoxFuture, Fault, Write};
use quivive_outbound::{BusConfig, BusKind};
use quivive_store::Database;

use crate::builder::Opened;

/// What the database calls the chain of the relay.
const CHAIN: &str = "relay";

/// The chain among the notes of the database.
struct Notes(Database);

impl Chains for Notes {
    fn load(&self) -> BoxFuture<'_, Result<Option<String>, Fault>> {
        self.0.meta(CHAIN)
    }

    fn keep(&self, chain: &str) -> Write {
        self.0.set_meta(CHAIN, chain)
    }
}

/// A broker, and into how many streams events go there.
pub(crate) struct Bus {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) shards: u32,
}

impl Bus {
    /// Connects later, when there is something to publish.
    pub(crate) fn of(config: BusConfig) -> Result<Self, Fault> {
        let shards = config.shards;
        let broker = match BusKind::of(&config.url).map_err(Fault::internal)? {
            BusKind::Redis => redis(config),
            BusKind::RabbitMq => rabbitmq(config),
        };
        Ok(Self {
            broker: broker?,
            shards,
        })
    }

    /// The relay, as the database has it.
    pub(crate) fn subscription(self, opened: &Opened, origin: Origin) -> Subscription {
        let relay = Relay::new(Parts {
            log: Arc::clone(&opened.engine.log),
            catalogue: Arc::clone(opened.kernel.catalogue()),
            origin,
            broker: self.broker,
            shards: self.shards,
            chains: Arc::new(Notes(opened.database.clone())),
        });
        relay.subscription()
    }
}

#[cfg(feature = "redis")]
fn redis(config: BusConfig) -> Result<Arc<dyn Broker>, Fault> {
    Ok(Arc::new(quivive_outbound::RedisStreams::new(config)?))
}

#[cfg(feature = "rabbitmq")]
#[expect(clippy::unnecessary_wraps, reason = "as the others")]
fn rabbitmq(config: BusConfig) -> Result<Arc<dyn Broker>, Fault> {
    Ok(Arc::new(quivive_outbound::RabbitMq::new(config)))
}

#[cfg(not(feature = "redis"))]
fn redis(_: BusConfig) -> Result<Arc<dyn Broker>, Fault> {
    Err(Fault::Internal("built without Redis".to_owned()))
}

#[cfg(not(feature = "rabbitmq"))]
fn rabbitmq(_: BusConfig) -> Result<Arc<dyn Broker>, Fault> {
    Err(Fault::Internal("built without RabbitMQ".to_owned()))
}
