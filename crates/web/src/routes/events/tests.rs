//! The feed over an in-memory log.

mod appended;
mod cursors;
mod made;
mod personal;
mod search;
mod stream;

use std::sync::Arc;

use quivive_app::testing::{account, account_of, given};
use quivive_domain::Role;
use serde_json::{Value, json};

use crate::testing::{Answer, Server, URL, get, post};

/// A server with an administrator who signed in, after somebody else registered and failed to sign in.
async fn server() -> (Server, String) {
    let scene = given(account().verified())
        .and(account_of("root@example.org").verified().role(Role::Admin));
    let server = Server::new(scene);
    let register = json!({"email": "eve@example.org", "password": "violet anvil canyon spoon"});
    assert_eq!(
        server.send(post("/api/v1/users", &register)).await.status,
        202
    );
    let wrong = json!({"email": "ada@example.org", "password": "wrong"});
    let ask = post("/api/v1/sessions", &wrong)
        .header("user-agent", "bars/1")
        .from("192.0.2.9");
    assert_eq!(server.send(ask).await.status, 401);
    let token = server.access_token().await;
    (server, token)
}

async fn feed(server: &Server, token: &str, query: &str) -> Answer {
    server
        .send(get(&format!("/api/v1/events{query}")).token(token))
        .await
}

