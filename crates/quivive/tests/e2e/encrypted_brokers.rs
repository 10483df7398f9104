//! Events to a broker by the server's relay, and from there to a consumer, in TLS: both are told of the authority.

use std::time::{Duration, Instant};

use quivive::consumer::{self, Consumer, Feed, MemoryStore};
use quivive_testkit::brokers::{RabbitMq, Redis, Server as _};
use quivive_testkit::certificates::Authority;
use quivive_testkit::experiments::brokers::reader;
use quivive_testkit::{Options, Server};
use tokio::time::timeout;

use crate::support::BINARY;

const PATIENCE: Duration = Duration::from_secs(30);

/// Registers people until one's event comes by the broker, and not by the log.
async fn goes_all_the_way(
    name: &str,
    url: &str,
    authority: &Authority,
    broker: impl consumer::Broker + 'static,
) {
    let file = authority.file().display().to_string();
    let options = Options::unlimited()
        .env("QUIVIVE__BUS__KIND", name)
        .env("QUIVIVE__BUS__URL", url)
        .env("QUIVIVE__BUS__CA_FILE", &file)
        .env("QUIVIVE__BUS__SERVICES", "shop");
    let server = Server::start(BINARY, options).await;
    let admin = server.administrator().await;
    let key = reader(&server, &admin).await;
    let feed = Feed::new(&format!("http://{}", server.address), key).unwrap();
    let mut consumer = Consumer::open(feed, MemoryStore::default()).await.unwrap();
    consumer.broker(broker);
    let began = Instant::now();
    for number in 0.. {
        server.register(&format!("a{number}@example.org")).await;
        let second = Duration::from_secs(1);
        while let Ok(event) = timeout(second, consumer.next()).await {
            event.unwrap();
            consumer.handled().await.unwrap();
        }
        if consumer.counts().from_broker > 0 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{}", server.output());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_all_the_way_in_tls_by_redis() {
    let Some(authority) = Authority::new() else {
        return;
    };
    let Some(redis) = Redis::encrypted(&authority.issue()) else {
        return;
    };
    let url = redis.url();
    let streams = consumer::redis::Streams::new(&url, "shop").unwrap();
    let streams = streams.trusting(&authority.pem()).unwrap();
    goes_all_the_way("redis", &url, &authority, streams).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_goes_all_the_way_in_tls_by_rabbitmq() {
    let Some(authority) = Authority::new() else {
        return;
    };
    let Some(rabbit) = RabbitMq::encrypted(&authority.issue()) else {
        return;
    };
    let url = rabbit.url();
    let queues = consumer::rabbitmq::Queues::new(&*url, "shop");
    let queues = queues.trusting(&authority.pem()).unwrap();
    goes_all_the_way("rabbitmq", &url, &authority, queues).await;
}
