//! The relay against nothing but the broker's own client: the same messages, published in the same batches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quivive_delivery::cloudevents::Origin;
use quivive_delivery::relay::{Broker, Chains, Known, Parts, Place, Publication, Relay};
use quivive_delivery::subscriber::Begin;
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{BoxFuture, Fault, Log as _, Write};
use quivive_outbound::{BusConfig, RabbitMq, RedisStreams, Tls};
use quivive_store::Database;
use quivive_testkit::brokers::{self, Server};
use secrecy::SecretString;

use crate::Measure;
use crate::delivery::{EVENTS, append, parts};
use crate::store::Bed;

const SHARDS: u32 = 8;

/// Messages in one batch of the bare client, as in one of the relay.
const BATCH: usize = 1_000;

/// Bytes of a message at the most, roughly.
const MESSAGE_BYTES: usize = 1_500;

/// A broker that counts what it confirmed, and keeps it in memory that is there before.
struct Counted {
    inner: Box<dyn Broker>,
    confirmed: AtomicU64,
    kept: Mutex<Kept>,
}

/// Messages, one behind the other.
struct Kept {
    json: Vec<u8>,
    /// What each is for, and where it ends.
    ends: Vec<(u32, Place, usize)>,
}

impl Kept {
    fn for_so_many(count: usize) -> Self {
        // Written once, so that the system has given the memory.
        let mut json = vec![1; count * MESSAGE_BYTES];
        json.clear();
        Self {
            json,
            ends: Vec::with_capacity(count),
        }
    }

    fn keep(&mut self, messages: &[Publication]) {
        for message in messages {
            self.json.extend_from_slice(&message.json);
            let end = self.json.len();
            self.ends.push((message.shard, message.place, end));
        }
    }

    fn messages(&self) -> Vec<Publication> {
        let mut begin = 0;
        let ends = self.ends.iter();
        ends.map(|&(shard, place, end)| {
            let json = self.json[begin..end].to_vec();
            begin = end;
            Publication { shard, place, json }
        })
        .collect()
    }
}

impl Broker for Counted {
    fn publish<'a>(
        &'a self,
        known: Known,
        messages: &'a [Publication],
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            self.inner.publish(known, messages).await?;
            self.kept.lock().unwrap().keep(messages);
            let count = messages.len() as u64;
            self.confirmed.fetch_add(count, Ordering::Relaxed);
            Ok(())
        })
    }
}

/// As the server keeps the chain.
struct Notes(Database);

impl Chains for Notes {
    fn load(&self) -> BoxFuture<'_, Result<Option<String>, Fault>> {
        self.0.meta("relay")
    }

    fn keep(&self, chain: &str) -> Write {
        self.0.set_meta("relay", chain)
    }
}

fn config(url: String, prefix: &str) -> BusConfig {
    BusConfig {
        url: SecretString::from(url),
        tls: Tls::default(),
        prefix: prefix.to_owned(),
        shards: SHARDS,
        max_unread: 1_000_000_000,
        drops_unread: false,
        services: vec!["events".to_owned()],
    }
}

/// Events a second, relayed from the log, and what was published.
async fn relayed(bed: &Bed, inner: Box<dyn Broker>, count: u64) -> (f64, Vec<Publication>) {
    let counted = Arc::new(Counted {
        inner,
        confirmed: AtomicU64::new(0),
        kept: Mutex::new(Kept::for_so_many(usize::try_from(count).unwrap())),
    });
    let tasks = Tasks::new();
    let parts = parts(bed, &tasks);
    let relay = Relay::new(Parts {
        log: parts.log.clone(),
        catalogue: parts.catalogue.clone(),
        origin: Origin {
            source: "https://id.example.org".to_owned(),
            schemas: "https://id.example.org/api/v1/events/schemas".to_owned(),
        },
        broker: Arc::clone(&counted) as _,
        shards: SHARDS,
        chains: Arc::new(Notes(bed.database.clone())),
    });
    let subscription = relay.subscription().begin(Begin::Start);
    let began = Instant::now();
    let engine = quivive_delivery::engine::Engine::new(parts, vec![subscription]);
    engine.start().await.unwrap();
    while counted.confirmed.load(Ordering::Relaxed) < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    tasks.shut_down().await;
    let messages = counted.kept.lock().unwrap().messages();
    (rate, messages)
}

fn rate(count: usize, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

/// Against pipelined XADD.
pub(crate) async fn redis() -> Option<Measure> {
    let redis = brokers::Redis::start()?;
    let bed = Bed::make("redis-relay");
    append(&bed, EVENTS).await;
    let count = bed.database.head().borrow().position;
    let streams = RedisStreams::new(config(redis.url(), "relayed")).unwrap();
    let (value, messages) = relayed(&bed, Box::new(streams), count).await;
    let limit = bare_redis(&redis.url(), &messages).await;
    Some(Measure::rate("redis-relay", value, "events/s", limit))
}

async fn bare_redis(url: &str, messages: &[Publication]) -> f64 {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let began = Instant::now();
    for batch in messages.chunks(BATCH) {
        let mut pipeline = redis::pipe();
        for Publication { shard, json, .. } in batch {
            let mut add = redis::cmd("XADD");
            add.arg(format!("bare:{shard}"))
                .arg("*")
                .arg("event")
                .arg(json);
            pipeline.add_command(add).ignore();
        }
        let () = pipeline.query_async(&mut connection).await.unwrap();
    }
    rate(messages.len(), began)
}

/// Against the same adapter, to which a loop hands the same batches.
pub(crate) async fn rabbitmq() -> Option<Measure> {
    let rabbit = brokers::RabbitMq::start()?;
    let bed = Bed::make("rabbitmq-relay");
    append(&bed, EVENTS / 4).await;
    let count = bed.database.head().borrow().position;
    let queues = RabbitMq::new(config(rabbit.url(), "relayed"));
    let (value, messages) = relayed(&bed, Box::new(queues), count).await;
    let bare = RabbitMq::new(config(rabbit.url(), "bare"));
    let nowhere = Place {
        epoch: 1,
        position: 0,
    };
    let known = Known {
        confirmed: nowhere,
        head: nowhere,
    };
    bare.publish(known, &messages[..1]).await.unwrap();
    let began = Instant::now();
    for batch in messages.chunks(BATCH) {
        bare.publish(known, batch).await.unwrap();
    }
    let limit = rate(messages.len(), began);
    Some(Measure::rate("rabbitmq-relay", value, "events/s", limit))
}
