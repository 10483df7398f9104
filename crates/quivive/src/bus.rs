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
        let kind = BusKind::of(&config.url).map_err(Fault::internal)?;
        let broker: Arc<dyn Broker> = match kind {
            #[cfg(feature = "redis")]
            BusKind::Redis => Arc::new(quivive_outbound::RedisStreams::new(config)?),
            #[cfg(feature = "rabbitmq")]
            BusKind::RabbitMq => Arc::new(quivive_outbound::RabbitMq::new(config)),
            #[cfg(not(all(feature = "redis", feature = "rabbitmq")))]
            _ => {
                let why = "this program was built without that broker";
                return Err(Fault::Internal(why.to_owned()));
            }
        };
        Ok(Self { broker, shards })
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
