//! A message broker, as a consumer sees it.

use std::time::Duration;

use serde_json::Value;

use crate::BoxFuture;
use crate::cursor::Cursor;

/// The broker is away, or does not do what is asked. The log is read meanwhile.
#[derive(Debug, thiserror::Error)]
#[error("the broker is away: {0}")]
pub struct Away(pub String);

impl Away {
    pub(crate) fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }

    #[cfg(any(feature = "redis", feature = "rabbitmq"))]
    pub(crate) fn unconnected<E: std::error::Error>(error: &quivive_tls::Unconnected<E>) -> Self {
        Self(error.told("its URL", "`trusting`"))
    }
}

/// A message that came.
#[derive(Debug, Clone)]
pub struct Message {
    pub json: Value,
}

/// How to connect to a broker.
pub trait Broker: Send + Sync {
    /// Connects, ready to receive what comes after the cursor, or some of what comes before it too.
    fn connect<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Box<dyn Link>, Away>>;
}

/// A connection to a broker.
pub trait Link: Send {
    /// The next messages, those of a stream in order; none when nothing has come for so long. A bounded number.
    fn receive(&mut self, wait: Duration) -> BoxFuture<'_, Result<Vec<Message>, Away>>;

    /// Everything that was received so far need not come again.
    fn acknowledge(&mut self) -> BoxFuture<'_, Result<(), Away>>;
}
