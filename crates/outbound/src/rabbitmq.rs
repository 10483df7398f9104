//! Events out to RabbitMQ: for each service one quorum queue for each shard.
//!
//! **Names.** `<prefix>` is a direct exchange, `<shards>.<shard>` the routing key of a message, and
//! `<prefix>.<service>.<shards>.<shard>` a queue. They are declared here, at each connection, so that what was deleted is there
//! again; consumers declare nothing.
//!
//! **Guarantees.** Messages are persistent and mandatory, and a batch is done when the broker has confirmed each. One that comes
//! back because there is no queue is published again, to queues that are declared anew. A queue has one active consumer, so
//! its messages stay in order. A queue that is full refuses, and everything waits, or lets its oldest go, and consumers read
//! the log.

use futures_util::future::try_join_all;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use quivive_delivery::relay::{Broker, Known, Publication};
use quivive_delivery::{BoxFuture, Fault};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;
use tokio::time::timeout;

use std::time::Duration;

use crate::bus::{BusConfig, unconnected};

/// With all that is declared.
const CONNECT_WITHIN: Duration = Duration::from_secs(6);
/// A batch, from its first message to its last confirm. A broker that blocks publishers, for want of disk or memory, says
/// nothing.
const CONFIRM_WITHIN: Duration = Duration::from_secs(6);
const PERSISTENT: u8 = 2;

/// Both are closed when they are dropped.
struct Session {
    _connection: Connection,
    channel: Channel,
}

/// The adapter.
pub struct RabbitMq {
    config: BusConfig,
    /// `None`: to be made by the next batch.
    session: Mutex<Option<Session>>,
}

impl RabbitMq {
    /// Connects when there is something to publish.
    pub fn new(config: BusConfig) -> Self {
        Self {
            config,
            session: Mutex::default(),
        }
    }

    fn key(&self, shard: u32) -> String {
        format!("{}.{shard}", self.config.shards)
    }

    async fn connect(&self) -> Result<Session, Fault> {
        let url = self.config.url.expose_secret();
        let connection = quivive_tls::rabbitmq::connect(url, &self.config.tls)
            .await
            .map_err(|error| Fault::Unreachable(format!("RabbitMQ: {}", unconnected(&error))))?;
        let channel = connection.create_channel().await.map_err(away)?;
        self.declare(&channel).await.map_err(refused)?;
        Ok(Session {
            _connection: connection,
            channel,
        })
    }

    async fn declare(&self, channel: &Channel) -> Result<(), lapin::Error> {
        let BusConfig {
            prefix, services, ..
        } = &self.config;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..ExchangeDeclareOptions::default()
        };
        let none = FieldTable::default;
        channel
            .exchange_declare(
                prefix.as_str().into(),
                lapin::ExchangeKind::Direct,
                durable,
                none(),
            )
            .await?;
        for service in services {
            for shard in 0..self.config.shards {
                let key = self.key(shard);
                let queue = format!("{prefix}.{service}.{key}");
                channel
                    .queue_declare(
                        queue.as_str().into(),
                        QueueDeclareOptions {
                            durable: true,
                            ..QueueDeclareOptions::default()
                        },
                        self.arguments(),
                    )
                    .await?;
                channel
                    .queue_bind(
                        queue.as_str().into(),
                        prefix.as_str().into(),
                        key.as_str().into(),
                        QueueBindOptions::default(),
                        none(),
                    )
                    .await?;
            }
        }
        Ok(())
    }

    fn arguments(&self) -> FieldTable {
        let overflow = if self.config.drops_unread {
            "drop-head"
        } else {
            "reject-publish"
        };
        let most = i64::try_from(self.config.max_unread).unwrap_or(i64::MAX);
        let mut arguments = FieldTable::default();
        for (name, value) in [
            ("x-queue-type", AMQPValue::LongString("quorum".into())),
            ("x-single-active-consumer", AMQPValue::Boolean(true)),
            ("x-max-length", AMQPValue::LongLongInt(most)),
            ("x-overflow", AMQPValue::LongString(overflow.into())),
        ] {
            arguments.insert(name.into(), value);
        }
        arguments
    }

    async fn send(&self, channel: &Channel, messages: &[Publication]) -> Result<(), Fault> {
        let mandatory = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let mut confirms = Vec::with_capacity(messages.len());
        for message in messages {
            let id = format!("{}-{}", message.place.epoch, message.place.position);
            let properties = BasicProperties::default()
                .with_delivery_mode(PERSISTENT)
                .with_content_type("application/cloudevents+json".into())
                .with_message_id(id.as_str().into());
            let sent = channel.basic_publish(
                self.config.prefix.as_str().into(),
                self.key(message.shard).as_str().into(),
                mandatory,
                &message.json,
                properties,
            );
            confirms.push(sent.await.map_err(away)?);
        }
        for confirmed in try_join_all(confirms).await.map_err(away)? {
            match confirmed {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(_)) => {
                    return Err(Fault::Internal(
                        "RabbitMQ has no queue for a message".to_owned(),
                    ));
                }
                Confirmation::Nack(_) | Confirmation::NotRequested => {
                    tracing::error!(
                        most = self.config.max_unread,
                        "RabbitMQ takes no more: a queue is full of what was not read; start its consumer, or delete the queues \
                         of a service that is gone and take it out of bus.services"
                    );
                    return Err(Fault::Internal("RabbitMQ refused a message".to_owned()));
                }
            }
        }
        Ok(())
    }
}

impl Broker for RabbitMq {
    fn publish<'a>(
        &'a self,
        _: Known,
        messages: &'a [Publication],
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let mut kept = self.session.lock().await;
            // Taken: what a call that fails leaves behind is not used again.
            let session = match kept.take() {
                Some(session) => session,
                None => within(CONNECT_WITHIN, self.connect()).await?,
            };
            within(CONFIRM_WITHIN, self.send(&session.channel, messages)).await?;
            *kept = Some(session);
            Ok(())
        })
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let silent = |_| Fault::Unreachable("RabbitMQ does not answer".to_owned());
    timeout(limit, call).await.map_err(silent)?
}

/// Errors name no password.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn away(error: lapin::Error) -> Fault {
    Fault::Unreachable(format!("RabbitMQ: {error}"))
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn refused(error: lapin::Error) -> Fault {
    tracing::error!(
        %error,
        "RabbitMQ refuses the queues: those that were declared otherwise must go, or take another bus.prefix"
    );
    Fault::Internal(format!("RabbitMQ refused the queues: {error}"))
}
