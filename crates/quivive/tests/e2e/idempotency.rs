//! Requests that are sent again with the same `Idempotency-Key`: at once, after a restart, and by who did not wait.

use std::net::SocketAddr;

use quivive_testkit::client::Call;
use quivive_testkit::{Client, Reply, Server};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::server;

async fn rotate(address: SocketAddr, admin: &str, key: &str) -> Reply {
    let body = json!({"reason": "yearly", "grace_period_seconds": 300});
    let call = Call {
        method: "POST",
        path: "/api/v1/admin/rotations",
        body: Some(body.to_string().into_bytes()),
        token: Some(admin),
        headers: vec![("idempotency-key", key.to_owned())],
    };
    Client::new(address).call(&call).await.unwrap()
}

async fn rotations(server: &Server, admin: &str) -> usize {
    let of_rotations = |event: &&Value| {
        let kind = event["type"].as_str().unwrap_or_default();
        kind.starts_with("token.global_rotation.")
    };
    server
        .events(admin)
        .await
        .iter()
        .filter(of_rotations)
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_at_once_one_changes_something_also_after_a_restart() {
    let mut server = server().await;
    let admin = server.administrator().await;
    let mut asks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (address, admin) = (server.address, admin.clone());
        asks.spawn(async move { rotate(address, &admin, "once").await });
    }
    let mut versions = Vec::new();
    for reply in asks.join_all().await {
        match reply.status {
            200 => versions.push(reply.json()["new_version"].clone()),
            status => assert_eq!(
                (status, reply.code().as_str()),
                (409, "idempotency_in_progress")
            ),
        }
    }
    assert!(
        !versions.is_empty() && versions.iter().all(|it| *it == 2),
        "{versions:?}"
    );
    assert_eq!(
        rotations(&server, &admin).await,
        2,
        "attempted and succeeded"
    );
    server.stop().await;
    server.restart().await;
    let again = rotate(server.address, &admin, "once").await.expect(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json()["new_version"], 2);
    assert_eq!(rotations(&server, &admin).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_before_the_answer_finds_it_later() {
    let server = server().await;
    let admin = server.administrator().await;
    let body = json!({"reason": "yearly", "grace_period_seconds": 300}).to_string();
    let head = format!(
        "POST /api/v1/admin/rotations HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {admin}\r\nContent-Type: application/json\r\n\
         Idempotency-Key: impatient\r\nContent-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    );
    for _ in 0..20 {
        let mut stream = tokio::net::TcpStream::connect(server.address)
            .await
            .unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        drop(stream);
    }
    let answered = loop {
        let reply = rotate(server.address, &admin, "impatient").await;
        if reply.status != 409 {
            break reply.expect(200);
        }
        assert_eq!(reply.code(), "idempotency_in_progress");
    };
    assert_eq!(answered.json()["new_version"], 2);
    assert_eq!(rotations(&server, &admin).await, 2);
}
