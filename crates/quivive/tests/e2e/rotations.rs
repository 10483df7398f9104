//! Rotations and step-up, from outside: T26 and T27 of the security cases.

use std::collections::BTreeSet;
use std::time::Duration;

use quivive_testkit::experiments::check;
use quivive_testkit::{Client, Options, PASSWORD, Reply, Server};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{BINARY, post, server};

async fn refresh(server: &Server, tokens: &Value) -> Reply {
    let body = json!({"refresh_token": tokens["refresh_token"]});
    post(server, "/tokens", body).await
}

async fn me(server: &Server, tokens: &Value) -> u16 {
    let token = tokens["access_token"].as_str();
    server.api("GET", "/me", None, token).await.status
}

async fn rotate_all(server: &Server, admin: &str, body: Value) -> Reply {
    let path = "/admin/rotations";
    server.api("POST", path, Some(body), Some(admin)).await
}

/// T26.
#[tokio::test(flavor = "multi_thread")]
async fn t26_older_tokens_pass_within_the_grace_alone_also_over_a_restart() {
    let mut server = server().await;
    server.register("rotated@example.com").await;
    let admin = server.administrator().await;
    let idle = server.login("rotated@example.com", PASSWORD).await;
    let old = server.login("rotated@example.com", PASSWORD).await;
    let body = json!({"reason": "breach", "grace_period_seconds": 1});
    let refused = rotate_all(&server, &admin, body).await.expect(422);
    assert_eq!(refused.code(), "invalid_grace");
    let grace = 5;
    let body = json!({"reason": "yearly", "grace_period_seconds": grace});
    let rotated = rotate_all(&server, &admin, body).await.expect(200).json();
    let want = json!({"previous_version": 1, "new_version": 2, "grace_period_seconds": grace});
    assert_eq!(rotated, want);
    server.restart().await;
    assert_eq!(me(&server, &idle).await, 200, "within the grace");
    let new = refresh(&server, &old).await.expect(200).json();
    tokio::time::sleep(Duration::from_secs(grace)).await;
    assert_eq!(me(&server, &idle).await, 401);
    refresh(&server, &idle).await.expect(401);
    assert_eq!(me(&server, &new).await, 200);

    let admin = server.administrator().await;
    rotate_all(&server, &admin, json!({"reason": "breach"}))
        .await
        .expect(200);
    let admin = server.administrator().await;
    // A later graceful one admits nothing again.
    let later = rotate_all(&server, &admin, json!({"reason": "yearly"})).await;
    assert_eq!(later.expect(200).json()["new_version"], 4);
    for tokens in [&idle, &old, &new] {
        assert_eq!(me(&server, tokens).await, 401);
    }
    refresh(&server, &new).await.expect(401);
    let again = server.login("rotated@example.com", PASSWORD).await;
    assert_eq!(me(&server, &again).await, 200);
    refresh(&server, &again).await.expect(200);
    let events = server.events(&admin).await;
    check::whole(&events);
    let rejected = |event: &&Value| event["type"] == "token.rejected_due_to_rotation";
    let rejected: Vec<_> = events.iter().filter(rejected).map(|e| &e["data"]).collect();
    assert_eq!(rejected.len(), 2);
    let required = |data: &Value| {
        (
            data["token_version"].clone(),
            data["required_version"].clone(),
        )
    };
    assert_eq!(required(rejected[0]), (json!(1), json!(2)));
    assert_eq!(required(rejected[1]), (json!(2), json!(3)));
}

