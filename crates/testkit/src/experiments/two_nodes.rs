//! Races over two nodes: what is good once, spread over both at the same moment, round after round.

use serde_json::json;

use super::check;
use crate::postgres::Cluster;
use crate::{Nodes, Options, PASSWORD, Reply, Server};

/// Calls of one race.
const AT_ONCE: usize = 50;
/// Of registrations, which hash and give no secret.
const FEW: usize = 6;

fn with_status(replies: &[Reply], status: u16) -> usize {
    let hits = replies.iter().filter(|reply| reply.status == status);
    hits.count()
}

/// So many rounds of each race. `None` where there is no PostgreSQL.
pub async fn run(binary: &std::path::Path, rounds: usize) -> Option<String> {
    let cluster = Cluster::shared()?;
    let quiet = || {
        Options::unlimited()
            .for_long()
            .env("QUIVIVE__LOG__LEVEL", "warn")
    };
    let nodes = Nodes::start(&cluster, binary, quiet).await;
    nodes.settled().await;
    let admin = nodes.one.administrator().await;
    let (mut refreshed, mut rotated, mut turned_away) = (0, 0, 0);
    for round in 0..rounds {
        let email = format!("racer{round}@example.org");
        register(&nodes, &email).await;
        refresh(&nodes, &email, &mut refreshed).await;
        rotate(&nodes, &email, &mut rotated).await;
        turned_away += reset(&nodes, &email).await;
    }
    let guesses = guess(&nodes).await;
    let events = nodes.one.events(&admin).await;
    let workflows = check::whole(&events);
    let count = |kind| check::count(&events, kind);
    // With the one whose password is guessed; the administrator is no registration.
    assert_eq!(count("user.registration.succeeded"), rounds + 1);
    assert_eq!(count("user.email_verification.succeeded"), rounds + 1);
    // One to have a password that is known, one that is raced for.
    let resets = count("user.password_reset_confirm.succeeded");
    assert_eq!(resets, 2 * rounds);
    assert_eq!(
        count("token.reuse_detected"),
        0,
        "parallel refreshes are honest"
    );
    assert_eq!(nodes.one.verify().await["ok"], true);
    Some(format!(
        "{rounds} rounds over two nodes: registrations of {FEW} at once, verifications and resets of {AT_ONCE} one success each \
         ({turned_away} of the latter told to come again), {refreshed} refreshes of {AT_ONCE} one successor each, {rotated} rotations counted, {guesses} of 40 guesses compared; \
         {workflows} workflows whole"
    ))
}

async fn register(nodes: &Nodes, email: &str) {
    let replies = nodes
        .together(FEW, |i| {
            let password = format!("{PASSWORD} {i}");
            (
                "POST",
                "/users",
                json!({"email": email, "password": password}),
            )
        })
        .await;
    assert_eq!(with_status(&replies, 202), FEW);
    let token = nodes.token(email, "verify_email").await;
    let replies = nodes
        .together(AT_ONCE, |_| {
            ("POST", "/email-verifications", json!({"token": token}))
        })
        .await;
    let told = (with_status(&replies, 200), with_status(&replies, 400));
    assert_eq!(told, (1, AT_ONCE - 1), "{email}");
    // Whose password won is not told, so another is chosen.
    choose(nodes, email).await;
}

async fn choose(nodes: &Nodes, email: &str) {
    let token = ask_for_reset(nodes, email).await;
    let body = json!({"token": token, "new_password": PASSWORD});
    let reply = nodes
        .two
        .api("POST", "/password-resets", Some(body), None)
        .await;
    reply.expect(200);
}

