//! Logins a second over HTTP against the bare rate of their hash, and the memory they take.

use std::path::Path;
use std::time::{Duration, Instant};

use quivive_testkit::{Client, Options, PASSWORD, Server};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{LOAD, Measure, cores, limits};

/// Connections at once, each with an account of its own.
const LOADS: [(&str, usize); 3] = [("login-1", 1), ("login-16", 16), ("login-64", 64)];

pub(crate) async fn measure(binary: &Path, settle: bool) -> Vec<Measure> {
    let mut server = Server::start(
        binary,
        Options::unlimited().env("QUIVIVE__LOG__LEVEL", "warn"),
    )
    .await;
    prepare(&server, 64).await;
    // A server that has judged new passwords keeps their dictionary, about 10 MB: the figures are those of sign-ins alone.
    server.stop().await;
    server.restart().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = server.resident_kib();
    let mut measures = Vec::new();
    let mut peak = 0;
    for (name, connections) in LOADS {
        let (rate, resident) = load(&server, name, connections).await;
        peak = peak.max(resident);
        measures.push(rate);
    }
    let allowed = idle + (cores() as u64 * 19 + 10) * 1024;
    measures.push(Measure {
        name: "login-memory",
        value: peak as f64 / 1024.0,
        unit: "MiB",
        limit: allowed as f64 / 1024.0,
        ratio: peak as f64 / allowed as f64,
    });
    if settle {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let resident = server.resident_kib() as f64 * 1024.0 / 1e6;
        measures.push(Measure {
            name: "idle-memory-after",
            value: resident,
            unit: "MB",
            limit: 30.0,
            ratio: resident / 30.0,
        });
    }
    server.stop().await;
    measures
}

/// The rate against that of the hashes alone, and the most memory seen.
pub(crate) async fn load(
    server: &Server,
    name: &'static str,
    connections: usize,
) -> (Measure, u64) {
    // The limit before and after, so that a machine whose speed drifts is not taken for a slow server.
    let threads = connections.min(cores());
    let before = tokio::task::block_in_place(|| limits::argon2id(threads, LOAD / 2));
    let (rate, resident) = logins(server, connections).await;
    let after = tokio::task::block_in_place(|| limits::argon2id(threads, LOAD / 2));
    let limit = f64::midpoint(before, after);
    (Measure::rate(name, rate, "logins/s", limit), resident)
}

/// Registers and verifies accounts, several at a time.
pub(crate) async fn prepare(server: &Server, accounts: usize) {
    for i in 0..accounts {
        let body = json!({"email": email(i), "password": PASSWORD});
        server
            .api("POST", "/users", Some(body), None)
            .await
            .expect(202);
    }
    for i in 0..accounts {
        let token = server.token(&email(i), "verify_email").await;
        server
            .api(
                "POST",
                "/email-verifications",
                Some(json!({"token": token})),
                None,
            )
            .await
            .expect(200);
    }
}

pub(crate) fn email(i: usize) -> String {
    format!("load{i:03}@example.org")
}

/// Logins a second, and the most memory seen.
async fn logins(server: &Server, connections: usize) -> (f64, u64) {
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for i in 0..connections {
        let mut client = Client::new(server.address);
        tasks.spawn(async move {
            let body = json!({"email": email(i), "password": PASSWORD});
            let first = client.api("POST", "/sessions", Some(body), None).await.unwrap().expect(200).json();
            let mut count = 1_u32;
            while began.elapsed() < LOAD {
                let body = json!({"email": email(i), "password": PASSWORD, "device_token": first["device_token"]});
                client.api("POST", "/sessions", Some(body), None).await.unwrap().expect(200);
                count += 1;
            }
            count
        });
    }
    let mut peak = 0;
    let mut total = 0;
    loop {
        tokio::select! {
            done = tasks.join_next() => match done {
                Some(count) => total += count.unwrap(),
                None => break,
            },
            () = tokio::time::sleep(Duration::from_millis(50)) => peak = peak.max(server.resident_kib()),
        }
    }
    (f64::from(total) / began.elapsed().as_secs_f64(), peak)
}