/// T26: two administrators, and more.
#[tokio::test(flavor = "multi_thread")]
async fn t26_fifty_rotations_at_once_are_fifty_increments() {
    let server = server().await;
    let admin = server.administrator().await;
    let mut rotations = JoinSet::new();
    for _ in 0..50 {
        let (mut client, admin) = (Client::new(server.address), admin.clone());
        rotations.spawn(async move {
            let body = json!({"reason": "race"});
            let path = "/admin/rotations";
            client.api("POST", path, Some(body), Some(&admin)).await
        });
    }
    let replies = rotations.join_all().await;
    let versions: BTreeSet<u64> = replies
        .into_iter()
        .map(|reply| {
            reply.unwrap().expect(200).json()["new_version"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(versions, (2..=51).collect());
    check::whole(&server.events(&admin).await);
}

/// T27.
#[tokio::test(flavor = "multi_thread")]
async fn t27_one_persons_tokens_end_and_nobody_elses() {
    let server = server().await;
    let ada = server.register("ada@example.com").await;
    server.register("bob@example.com").await;
    let admin = server.administrator().await;
    let (hers, his) = (
        server.login("ada@example.com", PASSWORD).await,
        server.login("bob@example.com", PASSWORD).await,
    );
    let path = format!("/admin/users/{ada}/rotations");
    let body = json!({"reason": "a lost telephone"});
    let rotated = server.api("POST", &path, Some(body), Some(&admin)).await;
    assert_eq!(
        rotated.expect(200).json(),
        json!({"user_id": ada, "previous_version": 1, "new_version": 2})
    );
    assert_eq!(me(&server, &hers).await, 401);
    refresh(&server, &hers).await.expect(401);
    assert_eq!(me(&server, &his).await, 200);
    refresh(&server, &his).await.expect(200);
    let again = server.login("ada@example.com", PASSWORD).await;
    assert_eq!(me(&server, &again).await, 200);
    let again = refresh(&server, &again).await.expect(200).json();
    let token = again["access_token"].as_str();
    let mine = server.api("POST", "/me/rotations", None, token).await;
    assert_eq!(mine.expect(200).json()["new_version"], 3);
    assert_eq!(me(&server, &again).await, 401);
    refresh(&server, &again).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dangerous_wants_a_fresh_proof() {
    let options = Options::unlimited().env("QUIVIVE__TOKENS__STEP_UP_SECONDS", "2");
    let server = Server::start(BINARY, options).await;
    let admin = server.administrator().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let body = json!({"reason": "yearly"});
    let refused = rotate_all(&server, &admin, body.clone()).await.expect(403);
    assert_eq!(refused.code(), "step_up_required");
    let step_up = async |password: &str| {
        let body = json!({"password": password});
        server
            .api("POST", "/me/step-up", Some(body), Some(&admin))
            .await
    };
    assert_eq!(
        step_up("not this one 1").await.expect(403).code(),
        "invalid_password"
    );
    let proved = step_up("an administrators long passphrase 7")
        .await
        .expect(200)
        .json();
    let proved = proved["access_token"].as_str().unwrap();
    rotate_all(&server, proved, body.clone()).await.expect(200);
    rotate_all(&server, &admin, body).await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_rotates_beside_a_server_and_without_one() {
    let mut server = server().await;
    server.register("ada@example.com").await;
    let tokens = server.login("ada@example.com", PASSWORD).await;
    let told = async |server: &Server, args: &[&str]| {
        let args = [&["rotate", "tokens", "--yes", "--output", "json"], args].concat();
        let (code, out, err) = server.cli(&args, "").await;
        (code, serde_json::from_str(&out).unwrap_or(Value::Null), err)
    };
    let (code, rotated, err) = told(&server, &["--user", "ada@example.com"]).await;
    assert_eq!(
        (code, &rotated["new_version"]),
        (Some(0), &json!(2)),
        "{err}"
    );
    assert_eq!(me(&server, &tokens).await, 401);
    let tokens = server.login("ada@example.com", PASSWORD).await;
    server.stop().await;
    let (code, _, err) = told(&server, &["--reason", "two\nlines"]).await;
    assert!(code != Some(0) && err.contains("500 characters"), "{err}");
    // A breach is one with space around it, too.
    let (code, rotated, err) = told(&server, &["--reason", " breach "]).await;
    let want = json!({"previous_version": 1, "new_version": 2, "grace_period_seconds": 0});
    assert_eq!((code, rotated), (Some(0), want), "{err}");
    let (code, _, err) = told(&server, &["--reason", "breach", "--grace-seconds", "1"]).await;
    assert!(code != Some(0) && err.contains("grace"), "{err}");
    let (code, _, err) = told(&server, &["--user", "nobody@example.com"]).await;
    assert!(
        code != Some(0) && err.contains("nobody has this address"),
        "{err}"
    );
    let (code, _, err) = server.cli(&["rotate", "tokens"], "").await;
    assert_eq!(code, Some(2), "it asks, and nobody is there: {err}");
    server.restart().await;
    assert_eq!(me(&server, &tokens).await, 401);
    refresh(&server, &tokens).await.expect(401);
}