async fn ask_for_reset(nodes: &Nodes, email: &str) -> String {
    let before = letters(nodes, email).await;
    let body = json!({"email": email});
    let asked = nodes
        .one
        .api("POST", "/password-reset-requests", Some(body), None)
        .await;
    asked.expect(202);
    while letters(nodes, email).await == before {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    nodes.token(email, "reset_password").await
}

async fn letters(nodes: &Nodes, email: &str) -> usize {
    let mut count = 0;
    for server in nodes.both() {
        let letters = server.letters().await;
        let to = |letter: &&serde_json::Value| {
            letter["to"].to_string().contains(email) && letter["template"] == "reset_password"
        };
        count += letters.iter().filter(to).count();
    }
    count
}

/// The same refresh token fifty times at once, over both: everybody gets the same successor.
async fn refresh(nodes: &Nodes, email: &str, refreshed: &mut usize) {
    let server: &Server = nodes.nth(*refreshed);
    let tokens = server.login(email, PASSWORD).await;
    // Each node sees the calls from another address of this machine: the device is known by its token.
    let body = json!({
        "refresh_token": tokens["refresh_token"],
        "device_token": tokens["device_token"],
    });
    let replies = nodes
        .together(AT_ONCE, |_| ("POST", "/tokens", body.clone()))
        .await;
    let successors: std::collections::BTreeSet<String> = replies
        .iter()
        .filter(|reply| reply.status == 200)
        .map(|reply| reply.json()["refresh_token"].to_string())
        .collect();
    assert_eq!(successors.len(), 1, "{email}: {successors:?}");
    *refreshed += 1;
}

/// Two rotations of all that one person has, at once: two increments.
async fn rotate(nodes: &Nodes, email: &str, rotated: &mut usize) {
    let id = email.replace('\'', "");
    let version = format!("SELECT token_version FROM account WHERE email = '{id}'");
    let before: u64 = nodes.database.ask(&version).parse().expect("a version");
    let tokens = nodes.one.login(email, PASSWORD).await;
    let token = tokens["access_token"].as_str().expect("a token");
    let ask = async |server: &Server| {
        let reply = server
            .api("POST", "/me/rotations", Some(json!({})), Some(token))
            .await;
        reply.status
    };
    let (one, two) = tokio::join!(ask(&nodes.one), ask(&nodes.two));
    let done = [one, two]
        .into_iter()
        .filter(|status| *status < 300)
        .count() as u64;
    let after: u64 = nodes.database.ask(&version).parse().expect("a version");
    assert!(
        done >= 1 && after == before + done,
        "{one} {two}: {before} to {after}"
    );
    *rotated += 1;
}

/// How many were told to come again.
async fn reset(nodes: &Nodes, email: &str) -> usize {
    let token = ask_for_reset(nodes, email).await;
    let ask = |i: usize| {
        let password = format!("{PASSWORD} anew {i}");
        let body = json!({"token": token, "new_password": password});
        ("POST", "/password-resets", body)
    };
    let replies = nodes.together(AT_ONCE, ask).await;
    // On a machine that is busy with something else some find no place to hash in. They come again, and are refused as well.
    let turned_away = with_status(&replies, 503);
    let told = (with_status(&replies, 200), with_status(&replies, 400));
    assert_eq!(told, (1, AT_ONCE - 1 - turned_away), "{email}");
    for i in 0..turned_away {
        let (method, path, body) = ask(i);
        let reply = nodes.nth(i).api(method, path, Some(body), None).await;
        reply.expect(400);
    }
    turned_away
}

/// Forty wrong passwords at once, over both: no more are compared than the limit allows.
async fn guess(nodes: &Nodes) -> String {
    let email = "guessed@example.org";
    nodes.register(email).await;
    nodes
        .together(40, |i| {
            let password = format!("not {PASSWORD} {i}");
            (
                "POST",
                "/sessions",
                json!({"email": email, "password": password}),
            )
        })
        .await;
    let locked = nodes.two.api(
        "POST",
        "/sessions",
        Some(json!({"email": email, "password": PASSWORD})),
        None,
    );
    assert_eq!(locked.await.status, 401, "the path is closed");
    let sql = "SELECT COALESCE(max(in_a_row), 0) FROM guess";
    let compared: u64 = nodes.database.ask(sql).parse().expect("a number");
    assert!((1..=5).contains(&compared), "{compared} were compared");
    compared.to_string()
}
