//! The adapters of brokers, each against a server of the tests' own.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::time::Duration;

use quivive_delivery::Fault;
use quivive_delivery::relay::{Broker, Known, Place, Publication};
use quivive_outbound::{BusConfig, RabbitMq, RedisStreams, Tls};
use quivive_testkit::brokers::{self, Server as _};

fn place(position: u64) -> Place {
    let epoch = 1;
    Place { epoch, position }
}

/// Nothing is published before, and the log goes far.
fn known(confirmed: u64) -> Known {
    Known {
        confirmed: place(confirmed),
        head: place(1_000_000),
    }
}

fn config(url: String, drops_unread: bool) -> BusConfig {
    BusConfig {
        url: url.into(),
        tls: Tls::default(),
        prefix: "events".to_owned(),
        shards: 2,
        max_unread: 1_000,
        drops_unread,
        services: vec!["shop".to_owned()],
    }
}

/// Messages at these positions, all of one stream.
fn messages(positions: std::ops::RangeInclusive<u64>) -> Vec<Publication> {
    let message = |position| Publication {
        shard: 1,
        place: place(position),
        json: format!("{{\"pos\":\"{position}\"}}").into_bytes(),
    };
    positions.map(message).collect()
}

async fn started<T: Send + 'static>(start: fn() -> Option<T>) -> Option<T> {
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// Publishes batches of 200 until one is refused, or to the end; where it got.
async fn publish(broker: &dyn Broker, from: u64, to: u64) -> (u64, Result<(), Fault>) {
    let mut done = from - 1;
    while done < to {
        let batch = messages(done + 1..=(done + 200).min(to));
        let published = broker.publish(known(done), &batch).await;
        if published.is_err() {
            return (done, published);
        }
        done = batch.last().unwrap().place.position;
        // What was read is looked for once a second.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    (done, Ok(()))
}

const STREAM: &str = "events:2:1";

fn length(redis: &brokers::Redis) -> u64 {
    redis.ask(&["XLEN", STREAM]).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_has_each_message_once_and_loses_none_that_a_group_has_not_read() {
    let Some(redis) = started(brokers::Redis::start).await else {
        return;
    };
    redis.ask(&["XGROUP", "CREATE", STREAM, "slow", "0", "MKSTREAM"]);
    let streams = RedisStreams::new(config(redis.url(), false)).unwrap();
    streams.publish(known(0), &messages(1..=200)).await.unwrap();
    streams.publish(known(0), &messages(1..=200)).await.unwrap();
    assert_eq!(length(&redis), 200, "published twice, there once");
    assert_eq!(redis.ask(&["GET", "events:head"]), "1-200");
    let (done, refused) = publish(&streams, 201, 4_000).await;
    assert!(
        refused.is_err() && (1_000..=1_400).contains(&done),
        "{done}"
    );
    assert_eq!(length(&redis), done, "nothing that was not read is gone");
    let (again, refused) = publish(&streams, done + 1, 4_000).await;
    assert!(
        refused.is_err() && again == done,
        "on a new connection, too"
    );
    // Two groups: what one has not read stays, what was given and not acknowledged stays.
    redis.ask(&["XGROUP", "CREATE", STREAM, "quick", "$"]);
    let read = |group: &str, count: &str| {
        redis.ask(&[
            "XREADGROUP",
            "GROUP",
            group,
            "c",
            "COUNT",
            count,
            "STREAMS",
            STREAM,
            ">",
        ])
    };
    read("slow", "900");
    let (_, refused) = publish(&streams, done + 1, done + 1).await;
    assert!(refused.is_err(), "given, and not acknowledged");
    for position in 1..=900 {
        redis.ask(&["XACK", STREAM, "slow", &format!("1-{position}")]);
    }
    let (last, went_on) = publish(&streams, done + 1, done + 1).await;
    went_on.unwrap();
    let left = length(&redis);
    assert!(left >= last - 900 && left < last - 700, "{left} of {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_goes_on_where_consumers_read_the_log_and_where_it_has_forgotten() {
    let Some(redis) = started(brokers::Redis::start).await else {
        return;
    };
    redis.ask(&["XGROUP", "CREATE", STREAM, "gone", "0", "MKSTREAM"]);
    let streams = RedisStreams::new(config(redis.url(), true)).unwrap();
    let (done, went_on) = publish(&streams, 1, 2_000).await;
    went_on.unwrap();
    assert_eq!(done, 2_000);
    assert!(length(&redis) <= 1_400, "{}", length(&redis));
    redis.ask(&["FLUSHALL"]);
    streams
        .publish(known(2_000), &messages(2_001..=2_002))
        .await
        .unwrap();
    assert_eq!(length(&redis), 2);
    // The streams of another log: positions would never fit.
    redis.ask(&["SET", "events:head", "7-5"]);
    let refused = streams
        .publish(known(2_002), &messages(2_003..=2_003))
        .await;
    assert!(refused.is_err());
    streams
        .publish(known(2_002), &messages(2_003..=2_003))
        .await
        .unwrap();
    assert_eq!(
        (length(&redis), &*redis.ask(&["GET", "events:head"])),
        (1, "1-2003")
    );
    // What Redis says of the head is heard: a key of another kind is no loss.
    redis.ask(&["DEL", "events:head"]);
    redis.ask(&["RPUSH", "events:head", "theirs"]);
    let refused = streams
        .publish(known(2_003), &messages(2_004..=2_004))
        .await;
    assert!(refused.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_refuses_beyond_the_bound_and_declares_what_was_deleted() {
    let Some(rabbit) = started(brokers::RabbitMq::start).await else {
        return;
    };
    let queues = RabbitMq::new(config(rabbit.url(), false));
    // It counts every few seconds.
    let counts = async |wanted: &str| {
        for _ in 0..40 {
            let listed = rabbit.ctl(&["list_queues", "name", "messages", "--no-table-headers"]);
            if listed.contains(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("never {wanted}");
    };
    queues.publish(known(0), &messages(1..=500)).await.unwrap();
    counts("events.shop.2.1\t500").await;
    let mut published = 500;
    while published < 3_000 {
        let batch = messages(published + 1..=published + 500);
        if queues.publish(known(published), &batch).await.is_err() {
            break;
        }
        published += 500;
    }
    // A quorum queue refuses a little late, never early.
    assert!((1_000..3_000).contains(&published), "{published}");
    rabbit.ctl(&["delete_queue", "events.shop.2.1"]);
    let batch = messages(published + 1..=published + 1);
    let mut tries = 0;
    while queues.publish(known(published), &batch).await.is_err() {
        tries += 1;
        assert!(tries < 5, "never declared again");
    }
    counts("events.shop.2.1\t1").await;
}
