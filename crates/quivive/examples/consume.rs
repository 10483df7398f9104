//! A service that follows the events of a Quivive server by its broker and, when that has not what comes next, by its log:
//!
//! ```text
//! cargo run -p quivive --features consumer,redis,rabbitmq --example consume -- \
//!     https://id.example.org qk_… redis://127.0.0.1:6379 shop.cursor
//! ```
//!
//! It prints the position, key and type of each event once. Another program has its work where this one prints. With RabbitMQ
//! the server's `bus.services` has this service's name.

use std::error::Error;

use quivive::consumer::{Consumer, Event, Feed, FileStore, rabbitmq, redis};

/// The group, or the service, that has read so far.
const NAME: &str = "shop-rs";

/// Where to follow what.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) server: String,
    pub(crate) key: String,
    pub(crate) broker: String,
    pub(crate) cursor: String,
}

/// Follows the events until the server lets it no more: the cursor has expired, or the key is good for nothing. All else is
/// waited for.
pub(crate) async fn follow(
    way: Way,
    handle: impl Fn(&Event),
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let feed = Feed::new(&way.server, way.key)?;
    let mut consumer = Consumer::open(feed, FileStore::new(way.cursor)).await?;
    if way.broker.starts_with("redis") {
        consumer.broker(redis::Streams::new(&way.broker, NAME)?);
    } else {
        consumer.broker(rabbitmq::Queues::new(way.broker, NAME));
    }
    loop {
        let event = consumer.next().await?;
        handle(&event);
        consumer.handled().await?;
    }
}

#[expect(clippy::print_stdout, reason = "it is what this example does")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args: [String; 4] = std::env::args()
        .skip(1)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "usage: consume SERVER KEY BROKER CURSOR-FILE")?;
    let [server, key, broker, cursor] = args;
    let way = Way {
        server,
        key,
        broker,
        cursor,
    };
    follow(way, |event| {
        println!("{} {} {}", event.position, event.key(), event.kind());
    })
    .await
}
