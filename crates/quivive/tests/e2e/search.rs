//! The index of a real server, over HTTP and at the command line, beside a server and without one.

use std::time::{Duration, Instant};

use quivive_testkit::{PASSWORD, Server};
use serde_json::{Value, json};

use crate::support::{post, server};

/// What a search finds as soon as the index reaches the head.
async fn search(server: &Server, admin: &str, query: &str) -> Value {
    let began = Instant::now();
    loop {
        let head = server.events(admin).await.len();
        let path = format!("/events/search?{query}");
        let page = server
            .api("GET", &path, None, Some(admin))
            .await
            .expect(200)
            .json();
        if page["indexed_up_to"].as_u64().unwrap() >= head as u64 {
            return page;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{page}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn types(page: &Value) -> Vec<&str> {
    let data = page["data"].as_array().unwrap().iter();
    data.map(|event| event["type"].as_str().unwrap()).collect()
}

async fn printed(server: &Server, by: [&str; 2]) -> Vec<Value> {
    let args = ["events", "search", by[0], by[1], "--output", "json"];
    let (code, out, err) = server.cli(&args, "").await;
    assert_eq!(code, Some(0), "{err}");
    out.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_to_an_address_is_found_and_asking_is_on_record() {
    let mut server = server().await;
    let admin = server.administrator().await;
    let user = server.register("ada@example.org").await;
    let wrong = json!({"email": "ADA@example.org", "password": "not this one 1"});
    post(&server, "/sessions", wrong).await.expect(401);
    server.login("ada@example.org", PASSWORD).await;
    // Somebody else, whom it must not find.
    post(
        &server,
        "/password-reset-requests",
        json!({"email": "eve@example.org"}),
    )
    .await
    .expect(202);

    let page = search(&server, &admin, &format!("subject={user}&limit=250")).await;
    let about = types(&page);
    assert!(about.contains(&"session.created") && about.contains(&"user.login.failed"));
    let page = search(&server, &admin, "address=ada%40example.org").await;
    let found = types(&page);
    assert_eq!(found[0], "user.login.succeeded");
    assert_eq!(found.last(), Some(&"user.registration.attempted"));
    assert!(!page.to_string().contains("example.org"));
    let page = search(&server, &admin, "ip=127.0.0.1&limit=250").await;
    assert!(types(&page).len() > found.len());
    let page = search(&server, &admin, "type=AuditLogCreated").await;
    let notes = page["data"].as_array().unwrap();
    assert!(notes.len() >= 2, "{notes:?}");
    assert_eq!(notes.last().unwrap()["data"]["user_id"], user.as_str());
    assert!(notes.iter().all(|note| note["actor"]["kind"] == "admin"));

    let path = "/events?type=UserRegistrationAttempted&personal=true";
    let page = server.api("GET", path, None, Some(&admin)).await;
    let page = page.expect(200).json();
    assert_eq!(page["data"][0]["data"]["email"], "ada@example.org");
    let page = search(&server, &admin, "type=AuditLogCreated").await;
    let which = page["data"][0]["data"]["resource_id"].as_str();
    let which = which.expect("what was read");
    assert!(which.starts_with("type=user.registration.attempted&positions="));

    let positions = |events: &[Value]| -> Vec<u64> {
        events
            .iter()
            .map(|e| e["position"].as_u64().unwrap())
            .collect()
    };
    let beside = printed(&server, ["--address", "ada@example.org"]).await;
    let page = search(&server, &admin, "address=ada%40example.org").await;
    assert_eq!(
        positions(&beside),
        positions(page["data"].as_array().unwrap())
    );
    assert_eq!(server.stop().await, Some(0));
    let alone = printed(&server, ["--address", "ada@example.org"]).await;
    assert_eq!(positions(&beside), positions(&alone));
    // Its own note is the newest, though nobody but the command filled the index.
    let notes = printed(&server, ["--type", "AuditLogCreated"]).await;
    assert_eq!(notes[0]["actor"]["kind"], "system");
    let (code, _, err) = server
        .cli(&["events", "search", "--ip", "nowhere"], "")
        .await;
    assert!(code != Some(0) && err.contains("an IP address"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_at_rest_writes_nothing() {
    let server = server().await;
    let admin = server.administrator().await;
    search(&server, &admin, "type=user.login.failed").await;
    let written = || {
        let io = std::fs::read_to_string(format!("/proc/{}/io", server.pid())).unwrap();
        let line = io
            .lines()
            .find(|line| line.starts_with("write_bytes:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    // It comes to rest: cursors are saved once a second, and a machine with much to do takes its time over the letters.
    let began = Instant::now();
    let mut before = None;
    while before != Some(written()) {
        assert!(began.elapsed() < Duration::from_secs(30), "it never rests");
        before = Some(written());
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    let before = written();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(written(), before);
}
