//! Events to a broker by the server's relay, and from there to a consumer, in TLS: both are told of the authority. And the log
//! of a server behind a certificate of such an authority.

use std::time::{Duration, Instant};

use quivive::consumer::{self, Consumer, Feed, MemoryStore};
use quivive_testkit::brokers::{RabbitMq, Redis, Server as _};
use quivive_testkit::certificates::Authority;
use quivive_testkit::client::Call;
use quivive_testkit::experiments::brokers::reader;
use quivive_testkit::front::Front;
use quivive_testkit::{Options, PASSWORD, Server};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::{BINARY, production};

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

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_in_tls_by_who_trusts_the_authority() {
    let Some(authority) = Authority::new() else {
        return;
    };
    let front = Front::bind().await;
    let host = format!("localhost:{}", front.port);
    let url = format!("https://{host}");
    let named = |options: Options| options.env("QUIVIVE__SERVER__PUBLIC_URL", &url);
    let server = production("log-in-tls", named).await;
    let args = ["admin", "create", "root@example.org", "--password-stdin"];
    assert_eq!(server.cli(&args, &format!("{PASSWORD}\n")).await.0, Some(0));
    let ask = async |path, body: Value, token| {
        let call = Call {
            method: "POST",
            path,
            body: Some(body.to_string().into_bytes()),
            token,
            headers: vec![("Host", host.clone())],
        };
        let reply = server.client().call(&call).await.unwrap();
        reply.json()
    };
    let proof = json!({"email": "root@example.org", "password": PASSWORD});
    let tokens = ask("/api/v1/sessions", proof, None).await;
    let wanted = json!({"name": "shop", "scopes": ["events.read"]});
    let admin = tokens["access_token"].as_str();
    let made = ask("/api/v1/admin/api-keys", wanted, admin).await;
    let key = made["key"].as_str().unwrap().to_owned();
    let _standing = front.stand(&authority.issue(), server.address);
    let open = async |feed| {
        let opened = Consumer::open(feed, MemoryStore::default()).await;
        opened.unwrap()
    };
    let feed = || Feed::new(&url, key.clone()).unwrap();
    let mut stranger = open(feed()).await;
    assert!(
        timeout(Duration::from_secs(2), stranger.next())
            .await
            .is_err()
    );
    let mut consumer = open(feed().trusting(&authority.pem()).unwrap()).await;
    let first = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
    assert_eq!(first.position, 1);
}
