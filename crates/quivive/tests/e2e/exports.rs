//! What is held about somebody, for themselves.

use std::time::{Duration, Instant};

use quivive_testkit::experiments::check;
use quivive_testkit::{Options, PASSWORD, Server};

use crate::support::{BINARY, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_takes_along_what_is_held_about_them() {
    let server = server().await;
    server.register("eve@example.org").await;
    let user = server.register("ada@example.org").await;
    let tokens = server.login("ada@example.org", PASSWORD).await;
    let token = tokens["access_token"].as_str();
    let held = server.api("GET", "/me/export", None, token).await;
    let held = held.expect(200).json();
    assert_eq!(held["account"]["email"], "ada@example.org");
    assert_eq!(held["sessions"][0]["session_id"], tokens["session_id"]);
    let events = held["events"].as_array().expect("events");
    let kinds: Vec<_> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds[0], "user.registration.attempted", "{kinds:?}");
    assert!(kinds.iter().any(|kind| *kind == "session.created"));
    assert!(events.iter().all(|event| event["subject"] == *user));
    assert_eq!(events[0]["data"]["email"], "ada@example.org");
    assert!(!held.to_string().contains("eve@example.org"));
    let admin = server.administrator().await;
    let events = server.events(&admin).await;
    check::whole(&events);
    let exported = events
        .iter()
        .find(|event| event["type"] == "user.data_export.succeeded");
    assert!(exported.expect("an event")["data"]["bytes"].as_u64() > Some(1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_just_shown_that_it_is_them_exports_nothing() {
    let options = Options::unlimited().env("QUIVIVE__TOKENS__STEP_UP_SECONDS", "1");
    let server = Server::start(BINARY, options).await;
    server.register("ada@example.org").await;
    let tokens = server.login("ada@example.org", PASSWORD).await;
    let token = tokens["access_token"].as_str();
    let began = Instant::now();
    let refused = loop {
        let answer = server.api("GET", "/me/export", None, token).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "a proof ends");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(refused.expect(403).code(), "step_up_required");
    let admin = server.administrator().await;
    let events = server.events(&admin).await;
    let failed = events
        .iter()
        .find(|event| event["type"] == "user.data_export.failed");
    assert_eq!(
        failed.expect("an event")["data"]["reason"],
        "step_up_required"
    );
}
