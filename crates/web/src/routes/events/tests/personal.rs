//! Reading personal fields: who may, and what the log says of it.

use quivive_app::testing::PASSWORD;
use quivive_delivery::Stored;

use super::stream::Reader;
use super::*;

/// A key of the administrator with these scopes.
async fn key(server: &Server, token: &str, scopes: &[&str]) -> Value {
    let body = json!({"name": "export", "scopes": scopes});
    let made = server
        .send(post("/api/v1/admin/api-keys", &body).token(token))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    made.json()
}

/// What the log says of looking at it.
fn records(server: &Server) -> Vec<(Stored, Value)> {
    let log = server.scene.world.log().into_iter();
    let records = log.filter(|event| event.envelope.kind == "audit.log_created");
    records
        .map(|event| {
            let data = serde_json::from_slice(&event.body).unwrap();
            (event, data)
        })
        .collect()
}

#[tokio::test]
async fn an_administrator_who_asks_sees_them_and_that_is_on_record() {
    let (server, token) = server().await;
    let page = feed(&server, &token, "?personal=false&type=UserLoginFailed").await;
    assert!(page.json()["data"][0]["data"]["email"].is_null());
    assert_eq!(records(&server).len(), 0, "nothing personal was read");

    let page = feed(&server, &token, "?personal=true&type=UserLoginFailed").await;
    let page = page.json();
    let failed = &page["data"][0];
    assert_eq!(failed["data"]["email"], "ada@example.org");
    assert_eq!(failed["data"]["reason"], "invalid_credentials");
    let (event, data) = &records(&server)[0];
    let root = server.scene.account().id;
    let actor = &event.envelope.actor;
    assert_eq!((actor.kind.as_ref(), actor.id), ("admin", Some(root.0)));
    assert!(event.envelope.request_id.is_some());
    let position = &failed["position"];
    assert_eq!(
        *data,
        json!({
            "audit_id": data["audit_id"],
            "action": "personal_fields_read",
            "resource_type": "event",
            "resource_id": format!("type=user.login.failed&positions={position}-{position}"),
            "actor_id": root,
            "user_id": null,
        })
    );
}

#[tokio::test]
async fn a_key_needs_the_scope_and_is_named_in_the_record() {
    let (server, token) = server().await;
    let reads = key(&server, &token, &["events.read"]).await;
    let text = reads["key"].as_str().unwrap();
    for query in [
        "?personal=true",
        "/search?address=ada%40example.org",
        "/stream?personal=true",
    ] {
        let refused = feed(&server, text, query).await;
        assert_eq!(refused.problem(), (403, "forbidden".to_owned()), "{query}");
        assert!(refused.body.contains("events.read_personal"), "{query}");
    }
    assert_eq!(records(&server).len(), 0);
    let without = feed(&server, text, "?type=UserLoginFailed").await;
    assert!(without.json()["data"][0]["data"]["email"].is_null());

    let exports = key(&server, &token, &["events.read", "events.read_personal"]).await;
    let text = exports["key"].as_str().unwrap();
    let log = server.scene.world.log();
    let failed = log.iter().find(|e| e.envelope.kind == "user.login.failed");
    let user = failed
        .unwrap()
        .envelope
        .subject
        .clone()
        .expect("an account");
    let page = feed(&server, text, &format!("?personal=true&subject={user}")).await;
    assert!(page.body.contains("ada@example.org"), "{page:?}");
    let (event, data) = &records(&server)[0];
    let actor = &event.envelope.actor;
    assert_eq!(
        (actor.kind.as_ref(), json!(actor.id)),
        ("service", exports["id"].clone())
    );
    assert_eq!(
        (&data["user_id"], &data["actor_id"]),
        (&json!(user), &Value::Null)
    );
    let which = data["resource_id"].as_str().unwrap();
    assert!(
        which.starts_with(&format!("subject={user}&positions=")),
        "{which}"
    );
    let search = feed(&server, text, "/search?address=ada%40example.org").await;
    assert_eq!((search.status, records(&server).len()), (200, 2));
}

#[tokio::test]
async fn who_follows_the_log_comes_to_an_end_of_its_own_records() {
    let (server, token) = server().await;
    let (mut after, mut pages) = (0, 0);
    loop {
        let query = format!("?personal=true&limit=250&after={after}");
        let page = feed(&server, &token, &query).await.json();
        if page["next_cursor"] == after {
            break;
        }
        after = page["next_cursor"].as_u64().unwrap();
        pages += 1;
        assert!(pages < 9, "each page causes another");
    }
    assert_eq!(records(&server).len(), 1);
    assert_eq!(after, server.scene.world.log().len() as u64);
}

#[tokio::test]
async fn what_is_erased_is_null_and_a_batch_has_none() {
    let (server, token) = server().await;
    let log = server.scene.world.log();
    let failed = log.iter().find(|e| e.envelope.kind == "user.login.failed");
    let sealed = failed.unwrap().personal.as_ref().expect("an address");
    server.scene.world.erase(&sealed.key);
    let page = feed(&server, &token, "?personal=true&type=UserLoginFailed").await;
    let data = &page.json()["data"][0]["data"];
    assert!(data["email"].is_null() && data["reason"] == "invalid_credentials");

    let batch = get("/api/v1/events?personal=true")
        .token(&token)
        .header("accept", "application/cloudevents-batch+json");
    let refused = server.send(batch).await;
    assert_eq!(refused.problem(), (400, "invalid_query".to_owned()));
    assert_eq!(refused.json()["errors"][0]["pointer"], "?personal");
}

#[tokio::test]
async fn a_stream_shows_them_as_the_feed_does() {
    let (server, token) = server().await;
    let query = "?personal=true&after=0&type=UserLoginFailed";
    let mut reader = Reader::open(&server, &token, query, None).await;
    let first = &reader.events(1).await[0].1;
    assert_eq!(first["data"]["email"], "ada@example.org");
    assert_eq!(records(&server).len(), 1);
    let wrong = json!({"email": "eve@example.org", "password": PASSWORD});
    server.send(post("/api/v1/sessions", &wrong)).await;
    let second = &reader.events(1).await[0].1;
    assert_eq!(second["data"]["email"], "eve@example.org");
    let which = records(&server)[1].1["resource_id"].clone();
    let position = &second["position"];
    assert_eq!(
        which,
        format!("type=user.login.failed&positions={position}-{position}")
    );
}
