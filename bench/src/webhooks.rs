//! Webhooks delivered a second to one endpoint, signed and each its own request, against a bare HTTP client that sends the
//! same bodies over as many connections.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quivive_delivery::tasks::Tasks;
use quivive_testkit::client::Call;
use quivive_testkit::{Client, Options, Server};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Measure;

const MESSAGES: u64 = 20_000;
/// As many as a subscription has deliveries under way.
const CONNECTIONS: u64 = 16;
const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

pub(crate) async fn measure(binary: &Path) -> Measure {
    let sink = Sink::start().await;
    let options = Options::unlimited()
        .env("QUIVIVE__LOG__LEVEL", "warn")
        .env("QUIVIVE__WEBHOOKS__ALLOW_NETWORKS", "127.0.0.0/8");
    let mut server = Server::start(binary, options).await;
    let admin = server.administrator().await;
    let endpoint = json!({"url": format!("http://{}/in", sink.address), "events": ["custom.*"]});
    let made = call(&server, "/admin/webhooks", endpoint, &admin).await;
    let at = format!("/admin/webhooks/{}", made["id"].as_str().unwrap());
    post(&server, &format!("{at}/disable"), &admin).await;
    append(&server, &admin).await;
    let began = Instant::now();
    post(&server, &format!("{at}/enable"), &admin).await;
    sink.until(MESSAGES).await;
    let rate = MESSAGES as f64 / began.elapsed().as_secs_f64();
    server.stop().await;
    let body = sink.first();
    let limit = bare(&sink, body).await;
    Measure::rate("webhooks", rate, "messages/s", limit)
}

/// Appends as many events as messages are sent, a hundred at once.
async fn append(server: &Server, admin: &str) {
    let text = json!({"type": "string"});
    let schema = json!({"type": "object", "required": ["order"], "properties": {"order": text}});
    let registration = json!({"type": "custom.order", "version": 1, "schema": schema});
    call(server, "/admin/schemas", registration, admin).await;
    let asked = json!({"name": "bench", "scopes": ["events.write"]});
    let key = call(server, "/admin/api-keys", asked, admin).await;
    let key = key["key"].as_str().unwrap().to_owned();
    for batch in 0..MESSAGES / 100 {
        let one = |i| json!({"type": "custom.order", "data": {"order": format!("{batch}-{i}")}});
        let events: Vec<_> = (0..100).map(one).collect();
        call(server, "/events", events.into(), &key).await;
    }
}

async fn call(server: &Server, path: &str, body: Value, token: &str) -> Value {
    let reply = server.api("POST", path, Some(body), Some(token)).await;
    reply.expect(201).json()
}

async fn post(server: &Server, path: &str, token: &str) {
    let reply = server.api("POST", path, None, Some(token)).await;
    reply.expect(200);
}

/// Messages a second without anything but HTTP.
async fn bare(sink: &Sink, body: Vec<u8>) -> f64 {
    let before = sink.count();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (mut client, body) = (Client::new(sink.address), body.clone());
        tasks.spawn(async move {
            for _ in 0..MESSAGES / CONNECTIONS {
                let call = Call {
                    method: "POST",
                    path: "/in",
                    body: Some(body.clone()),
                    ..Call::default()
                };
                client.call(&call).await.unwrap().expect(204);
            }
        });
    }
    tasks.join_all().await;
    (sink.count() - before) as f64 / began.elapsed().as_secs_f64()
}

/// Answers every request with 204, counts them and keeps the first body.
#[derive(Clone)]
struct Sink {
    address: SocketAddr,
    count: Arc<AtomicU64>,
    first: Arc<std::sync::Mutex<Vec<u8>>>,
}

impl Sink {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Self {
            address: listener.local_addr().unwrap(),
            count: Arc::default(),
            first: Arc::default(),
        };
        let (serving, tasks) = (sink.clone(), Tasks::new());
        drop(tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                drop(tasks.spawn(async move { serving.serve(stream).await }));
            }
        }));
        sink
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn first(&self) -> Vec<u8> {
        self.first.lock().unwrap().clone()
    }

    async fn until(&self, count: u64) {
        while self.count() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn serve(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut read = Vec::with_capacity(16 * 1024);
        while let Ok(1..) = stream.read_buf(&mut read).await {
            while let Some((head, length)) = whole(&read) {
                if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
                    *self.first.lock().unwrap() = read[head..head + length].to_vec();
                }
                read.drain(..head + length);
                if stream.write_all(NO_CONTENT).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Where the body of a request begins and how long it is, once all of it is there.
fn whole(read: &[u8]) -> Option<(usize, usize)> {
    let head = read.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let named = name.eq_ignore_ascii_case("content-length");
        named.then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.unwrap_or(0);
    (read.len() >= head + length).then_some((head, length))
}
