//! Follows the events of a Quivive server from another program: from the message broker while that is well, from the server's
//! log when it is not, and nobody notices the difference.
//!
//! **Cast.** A [`Consumer`] hands out one event after another. The [`Cursor`] says what was handled; a [`CursorStore`] of yours keeps it.
//! The [`Feed`] is the log over HTTP, the truth; a [`Broker`] is where events come faster.
//!
//! ```no_run
//! # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
//! use quivive_consumer::{Consumer, Feed, FileStore};
//!
//! let feed = Feed::new("https://id.example.org", "qk_…")?;
//! let mut consumer = Consumer::open(feed, FileStore::new("events.cursor")).await?;
//! # #[cfg(feature = "redis")]
//! consumer.broker(quivive_consumer::redis::Streams::new("redis://127.0.0.1:6379", "shop")?);
//! loop {
//!     let event = consumer.next().await?;
//!     println!("{} {}", event.position, event.kind());
//!     consumer.handled().await?;
//! }
//! # }
//! ```
//!
//! **The rule.** A message says its position and the position before it in its stream. It is taken if the one before it was
//! handled and itself was not; if it was handled it is dropped; else something is missing, and the log is read from the
//! cursor on. The log is also read when the broker is away, or silent while the log moves. As the log has no gaps, the first
//! message that fits again is where the broker takes over: nothing has to be agreed on.
//!
//! **Guarantees.** Every event comes, and the events of a key come in order. One that was handled comes again only when the
//! program ended before the cursor was kept, a second at most. When the broker falls silent the log is read within two
//! seconds. Memory is bounded whatever happens.
//!
//! **Not guaranteed.** Order between keys. That two consumers with one cursor share the work: run one, or hold a lock.

mod broker;
mod consumer;
mod cursor;
mod event;
mod feed;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
mod store;
#[cfg(test)]
mod tests;

pub use broker::{Away, Broker, Link, Message};
pub use consumer::{Consumer, Counts, Error, Source};
pub use cursor::{Cursor, Verdict};
pub use event::{Event, Unreadable};
pub use feed::{BadFeed, Feed, FeedError};
pub use store::{CursorStore, FileStore, MemoryStore, StoreError};

pub use quivive_tls::BadCertificates;

/// A boxed future that may cross threads.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
