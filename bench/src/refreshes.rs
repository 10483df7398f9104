//! Refreshes a second over HTTP, durable, against the bare group-commit rate of the same four statements.

use std::path::Path;
use std::time::Instant;

use quivive_testkit::client::Call;
use quivive_testkit::{Client, Options, PASSWORD, Server};
use tokio::task::JoinSet;

use crate::{LOAD, Measure, limits, logins};

pub(crate) const CONNECTIONS: usize = 64;

pub(crate) async fn measure(binary: &Path) -> Vec<Measure> {
    let mut server = Server::start(
        binary,
        Options::unlimited().env("QUIVIVE__LOG__LEVEL", "warn"),
    )
    .await;
    let tokens = prepare(&server).await;
    let before = limits::four_statements(CONNECTIONS, LOAD / 2).await;
    let rate = rate(&server, tokens).await;
    let after = limits::four_statements(CONNECTIONS, LOAD / 2).await;
    server.stop().await;
    vec![Measure::rate(
        "refresh",
        rate,
        "refreshes/s",
        f64::midpoint(before, after),
    )]
}

/// Signs in as many people as there are connections, and gives their tokens.
pub(crate) async fn prepare(server: &Server) -> Vec<String> {
    logins::prepare(server, CONNECTIONS).await;
    let mut tokens = Vec::new();
    for i in 0..CONNECTIONS {
        let tokens_of = server.login(&logins::email(i), PASSWORD).await;
        tokens.push(tokens_of["refresh_token"].as_str().unwrap().to_owned());
    }
    tokens
}

/// Refreshes a second, of all of them at once.
pub(crate) async fn rate(server: &Server, tokens: Vec<String>) -> f64 {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for token in tokens {
        let client = Client::new(server.address);
        tasks.spawn(chain(client, token, began));
    }
    let total: u64 = tasks.join_all().await.into_iter().sum();
    total as f64 / began.elapsed().as_secs_f64()
}

async fn chain(mut client: Client, mut token: String, began: Instant) -> u64 {
    const NAME: &[u8] = b"\"refresh_token\":\"";
    let mut count = 0;
    while began.elapsed() < LOAD {
        let call = Call {
            method: "POST",
            path: "/api/v1/tokens",
            body: Some(format!("{{\"refresh_token\":\"{token}\"}}").into_bytes()),
            ..Call::default()
        };
        let reply = client.call(&call).await.unwrap().expect(200);
        // Found, not parsed: the load generator shares the cores with what it measures.
        let at = reply
            .body
            .windows(NAME.len())
            .position(|w| w == NAME)
            .unwrap()
            + NAME.len();
        let length = reply.body[at..]
            .iter()
            .position(|byte| *byte == b'"')
            .unwrap();
        token.clear();
        token.push_str(std::str::from_utf8(&reply.body[at..at + length]).unwrap());
        count += 1;
    }
    count
}
