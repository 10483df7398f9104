//! Sessions: listed, ended by their owner and by administrators, and over in time.

use std::collections::BTreeMap;

use quivive_testkit::experiments::check;
use quivive_testkit::{Client, Options, PASSWORD, Server};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{BINARY, events, post, server};

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

async fn listed(server: &Server, tokens: &Value) -> Vec<Value> {
    let token = Some(text(tokens, "access_token"));
    let answer = server.api("GET", "/sessions", None, token).await;
    answer.expect(200).json()["data"]
        .as_array()
        .unwrap()
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_ends_what_they_do_not_know() {
    let server = server().await;
    server.register("ada@example.org").await;
    let here = server.login("ada@example.org", PASSWORD).await;
    let there = server.login("ada@example.org", PASSWORD).await;
    let list = listed(&server, &here).await;
    assert_eq!(list.len(), 2);
    let current: Vec<_> = list.iter().filter(|s| s["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["session_id"], here["session_id"]);
    assert_eq!(current[0]["ip_address"], "127.0.0.1");

    let token = Some(text(&here, "access_token"));
    let path = format!("/sessions/{}", text(&there, "session_id"));
    server.api("DELETE", &path, None, token).await.expect(204);
    let refused = Some(text(&there, "access_token"));
    let felt = async || server.api("GET", "/me", None, refused).await.status == 401;
    while !felt().await {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let body = serde_json::json!({"refresh_token": there["refresh_token"]});
    post(&server, "/tokens", body).await.expect(401);

    // An administrator ends the rest, and the owner is told.
    let admin = server.administrator().await;
    let me = server.api("GET", "/me", None, token).await.expect(200);
    let path = format!("/admin/users/{}/sessions", text(&me.json(), "user_id"));
    let own = server.api("DELETE", &path, None, token).await;
    own.expect(403);
    let ended = server.api("DELETE", &path, None, Some(&admin)).await;
    assert_eq!(ended.expect(200).json()["sessions_ended"], 1);
    let letter = server.letter("ada@example.org", "sessions_ended").await;
    assert!(text(&letter, "text").contains("An administrator"));
}

/// Each session's events of its end.
fn endings(events: &[Value]) -> BTreeMap<String, Vec<String>> {
    let kinds = ["terminated", "expired", "invalidated", "evicted"];
    let mut endings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in events {
        let Some(kind) = text(event, "type").strip_prefix("session.") else {
            continue;
        };
        if kinds.contains(&kind) {
            let session = text(&event["data"], "session_id").to_owned();
            endings.entry(session).or_default().push(kind.to_owned());
        }
    }
    endings
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_at_once_one_ends_a_session() {
    let server = server().await;
    server.register("ada@example.org").await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(server.login("ada@example.org", PASSWORD).await);
    }
    let token = text(&sessions[0], "access_token").to_owned();
    let mut enders = JoinSet::new();
    for n in 0..50 {
        let target = text(&sessions[1 + n % 2], "session_id");
        let path = match n % 5 {
            4 => "/sessions".to_owned(),
            _ => format!("/sessions/{target}"),
        };
        let (mut client, token) = (Client::new(server.address), token.clone());
        enders.spawn(async move {
            let answer = client.api("DELETE", &path, None, Some(&token)).await;
            answer.unwrap().status
        });
    }
    for status in enders.join_all().await {
        assert!([200, 204, 404].contains(&status), "{status}");
    }
    let events = events(&server).await;
    check::whole(&events);
    let endings = endings(&events);
    for session in &sessions[1..] {
        let of_it = &endings[text(session, "session_id")];
        assert_eq!(of_it, &["terminated"]);
    }
    assert_eq!(endings.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_used_ends_by_itself() {
    let options = Options::unlimited()
        .env("QUIVIVE__SESSIONS__IDLE_SECONDS", "5")
        .env("QUIVIVE__SESSIONS__ABSOLUTE_SECONDS", "3600");
    let server = Server::start(BINARY, options).await;
    server.register("ada@example.org").await;
    let session = server.login("ada@example.org", PASSWORD).await;
    let ended = |events: &[Value]| {
        let endings = endings(events);
        endings.get(text(&session, "session_id")).cloned()
    };
    // Whoever looks signs in anew each time: their own session would be over.
    let began = std::time::Instant::now();
    let mut seen = Vec::new();
    while ended(&seen).is_none() && began.elapsed().as_secs() < 30 {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        seen = events(&server).await;
    }
    assert_eq!(ended(&seen), Some(vec!["expired".to_owned()]));
    let event = seen.iter().find(|e| e["type"] == "session.expired");
    let event = event.unwrap();
    assert_eq!(event["data"]["reason"], "idle");
    assert_eq!(event["actor"]["kind"], "system");
}

/// Who signs in while they are locked gets in before it or not at all: nothing that was given out is good afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_locked_while_they_sign_in_is_out() {
    let server = server().await;
    let user = server.register("ada@example.org").await;
    let admin = server.administrator().await;
    let mut sign_ins = JoinSet::new();
    for _ in 0..8 {
        let mut client = Client::new(server.address);
        let body = serde_json::json!({"email": "ada@example.org", "password": PASSWORD});
        sign_ins.spawn(async move {
            let answer = client.api("POST", "/sessions", Some(body), None).await;
            let answer = answer.unwrap();
            (answer.status, answer.json())
        });
    }
    let path = format!("/admin/users/{user}/lock");
    let locked = server.api("POST", &path, None, Some(&admin)).await;
    locked.expect(204);
    let mut given = Vec::new();
    for (status, answer) in sign_ins.join_all().await {
        match status {
            200 => given.push(answer),
            403 => assert_eq!(answer["code"], "account_locked"),
            // Its commit missed too often: it was not let in either.
            other => assert_eq!(other, 503, "{answer}"),
        }
    }
    for tokens in &given {
        let body = serde_json::json!({"refresh_token": tokens["refresh_token"]});
        post(&server, "/tokens", body).await.expect(401);
    }
    let events = events(&server).await;
    check::whole(&events);
    let endings = endings(&events);
    for tokens in &given {
        let of_it = &endings[text(tokens, "session_id")];
        assert_eq!(of_it, &["invalidated"]);
    }
}

/// The oldest makes room: at everybody's number, at that of a role, and at a person's own.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_as_many_sessions_as_they_may_loses_the_oldest() {
    let data = std::env::temp_dir().join(format!("quivive-limits-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&data);
    std::fs::create_dir_all(&data).unwrap();
    let limited = Options {
        data: Some(data.clone()),
        ..Options::unlimited()
    }
    .env("QUIVIVE__SESSIONS__MAX_PER_USER", "3")
    .env("QUIVIVE__SESSIONS__MAX_PER_ROLE", "admin=2");
    let mut server = Server::start(BINARY, limited.clone()).await;
    let ada = server.register("ada@example.org").await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(server.login("ada@example.org", PASSWORD).await);
    }
    assert_eq!(listed(&server, &sessions[3]).await.len(), 3);
    server.administrator().await;
    let root = async |server: &Server| {
        let secret = "an administrators long passphrase 7";
        server.login("root@example.org", secret).await
    };
    root(&server).await;
    let third = root(&server).await;
    assert_eq!(listed(&server, &third).await.len(), 2);
    server.stop().await;

    let limited = limited.env("QUIVIVE__SESSIONS__MAX_OF_USERS", &format!("{ada}=1"));
    let mut server = Server::start(BINARY, limited).await;
    sessions.push(server.login("ada@example.org", PASSWORD).await);
    assert_eq!(listed(&server, &sessions[4]).await.len(), 1);
    let seen = server
        .events(text(&root(&server).await, "access_token"))
        .await;
    let evicted = |whose: &dyn Fn(&Value) -> bool| -> Vec<(Value, Value)> {
        let evicted = seen.iter().filter(|e| e["type"] == "session.evicted");
        let told = evicted.map(|e| &e["data"]).filter(|data| whose(data));
        told.map(|data| (data["session_id"].clone(), data["max_sessions"].clone()))
            .collect()
    };
    let at = |n: usize, max: u32| (sessions[n]["session_id"].clone(), max.into());
    let hers = evicted(&|data| data["user_id"] == ada.as_str());
    assert_eq!(hers, [at(0, 3), at(1, 1), at(2, 1), at(3, 1)]);
    let others = evicted(&|data| data["user_id"] != ada.as_str());
    let limits: Vec<_> = others.iter().map(|(_, max)| max.clone()).collect();
    assert_eq!(limits, [2, 2], "of the administrator");
    server.stop().await;
    std::fs::remove_dir_all(&data).unwrap();
}
