//! Services: their keys, and the events that they append; and the events of a program that embeds the server.

use quivive_testkit::experiments::ground::Ground;
use quivive_testkit::{Options, Reply, Server};
use serde_json::{Value, json};

use crate::support::BINARY;

#[expect(dead_code, reason = "its `main`, which is for people")]
#[path = "../../examples/custom_event.rs"]
mod custom_event;

fn order(order: &str) -> Value {
    json!({"type": "custom.order", "data": {"order": order}})
}

async fn key(server: &Server, admin: &str, scopes: Value) -> Value {
    let body = json!({"name": "shop", "scopes": scopes});
    let made = server.api("POST", "/admin/api-keys", Some(body), Some(admin));
    made.await.expect(201).json()
}

async fn append(server: &Server, key: &str, body: Value) -> Reply {
    server.api("POST", "/events", Some(body), Some(key)).await
}

/// The orders in the feed.
async fn orders(server: &Server, key: &str) -> Vec<String> {
    let page = server
        .api("GET", "/events?type=custom.*", None, Some(key))
        .await;
    let page = page.expect(200).json();
    let events = page["data"].as_array().unwrap().iter();
    events
        .map(|event| {
            assert_eq!(event["actor"]["kind"], "service");
            event["data"]["order"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_appends_events_that_outlive_a_restart_until_its_key_is_revoked() {
    let mut server = Server::start(BINARY, Options::unlimited()).await;
    let admin = server.administrator().await;
    let made = key(&server, &admin, json!(["events.read", "events.write"])).await;
    let secret = made["key"].as_str().unwrap().to_owned();
    append(&server, &secret, order("o1")).await.expect(422);
    let schema = json!({"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]});
    let registration =
        json!({"type": "custom.order", "version": 1, "schema": schema, "key": "/order"});
    let registered = server
        .api("POST", "/admin/schemas", Some(registration), Some(&admin))
        .await;
    registered.expect(201);
    append(&server, &secret, json!([order("o1"), order("o2")]))
        .await
        .expect(201);
    let mut once = order("o3");
    once["id"] = json!("00000000-0000-0000-0000-000000000003");
    let first = append(&server, &secret, once.clone())
        .await
        .expect(201)
        .json();

    server.kill().await;
    server.restart().await;
    let again = append(&server, &secret, once).await.expect(201).json();
    assert_eq!(again, first);
    append(&server, &secret, order("o4")).await.expect(201);
    assert_eq!(orders(&server, &secret).await, ["o1", "o2", "o3", "o4"]);

    let path = format!("/admin/api-keys/{}", made["id"].as_str().unwrap());
    server
        .api("DELETE", &path, None, Some(&admin))
        .await
        .expect(204);
    append(&server, &secret, order("o5")).await.expect(401);
    let verified = server.verify().await;
    assert_eq!(verified["ok"], true, "{verified}");
    let data = Ground::of(&server.data).contents();
    // The secret itself may hold an underscore.
    let tail = secret.splitn(3, '_').last().unwrap().as_bytes();
    assert!(
        !data.windows(tail.len()).any(|bytes| bytes == tail),
        "the secret is at rest"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_embeds_the_server_has_events_of_its_own() {
    let directory = std::env::temp_dir().join(format!("quivive-embedded-{}", std::process::id()));
    let ran = custom_event::run(&directory).await;
    std::fs::remove_dir_all(&directory).unwrap();
    let (told, kinds) = ran.unwrap();
    assert_eq!(told, "order 2 has 3 lines");
    let want = [
        "shop.order.attempted",
        "shop.order.failed",
        "shop.order.attempted",
        "shop.order.succeeded",
        "shop.stock_reserved",
    ];
    assert_eq!(kinds, want);
}
