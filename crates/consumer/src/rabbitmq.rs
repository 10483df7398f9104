//! Events from RabbitMQ: one queue for each shard, with a single active consumer.

use std::fmt;
use std::time::Duration;

use futures_util::stream::{SelectAll, StreamExt as _};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};
use quivive_tls::Tls;
use secrecy::{ExposeSecret as _, SecretString};

use crate::broker::{Away, Broker, Link, Message};
use crate::cursor::Cursor;
use crate::{BadCertificates, BoxFuture};

/// Messages of one queue that are on their way at once.
const PREFETCH: u16 = 100;
/// Messages that are handed over at once.
const AT_ONCE: usize = 500;

/// The queues of one service.
#[derive(Clone)]
pub struct Queues {
    url: SecretString,
    tls: Tls,
    prefix: String,
    shards: u32,
    service: String,
}

impl fmt::Debug for Queues {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queues")
            .field("prefix", &self.prefix)
            .field("shards", &self.shards)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl Queues {
    /// `url` is as `amqp://user:password@host:5672/vhost`, in TLS `amqps://`; `service` one of the server's `bus.services`, which declares the
    /// queues. Prefix and shards are the server's defaults, `bus.prefix` and `bus.shards`.
    pub fn new(url: impl Into<SecretString>, service: &str) -> Self {
        Self {
            url: url.into(),
            tls: Tls::default(),
            prefix: "quivive".to_owned(),
            shards: 8,
            service: service.to_owned(),
        }
    }

    /// Trusts certificates in PEM besides the public ones, where the URL says `amqps://`.
    pub fn trusting(self, pem: &[u8]) -> Result<Self, BadCertificates> {
        let tls = Tls::new(Some(pem))?;
        Ok(Self { tls, ..self })
    }

    #[must_use]
    pub fn prefix(self, prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self { prefix, ..self }
    }

    #[must_use]
    pub fn shards(self, shards: u32) -> Self {
        Self { shards, ..self }
    }
}

impl Broker for Queues {
    fn connect<'a>(&'a self, _: &'a Cursor) -> BoxFuture<'a, Result<Box<dyn Link>, Away>> {
        Box::pin(async move {
            let url = self.url.expose_secret();
            let connection = quivive_tls::rabbitmq::connect(url, &self.tls).await;
            let connection = connection.map_err(|error| Away::unconnected(&error))?;
            let channel = connection.create_channel().await.map_err(Away::of)?;
            channel
                .basic_qos(PREFETCH, BasicQosOptions::default())
                .await
                .map_err(Away::of)?;
            let mut consumers = SelectAll::new();
            let Self {
                prefix,
                shards,
                service,
                ..
            } = self;
            for shard in 0..*shards {
                let queue = format!("{prefix}.{service}.{shards}.{shard}");
                let consumer = channel.basic_consume(
                    queue.as_str().into(),
                    "".into(),
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                );
                consumers.push(consumer.await.map_err(Away::of)?);
            }
            Ok(Box::new(Reader {
                _connection: connection,
                channel,
                consumers,
                received: Vec::new(),
            }) as Box<dyn Link>)
        })
    }
}

/// A connection.
struct Reader {
    _connection: Connection,
    channel: Channel,
    consumers: SelectAll<lapin::Consumer>,
    /// What is to be acknowledged.
    received: Vec<u64>,
}

impl Link for Reader {
    fn receive(&mut self, wait: Duration) -> BoxFuture<'_, Result<Vec<Message>, Away>> {
        Box::pin(async move {
            let mut messages = Vec::new();
            let Ok(first) = tokio::time::timeout(wait, self.consumers.next()).await else {
                return Ok(messages);
            };
            let mut next = Some(first);
            // No wait from here on: a call that is dropped loses nothing that it took.
            while let Some(delivery) = next {
                let delivery = delivery.ok_or_else(|| Away::of("it ended"))?;
                let delivery = delivery.map_err(Away::of)?;
                self.received.push(delivery.delivery_tag);
                match serde_json::from_slice(&delivery.data) {
                    Ok(json) => messages.push(Message { json }),
                    Err(error) => tracing::warn!(%error, "a message of the queue is no event"),
                }
                if messages.len() >= AT_ONCE {
                    break;
                }
                next = futures_util::FutureExt::now_or_never(self.consumers.next());
            }
            Ok(messages)
        })
    }

    fn acknowledge(&mut self) -> BoxFuture<'_, Result<(), Away>> {
        Box::pin(async move {
            for tag in std::mem::take(&mut self.received) {
                let acknowledged = self.channel.basic_ack(tag, BasicAckOptions::default());
                acknowledged.await.map_err(Away::of)?;
            }
            Ok(())
        })
    }
}
