//! What message brokers are told apart by, and what is the same for all.

use quivive_tls::Tls;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// A broker that gets every event.
#[derive(Debug, Clone)]
pub struct BusConfig {
    /// `redis://user:password@host:port/database`, or `amqp://user:password@host:port/vhost`; in TLS `rediss://` and `amqps://`.
    pub url: SecretString,
    /// What is trusted there.
    pub tls: Tls,
    /// What names of streams and queues begin with.
    pub prefix: String,
    /// Ordered streams. Another number is other streams.
    pub shards: u32,
    /// Messages of one stream that nobody has read, at most.
    pub max_unread: u64,
    /// Beyond that the oldest unread messages go, loudly, for consumers read the log. Otherwise nothing more is published
    /// before some are read.
    pub drops_unread: bool,
    /// Who has queues of its own; of RabbitMQ.
    pub services: Vec<String>,
}

/// Why a URL will not do.
#[derive(Debug, thiserror::Error)]
pub enum BadBusUrl {
    #[error("it is not a URL")]
    NoUrl,
    #[error(
        "it begins with none of redis:// and amqp://, nor rediss:// and amqps://, which are TLS"
    )]
    Scheme,
    #[error("it names no host")]
    NoHost,
}

/// Which broker a URL is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BusKind {
    Redis,
    RabbitMq,
}

/// Whether a URL asks for TLS.
pub fn is_encrypted(url: &SecretString) -> bool {
    let url = Url::parse(url.expose_secret());
    url.is_ok_and(|url| matches!(url.scheme(), "rediss" | "amqps"))
}

/// Why there is no connection, with what to do about it.
#[cfg(any(feature = "redis", feature = "rabbitmq"))]
pub(crate) fn unconnected<E: std::error::Error>(error: &quivive_tls::Unconnected<E>) -> String {
    error.told("bus.url", "bus.ca_file")
}

impl BusKind {
    pub fn of(url: &SecretString) -> Result<Self, BadBusUrl> {
        let url = Url::parse(url.expose_secret()).map_err(|_| BadBusUrl::NoUrl)?;
        let kind = match url.scheme() {
            "redis" | "rediss" => Self::Redis,
            "amqp" | "amqps" => Self::RabbitMq,
            _ => return Err(BadBusUrl::Scheme),
        };
        if url.host_str().is_none_or(str::is_empty) {
            return Err(BadBusUrl::NoHost);
        }
        Ok(kind)
    }
}
