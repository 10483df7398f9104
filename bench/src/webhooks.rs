//! Webhooks delivered a second to one endpoint, signed and each its own request, against a bare HTTP client that sends the
//! same requests, without signing any, over as many connections.
//!
//! Both are processes of their own, for who receives is another one in real life too. Both rates are the receiver's: from the first
//! request to the last.

pub(crate) mod bare;
mod sink;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use quivive_testkit::{Options, Server};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::Measure;
use sink::{Received, Sink};

const MESSAGES: u64 = 100_000;
/// How often both are measured, in turn: the machine is faster at one moment and slower at another.
const TURNS: u32 = 5;

/// To a receiver that verifies HMAC-SHA256, as most do, and to one that wants Ed25519 beside it.
pub(crate) async fn measure(binary: &Path) -> Vec<Measure> {
    vec![
        deliver(binary, "webhooks", "v1").await,
        deliver(binary, "webhooks-ed25519", "all").await,
    ]
}

async fn deliver(binary: &Path, name: &'static str, signatures: &str) -> Measure {
    let (mut rates, mut limits) = (0.0, 0.0);
    for _ in 0..TURNS {
        let (rate, limit) = turn(binary, signatures).await;
        rates += rate;
        limits += limit;
    }
    let turns = f64::from(TURNS);
    Measure::rate(name, rates / turns, "messages/s", limits / turns)
}

async fn turn(binary: &Path, signatures: &str) -> (f64, f64) {
    let sink = Sink::start().await;
    let options = Options::unlimited()
        .env("QUIVIVE__LOG__LEVEL", "warn")
        .env("QUIVIVE__WEBHOOKS__ALLOW_NETWORKS", "127.0.0.0/8");
    let mut server = Server::start(binary, options).await;
    let admin = server.administrator().await;
    let url = format!("http://{}/in", sink.address);
    let endpoint = json!({"url": url, "events": ["custom.*"], "signatures": signatures});
    let made = call(&server, "/admin/webhooks", endpoint, &admin).await;
    let at = format!("/admin/webhooks/{}", made["id"].as_str().unwrap());
    post(&server, &format!("{at}/disable"), &admin).await;
    append(&server, &admin).await;
    indexed(&server, &admin).await;
    post(&server, &format!("{at}/enable"), &admin).await;
    let received = sink.receive(MESSAGES).await;
    server.stop().await;
    (received.rate, bare(&sink, &received).await)
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

/// Waits until the search index has what was appended: that is not to be measured.
async fn indexed(server: &Server, admin: &str) {
    loop {
        let reply = server
            .api("GET", "/events/search?type=custom.order", None, Some(admin))
            .await;
        if reply.expect(200).json()["indexed_up_to"].as_u64() > Some(MESSAGES) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
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

/// Messages a second without anything but HTTP, over as many connections as the server had.
async fn bare(sink: &Sink, like: &Received) -> f64 {
    let mut client = Command::new(std::env::current_exe().unwrap())
        .arg(bare::NAME)
        .args([sink.address.to_string(), MESSAGES.to_string()])
        .arg(like.connections.to_string())
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    input.write_all(&like.request).await.unwrap();
    drop(input);
    let received = sink.receive(MESSAGES).await;
    assert!(client.wait().await.unwrap().success());
    received.rate
}
