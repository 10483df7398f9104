//! kill -9 at random moments under load: nothing acknowledged is lost, no outcome without its attempt, every attempt closed
//! once, the chain verifies.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::check;
use crate::{Client, PASSWORD, Server};

/// Accounts under load, each with a chain of refreshes.
const CHAINS: usize = 6;

/// What was promised to a client.
#[derive(Debug, Default)]
struct Promised {
    /// Refreshes that were answered with 200.
    refreshes: u64,
    /// Registrations that were answered with 202.
    registered: Vec<String>,
}

/// Kills it `kills` times; returns the breaches found (for the mutant, which must have some) and a line to print.
pub async fn run(server: &mut Server, kills: usize, seed: u64) -> (Vec<String>, String) {
    let admin_password = "an administrators long passphrase 7";
    let _ = server.administrator().await;
    for chain in 0..CHAINS {
        server.register(&format!("chain{chain}@example.org")).await;
    }
    let promised = Arc::new(Mutex::new(Promised::default()));
    let mut random = seed;
    for kill in 0..kills {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = JoinSet::new();
        for chain in 0..CHAINS {
            load.spawn(refresh_chain(
                server.address,
                chain,
                promised.clone(),
                stop.clone(),
            ));
        }
        load.spawn(registrations(
            server.address,
            kill,
            promised.clone(),
            stop.clone(),
        ));
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis(60 + (random >> 33) % 440)).await;
        server.kill().await;
        stop.store(true, Ordering::Relaxed);
        while load.join_next().await.is_some() {}
        server.restart().await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let admin = server.login("root@example.org", admin_password).await;
    let events = server.events(admin["access_token"].as_str().unwrap()).await;
    let (workflows, mut breaches) = check::triples(&events);
    let promised = promised.lock().await;
    breaches.extend(lost(server, &events, &promised).await);
    let interrupted = events
        .iter()
        .filter(|event| event["data"]["reason"] == "interrupted")
        .count();
    server.stop().await;
    let verified = server.verify().await;
    if verified["ok"] != true {
        breaches.push(format!("the chain: {verified}"));
    }
    let line = format!(
        "{kills} kills: {} acknowledged refreshes and {} registrations all there, {workflows} workflows whole, {interrupted} closed as interrupted, {} events verified",
        promised.refreshes,
        promised.registered.len(),
        events.len()
    );
    (breaches, line)
}

/// What was acknowledged and is not there.
async fn lost(server: &Server, events: &[Value], promised: &Promised) -> Vec<String> {
    let mut lost = Vec::new();
    let done = check::count(events, "token.refresh.succeeded") as u64;
    if done < promised.refreshes {
        lost.push(format!(
            "{} refreshes acknowledged, {done} in the log",
            promised.refreshes
        ));
    }
    // An account that was promised exists: its letter or its login says so.
    let registered = check::count(events, "user.registration.succeeded");
    let distinct: HashSet<&String> = promised.registered.iter().collect();
    if registered < distinct.len() + CHAINS {
        lost.push(format!(
            "{} registrations acknowledged, {registered} in the log",
            distinct.len() + CHAINS
        ));
    }
    for email in promised.registered.iter().rev().take(3) {
        let body = json!({"email": email, "password": PASSWORD});
        let reply = server.api("POST", "/sessions", Some(body), None).await;
        if reply.code() != "email_not_verified" {
            lost.push(format!(
                "an acknowledged account is not there: {}",
                reply.status
            ));
        }
    }
    lost
}

async fn refresh_chain(
    address: std::net::SocketAddr,
    chain: usize,
    promised: Arc<Mutex<Promised>>,
    stop: Arc<AtomicBool>,
) {
    let mut client = Client::new(address);
    let body = json!({"email": format!("chain{chain}@example.org"), "password": PASSWORD});
    let Ok(reply) = client.api("POST", "/sessions", Some(body), None).await else {
        return;
    };
    let mut token = reply.json()["refresh_token"].clone();
    while !stop.load(Ordering::Relaxed) {
        let body = json!({"refresh_token": token});
        let Ok(reply) = client.api("POST", "/tokens", Some(body), None).await else {
            return;
        };
        if reply.status != 200 {
            return;
        }
        promised.lock().await.refreshes += 1;
        token = reply.json()["refresh_token"].clone();
    }
}

async fn registrations(
    address: std::net::SocketAddr,
    kill: usize,
    promised: Arc<Mutex<Promised>>,
    stop: Arc<AtomicBool>,
) {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let mut client = Client::new(address);
    while !stop.load(Ordering::Relaxed) {
        let email = format!(
            "k{kill}n{}@example.org",
            SERIAL.fetch_add(1, Ordering::Relaxed)
        );
        let body = json!({"email": email, "password": PASSWORD});
        match client.api("POST", "/users", Some(body), None).await {
            Ok(reply) if reply.status == 202 => promised.lock().await.registered.push(email),
            _ => return,
        }
    }
}
