//! Replays from outside: a read model rebuilt, with people signing in meanwhile and the server killed in the middle.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quivive_testkit::{PASSWORD, Server};
use serde_json::{Value, json};

use crate::support::{post, server};

const PATH: &str = "/admin/statistics/sign-ins";

type Counts = (u64, u64, BTreeMap<String, u64>);

/// Attempts, successes, and failures by reason, as the statistics have them.
async fn counted(server: &Server, admin: &str) -> Counts {
    let answer = server.api("GET", PATH, None, Some(admin)).await;
    let body = answer.expect(200).json();
    let mut counts = Counts::default();
    for day in body["days"].as_array().unwrap() {
        counts.0 += day["attempts"].as_u64().unwrap();
        counts.1 += day["successes"].as_u64().unwrap();
        for (reason, count) in day["failures"].as_object().unwrap() {
            *counts.2.entry(reason.clone()).or_default() += count.as_u64().unwrap();
        }
    }
    counts
}

/// The same, over the log.
async fn in_the_log(server: &Server, admin: &str) -> Counts {
    let mut counts = Counts::default();
    for event in server.events(admin).await {
        match event["type"].as_str().unwrap() {
            "user.login.attempted" => counts.0 += 1,
            "user.login.succeeded" => counts.1 += 1,
            "user.login.failed" => {
                let reason = event["data"]["reason"].as_str().unwrap().to_owned();
                *counts.2.entry(reason).or_default() += 1;
            }
            _ => {}
        }
    }
    counts
}

/// Waits until the statistics are of this generation, no replay is left, and they say what the log says.
async fn settled(server: &Server, admin: &str, generation: u64) -> Counts {
    let began = Instant::now();
    loop {
        let list = server
            .api("GET", "/admin/subscriptions", None, Some(admin))
            .await;
        let list = list.expect(200).json();
        let all = list["data"].as_array().unwrap().clone();
        let named = |one: &&Value| one["name"] == "statistics";
        let there = all
            .iter()
            .find(named)
            .is_some_and(|one| one["generation"] == generation);
        let replaying = all.iter().any(|one| !one["replays"].is_null());
        let counts = counted(server, admin).await;
        if there && !replaying && counts == in_the_log(server, admin).await {
            return counts;
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "{counts:?} {all:#?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn sign_in(server: &Server, email: &str, password: &str) {
    let body = json!({"email": email, "password": password});
    post(server, "/sessions", body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_killed_goes_on_and_comes_to_the_same_numbers() {
    let mut server = server().await;
    let email = "ada@example.com";
    server.register(email).await;
    let admin = server.administrator().await;
    for password in [PASSWORD, "not this one"] {
        sign_in(&server, email, password).await;
    }
    sign_in(&server, "nobody@example.com", PASSWORD).await;
    let before = settled(&server, &admin, 1).await;
    assert!(before.0 >= 3 && before.2.len() == 2, "{before:?}");

    for (round, wait_ms) in [0, 2, 5, 15].into_iter().enumerate() {
        let generation = round as u64 + 2;
        let (code, out, err) = server
            .cli(&["subscriptions", "replay", "statistics", "--dry-run"], "")
            .await;
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("would be replayed"), "{out}");
        let body = Some(json!({}));
        let path = "/admin/subscriptions/statistics/replay";
        server
            .api("POST", path, body, Some(&admin))
            .await
            .expect(202);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        server.kill().await;
        server.restart().await;
        sign_in(&server, email, PASSWORD).await;
        sign_in(&server, email, "not this one").await;
        let after = settled(&server, &admin, generation).await;
        assert!(after.0 > before.0);
    }
    // A read model is rebuilt as a whole, and no letter is written twice.
    for refused in [&["statistics", "--from", "2"][..], &["email"]] {
        let args = [&["subscriptions", "replay"], refused].concat();
        let (code, _, err) = server.cli(&args, "").await;
        assert_ne!(code, Some(0));
        assert!(err.contains("nothing to do"), "{err}");
    }
    let replayed = server.events(&admin).await.into_iter();
    let replayed = replayed.filter(|event| event["type"] == "delivery.replayed");
    assert_eq!(replayed.count(), 4);
}
