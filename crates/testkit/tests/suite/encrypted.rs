//! Back ends over TLS: PostgreSQL, Redis and RabbitMQ, whose certificate must be the right one's and for the right name.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use quivive_consumer::{Away, Cursor, rabbitmq, redis};
use quivive_delivery::Fault;
use quivive_delivery::relay::{Broker, Known, Place, Publication};
use quivive_outbound::{BusConfig, RabbitMq, RedisStreams, SystemClock, Tls};
use quivive_store::POSTGRES_MIGRATIONS;
use quivive_store_postgres::{OpenError, Postgres, PostgresOptions};
use quivive_testkit::brokers::{self, Server as _};
use quivive_testkit::certificates::Authority;
use quivive_testkit::postgres::Cluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

async fn open(url: &str, trusted_pem: Option<&[u8]>) -> Result<Postgres, OpenError> {
    let options = PostgresOptions::new(url, trusted_pem, Arc::new(SystemClock))?;
    Postgres::open(options, POSTGRES_MIGRATIONS).await
}

/// What was said, and what is to be done.
async fn refused(url: &str, trusted_pem: Option<&[u8]>) -> (String, String) {
    match open(url, trusted_pem).await {
        Err(error @ OpenError::Tls { .. }) => {
            let said = error.to_string();
            assert!(!said.contains("geheim"), "{said}");
            let OpenError::Tls { remedy, .. } = error else {
                unreachable!()
            };
            (said, remedy)
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

/// One that says of every connection that it has no TLS.
async fn without_tls() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    quivive_delivery::tasks::Tasks::new().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 8];
            let _ = stream.read_exact(&mut asked).await;
            let _ = stream.write_all(b"N").await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_reached_in_tls_with_a_certificate_that_holds_or_not_at_all() {
    let Some(authority) = Authority::new() else {
        return;
    };
    let Some(cluster) = Cluster::encrypted(&authority.issue()) else {
        return;
    };
    let (ours, stranger) = (authority.pem(), Authority::new().unwrap().pem());
    let database = cluster.database();
    let url = cluster.network_url("localhost", &database.name);
    let store = open(&url, Some(&ours)).await.unwrap();
    let encrypted = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE application_name = 'quivive'";
    let counts = database.ask(encrypted);
    let (in_tls, all) = counts.split_once('|').unwrap();
    assert!(in_tls == all && all != "0", "{counts}");
    store.close().await;

    let (said, remedy) = refused(&url, None).await;
    assert!(said.contains("signed by nobody who is trusted"), "{said}");
    assert!(remedy.contains("database.ca_file"), "{remedy}");
    refused(&url, Some(&stranger)).await;
    let by_address = cluster.network_url("127.0.0.1", &database.name);
    let (said, remedy) = refused(&by_address, Some(&ours)).await;
    assert!(
        said.contains("not for 127.0.0.1") && said.contains("localhost"),
        "{said}"
    );
    assert!(remedy.contains("database.url"), "{remedy}");
    let port = without_tls().await;
    let plain = format!("postgres://u:geheim@localhost:{port}/d?sslmode=require");
    let (said, remedy) = refused(&plain, None).await;
    assert!(said.contains("it has none"), "{said}");
    assert!(remedy.contains("ssl = on"), "{remedy}");
    // Nor does this server take anybody in clear.
    let in_clear = url.replace("sslmode=require&channel_binding=require", "sslmode=disable");
    let error = open(&in_clear, None).await.err().unwrap();
    assert!(matches!(error, OpenError::Refused { .. }), "{error}");
}

fn bus(url: &str, trusted_pem: Option<&[u8]>) -> BusConfig {
    BusConfig {
        url: url.into(),
        tls: Tls::new(trusted_pem).unwrap(),
        prefix: "quivive".to_owned(),
        shards: 1,
        max_unread: 1_000,
        drops_unread: false,
        services: vec!["shop".to_owned()],
    }
}

fn redis_streams(url: &str, trusted_pem: Option<&[u8]>) -> Box<dyn Broker> {
    Box::new(RedisStreams::new(bus(url, trusted_pem)).unwrap())
}

fn rabbit_mq(url: &str, trusted_pem: Option<&[u8]>) -> Box<dyn Broker> {
    Box::new(RabbitMq::new(bus(url, trusted_pem)))
}

/// More than a socket takes at once.
const MESSAGES: u64 = 40;
const BYTES: usize = 100_000;

async fn publish(broker: Box<dyn Broker>) -> Result<(), Fault> {
    let place = |position| Place { epoch: 1, position };
    let known = Known {
        confirmed: place(0),
        head: place(MESSAGES),
    };
    let message = |position| Publication {
        shard: 0,
        place: place(position),
        json: format!(r#"{{"pos":"{position}","long":"{}"}}"#, "x".repeat(BYTES)).into_bytes(),
    };
    let messages: Vec<_> = (1..=MESSAGES).map(message).collect();
    broker.publish(known, &messages).await
}

/// Published by the right way, and by no other.
async fn only_where_the_certificate_holds(
    make: fn(&str, Option<&[u8]>) -> Box<dyn Broker>,
    url: &str,
    authority: &Authority,
) {
    let (ours, stranger) = (authority.pem(), Authority::new().unwrap().pem());
    publish(make(url, Some(&ours))).await.unwrap();
    let by_address = url.replace("localhost", "127.0.0.1");
    for (url, trusted, told) in [
        (url, None, "bus.ca_file"),
        (url, Some(&*stranger), "signed by nobody who is trusted"),
        (&*by_address, Some(&*ours), "not for 127.0.0.1"),
    ] {
        let said = publish(make(url, trusted)).await.unwrap_err().to_string();
        assert!(said.contains(told) && !said.contains("guest"), "{said}");
    }
}

/// Where the server speaks no TLS.
async fn told_to_switch_tls_on(broker: Box<dyn Broker>) {
    let said = publish(broker).await.unwrap_err().to_string();
    assert!(said.contains("switch TLS on there"), "{said}");
}

/// How many messages a consumer receives, or why it does not.
async fn received(broker: impl quivive_consumer::Broker) -> Result<u64, Away> {
    let cursor = Cursor::default();
    let mut link = broker.connect(&cursor).await?;
    let mut all = 0;
    while all < MESSAGES {
        let messages = link.receive(Duration::from_secs(5)).await?.len() as u64;
        link.acknowledge().await?;
        if messages == 0 {
            break;
        }
        all += messages;
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_reached_in_tls_with_a_certificate_that_holds_or_not_at_all() {
    let Some(authority) = Authority::new() else {
        return;
    };
    let certificate = authority.issue();
    let started = tokio::task::spawn_blocking(move || brokers::Redis::encrypted(&certificate));
    let Some(server) = started.await.unwrap() else {
        return;
    };
    only_where_the_certificate_holds(redis_streams, &server.url(), &authority).await;
    let streams = || {
        redis::Streams::new(&server.url(), "shop")
            .unwrap()
            .shards(1)
    };
    let trusting = streams().trusting(&authority.pem()).unwrap();
    assert_eq!(received(trusting).await.unwrap(), MESSAGES);
    let away = received(streams()).await.unwrap_err().to_string();
    assert!(away.contains("signed by nobody who is trusted"), "{away}");
    let plain = tokio::task::spawn_blocking(brokers::Redis::start);
    let plain = plain.await.unwrap().unwrap();
    let url = format!("rediss://localhost:{}", plain.address().port());
    told_to_switch_tls_on(redis_streams(&url, None)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_is_reached_in_tls_with_a_certificate_that_holds_or_not_at_all() {
    let Some(authority) = Authority::new() else {
        return;
    };
    let certificate = authority.issue();
    let started = tokio::task::spawn_blocking(move || brokers::RabbitMq::encrypted(&certificate));
    let Some(server) = started.await.unwrap() else {
        return;
    };
    only_where_the_certificate_holds(rabbit_mq, &server.url(), &authority).await;
    let queues = || rabbitmq::Queues::new(server.url(), "shop").shards(1);
    let trusting = queues().trusting(&authority.pem()).unwrap();
    assert_eq!(received(trusting).await.unwrap(), MESSAGES);
    let away = received(queues()).await.unwrap_err().to_string();
    assert!(away.contains("signed by nobody who is trusted"), "{away}");
    let plain = tokio::task::spawn_blocking(brokers::RabbitMq::start);
    let plain = plain.await.unwrap().unwrap();
    let url = format!("amqps://localhost:{}", plain.address().port());
    told_to_switch_tls_on(rabbit_mq(&url, None)).await;
}