fn types(page: &Value) -> Vec<&str> {
    page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn the_feed_is_whole_and_in_order_page_by_page() {
    let (server, token) = server().await;
    let log = server.scene.world.log();
    let (mut after, mut all) = (0, Vec::new());
    loop {
        let page = feed(&server, &token, &format!("?after={after}&limit=3"))
            .await
            .json();
        let data = page["data"].as_array().unwrap();
        all.extend(data.iter().map(|event| event["position"].as_u64().unwrap()));
        after = page["next_cursor"].as_u64().unwrap();
        assert_eq!(page["epoch"], 1);
        if !page["has_more"].as_bool().unwrap() {
            break;
        }
    }
    assert_eq!(all, (1..=log.len() as u64).collect::<Vec<_>>());
    let end = feed(&server, &token, &format!("?after={after}"))
        .await
        .json();
    assert_eq!(
        end,
        json!({"data": [], "next_cursor": after, "has_more": false, "epoch": 1})
    );
}

#[tokio::test]
async fn an_event_shows_its_envelope_and_hides_what_is_personal() {
    let (server, token) = server().await;
    let page = feed(&server, &token, "?type=UserLoginFailed").await.json();
    assert_eq!(types(&page), ["user.login.failed"]);
    let event = &page["data"][0];
    let names: Vec<_> = event
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let want = [
        "actor",
        "category",
        "causation_id",
        "correlation_id",
        "data",
        "epoch",
        "id",
        "ip_address",
        "position",
        "priority",
        "recorded_at",
        "request_id",
        "subject",
        "time",
        "traceparent",
        "type",
        "user_agent",
        "version",
        "workflow_id",
    ];
    assert_eq!(names, want);
    assert_eq!(
        (&event["ip_address"], &event["user_agent"]),
        (&json!("192.0.2.9"), &json!("bars/1"))
    );
    assert_eq!(event["actor"], json!({"kind": "anonymous"}));
    assert_eq!(event["request_id"].as_str().unwrap().len(), 36);
    assert_eq!(
        (&event["priority"], &event["category"]),
        (&json!("high"), &json!("security"))
    );
    assert!(
        event["data"]["email"].is_null()
            && event["data"].as_object().unwrap().contains_key("email")
    );
    assert_eq!(event["data"]["reason"], "invalid_credentials");
    assert!(event["time"].as_str().unwrap().ends_with('Z'));
    let all = feed(&server, &token, "?limit=250").await;
    assert!(!all.body.contains("example.org"), "addresses stay sealed");

    // A destroyed key takes what it sealed along and nothing else.
    let keys: Vec<_> = server
        .scene
        .world
        .log()
        .iter()
        .filter_map(|e| Some(e.context.as_ref()?.key.clone()))
        .collect();
    for key in &keys {
        server.scene.world.erase(key);
    }
    let erased = feed(&server, &token, "?type=user.login.failed")
        .await
        .json();
    assert!(erased["data"][0]["ip_address"].is_null() && erased["data"][0]["id"] == event["id"]);
}

#[tokio::test]
async fn filters_say_how_far_they_looked() {
    let (server, token) = server().await;
    let head = server.scene.world.log().len() as u64;
    for (query, all) in [
        ("?type=user.login.*", "user.login."),
        ("?type=*.attempted", ".attempted"),
    ] {
        let page = feed(&server, &token, query).await.json();
        assert!(
            !types(&page).is_empty() && types(&page).iter().all(|kind| kind.contains(all)),
            "{query}"
        );
        assert_eq!(
            (page["next_cursor"].as_u64(), &page["has_more"]),
            (Some(head), &json!(false))
        );
    }
    let first = feed(&server, &token, "?limit=1").await.json();
    let id = first["data"][0]["workflow_id"].as_str().unwrap();
    let workflow = feed(&server, &token, &format!("?workflow_id={id}"))
        .await
        .json();
    assert_eq!(
        types(&workflow),
        ["user.registration.attempted", "user.registration.succeeded"]
    );
    let none = feed(&server, &token, "?type=email.delivered").await.json();
    assert_eq!(
        (
            none["data"].as_array().map(Vec::len),
            none["next_cursor"].as_u64()
        ),
        (Some(0), Some(head))
    );
}

#[tokio::test]
async fn a_query_is_right_or_refused() {
    let (server, token) = server().await;
    let head = server.scene.world.log().len();
    for query in [
        "?after=x",
        "?after=-1",
        "?after=",
        "?after=%2B1",
        &format!("?after={}", head + 2),
        "?after=99999999999999999999",
    ] {
        assert_eq!(
            feed(&server, &token, query).await.problem(),
            (400, "invalid_cursor".to_owned()),
            "{query}"
        );
    }
    assert_eq!(
        feed(&server, &token, &format!("?after={}", head + 1))
            .await
            .status,
        200
    );
    for query in [
        "?limit=0",
        "?limit=251",
        "?limit=x",
        "?type=nothing",
        "?type=*",
        "?type=",
        "?type=usr.*",
        "?correlation_id=1",
        "?subject=",
        "?workflow_id=1",
        "?personal=1",
        "?offset=1",
        "?limit=1&limit=2",
    ] {
        let answer = feed(&server, &token, query).await;
        assert_eq!(
            answer.problem(),
            (400, "invalid_query".to_owned()),
            "{query}"
        );
        assert!(
            answer.json()["errors"][0]["pointer"]
                .as_str()
                .unwrap()
                .starts_with('?')
        );
    }
}

#[tokio::test]
async fn an_event_is_found_by_its_id_with_what_became_of_it() {
    let (server, token) = server().await;
    for stored in server.scene.world.log() {
        let id = stored.envelope.id;
        let event = server
            .send(get(&format!("/api/v1/events/{id}")).token(&token))
            .await
            .json();
        assert_eq!(
            (&event["id"], &event["position"]),
            (&json!(id), &json!(stored.position))
        );
        assert_eq!(
            event["deliveries"],
            json!([{"subscription": "email", "position": stored.position}])
        );
        assert_eq!(event["cause"], json!(stored.envelope.causation_id));
        let effects = event["effects"].as_array().unwrap();
        if stored.envelope.kind.ends_with(".attempted") {
            assert!(!effects.is_empty(), "{event}");
        }
    }
    for id in [
        "0195d4a0-0000-7000-8000-000000000001",
        "00000000-0000-4000-8000-000000000000",
        "1",
        "x",
    ] {
        let answer = server
            .send(get(&format!("/api/v1/events/{id}")).token(&token))
            .await;
        assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{id}");
    }
}

#[tokio::test]
async fn the_catalogue_is_that_of_the_kernel() {
    let (server, token) = server().await;
    let answer = server
        .send(get("/api/v1/events/catalogue").token(&token))
        .await;
    assert_eq!(
        answer.json(),
        serde_json::to_value(server.scene.kernel.catalogue().all()).unwrap()
    );
}

#[tokio::test]
async fn every_version_of_a_type_has_its_schema() {
    let (server, token) = server().await;
    let read = async |path: &str| server.send(get(path).token(&token)).await;
    let listed = read("/api/v1/events/schemas").await.json();
    let catalogue = server.scene.kernel.catalogue();
    assert_eq!(listed.as_array().unwrap().len(), catalogue.all().len());
    for (entry, spec) in listed.as_array().unwrap().iter().zip(catalogue.all()) {
        assert_eq!(
            (&entry["type"], &entry["version"], &entry["current"]),
            (&json!(spec.kind), &json!(spec.version), &json!(true))
        );
        let path = entry["schema"].as_str().unwrap();
        let schema = read(path.strip_prefix(URL).unwrap()).await;
        assert_eq!(
            (schema.status, schema.header("content-type"), schema.json()),
            (200, "application/schema+json", spec.schema.clone())
        );
    }
    for other in [
        "user.login.failed/2",
        "user.login.failed/0",
        "user.login.failed/x",
        "UserLoginFailed/1",
        "nothing/1",
    ] {
        let answer = read(&format!("/api/v1/events/schemas/{other}")).await;
        assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{other}");
    }
}

#[tokio::test]
async fn the_feed_is_a_batch_of_cloud_events_for_who_asks() {
    let (server, token) = server().await;
    let log = server.scene.world.log();
    let (mut query, mut all) = ("?limit=3&type=user.*".to_owned(), Vec::new());
    loop {
        let ask = get(&format!("/api/v1/events{query}"))
            .token(&token)
            .header("accept", "application/cloudevents-batch+json");
        let page = server.send(ask).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, "application/cloudevents-batch+json")
        );
        let link = page.header("link");
        let next = link
            .strip_prefix('<')
            .and_then(|link| link.strip_suffix(">; rel=\"next\""));
        let next = next.unwrap_or_else(|| panic!("{link}")).to_owned();
        assert!(next.ends_with("&epoch=1&limit=3&type=user.*"), "{next}");
        all.extend(page.json().as_array().unwrap().clone());
        if next == query {
            break;
        }
        query = next;
    }
    let wanted: Vec<_> = log
        .iter()
        .filter(|e| e.envelope.kind.starts_with("user."))
        .collect();
    assert_eq!(all.len(), wanted.len());
    for (message, stored) in all.iter().zip(wanted) {
        let kind = &stored.envelope.kind;
        assert_eq!(
            (
                &message["id"],
                &message["pos"],
                &message["source"],
                &message["dataschema"]
            ),
            (
                &json!(stored.envelope.id),
                &json!(stored.position.to_string()),
                &json!(URL),
                &json!(format!("{URL}/api/v1/events/schemas/{kind}/1"))
            )
        );
        let text = message.to_string();
        assert!(
            !text.contains("example.org") && !text.contains("192.0.2.9"),
            "{text}"
        );
    }
}
