use axum::http::Method;
use quivive_app::ports::{Answer, CallError};
use quivive_app::testing::{account, given};
use quivive_domain::Role;
use quivive_domain::webhook::Refused;
use serde_json::{Value, json};

use crate::testing::{Ask, Server, ask, get, post};

const ROOT: &str = "/api/v1/admin/webhooks";

struct Desk {
    server: Server,
    token: String,
}

async fn desk() -> Desk {
    let server = Server::new(given(account().verified().role(Role::Admin)));
    let token = server.access_token().await;
    Desk { server, token }
}

impl Desk {
    async fn send(&self, ask: Ask) -> crate::testing::Answer {
        self.server.send(ask.token(&self.token)).await
    }

    async fn post(&self, path: &str, body: &Value) -> crate::testing::Answer {
        self.send(post(&format!("{ROOT}{path}"), body)).await
    }

    /// A new endpoint, and the path of it.
    async fn registered(&self) -> (Value, String) {
        let body = json!({"url": "https://hooks.example.org/in", "events": ["session.*"], "order": "key", "signatures": "v1"});
        let answer = self.post("", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let endpoint = answer.json();
        let path = format!("/{}", endpoint["id"].as_str().unwrap());
        (endpoint, path)
    }
}

#[tokio::test]
async fn an_endpoint_from_its_registration_to_its_end() {
    let desk = desk().await;
    let (made, path) = desk.registered().await;
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let want = json!({
        "url": "https://hooks.example.org/in", "events": ["session.*"], "order": "key", "state": "active",
        "signatures": "v1",
        "description": "", "disabled_reason": null, "created_by": desk.server.scene.user,
    });
    for (name, value) in want.as_object().unwrap() {
        assert_eq!(made[name], *value, "{name}");
    }
    let url = format!("{ROOT}{path}");
    let read = desk.send(get(&url)).await.json();
    assert!(read.get("secret").is_none());
    assert_eq!(read["public_keys"], json!([made["public_key"]]));
    let list = desk.send(get(ROOT)).await;
    assert_eq!(list.json()["data"][0]["id"], made["id"]);
    assert!(!list.body.contains("whsec_"));

    let edit = json!({"description": "the shop's", "events": [], "signatures": "v1a"});
    let edited = desk
        .send(ask(&Method::PATCH, &url).body(&edit))
        .await
        .json();
    assert_eq!(
        (
            &edited["description"],
            &edited["events"],
            &edited["signatures"]
        ),
        (&json!("the shop's"), &json!([]), &json!("v1a"))
    );
    assert!(edited["schema_versions"].as_object().unwrap().len() > 20);

    let rotated = desk
        .post(&format!("{path}/secret-rotations"), &json!({}))
        .await;
    assert_eq!(
        (rotated.status, rotated.header("cache-control")),
        (201, "no-store")
    );
    assert_ne!(rotated.json()["secret"], made["secret"]);
    let read = desk.send(get(&url)).await.json();
    let keys = json!([rotated.json()["public_key"], made["public_key"]]);
    assert_eq!(read["public_keys"], keys);

    let disabled = desk
        .post(&format!("{path}/disable"), &json!({}))
        .await
        .json();
    assert_eq!(
        (&disabled["state"], &disabled["disabled_reason"]),
        (&json!("disabled"), &json!("operator"))
    );
    let enabled = desk
        .post(&format!("{path}/enable"), &json!({}))
        .await
        .json();
    assert_eq!(
        (&enabled["state"], &enabled["disabled_reason"]),
        (&json!("active"), &json!(null))
    );

    assert_eq!(desk.send(ask(&Method::DELETE, &url)).await.status, 204);
    assert_eq!(
        desk.send(get(&url)).await.problem(),
        (404, "not_found".to_owned())
    );
    let kinds = desk.server.scene.world.kinds();
    let changes = kinds
        .iter()
        .filter(|kind| *kind == "webhook.endpoint_change.succeeded");
    assert_eq!(changes.count(), 6, "each change is in the log");
}

#[tokio::test]
async fn a_test_says_what_came_of_it_and_the_attempts_keep_it() {
    let desk = desk().await;
    let (_, path) = desk.registered().await;
    for (answer, status, error) in [
        (
            Answer {
                status: 204,
                retry_after: None,
            },
            204,
            json!(null),
        ),
        (
            Answer {
                status: 500,
                retry_after: None,
            },
            500,
            json!("answered 500"),
        ),
    ] {
        desk.server.scene.world.answers(Ok(answer));
        let told = desk.post(&format!("{path}/test"), &json!({})).await.json();
        assert_eq!((&told["status"], &told["error"]), (&json!(status), &error));
        assert_eq!(told["event_type"], "webhook.test");
    }
    let attempts = desk
        .send(get(&format!("{ROOT}{path}/attempts")))
        .await
        .json();
    assert_eq!(
        (
            &attempts["data"][0]["status"],
            &attempts["data"][1]["status"]
        ),
        (&json!(500), &json!(204))
    );
}

#[tokio::test]
async fn a_recovery_begins() {
    let desk = desk().await;
    let (_, path) = desk.registered().await;
    let recoveries = format!("{path}/recoveries");
    for body in [
        json!({}),
        json!({"after": 1, "since": "2026-01-01T00:00:00Z"}),
        json!({"after": u64::MAX}),
    ] {
        let answer = desk.post(&recoveries, &body).await;
        assert_eq!(answer.problem(), (422, "invalid_fields".to_owned()));
    }
    let begun = desk
        .post(&recoveries, &json!({"since": "2026-01-01T00:00:00Z"}))
        .await;
    assert_eq!(
        (begun.status, begun.json()["after"].as_u64()),
        (202, Some(0))
    );
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let desk = desk().await;
    let world = &desk.server.scene.world;
    world.refuses("inside.example", CallError::Refused(Refused::Private));
    world.refuses("port.example", CallError::Refused(Refused::Port));
    world.refuses("nowhere.example", CallError::Unresolved);
    let long = "x".repeat(201);
    let many = vec!["user.*"; 65];
    for (body, code, pointer) in [
        (json!({"url": "ftp://a.example"}), "invalid_url", "/url"),
        (
            json!({"url": "https://u:p@a.example"}),
            "invalid_url",
            "/url",
        ),
        (
            json!({"url": "https://port.example:22"}),
            "invalid_url",
            "/url",
        ),
        (
            json!({"url": "https://inside.example"}),
            "private_address",
            "/url",
        ),
        (
            json!({"url": "https://nowhere.example"}),
            "unresolved_host",
            "/url",
        ),
        (json!({}), "invalid_fields", "/url"),
        (
            json!({"url": "https://a.example", "events": ["user.*", "no.such"]}),
            "invalid_fields",
            "/events/1",
        ),
        (
            json!({"url": "https://a.example", "events": many}),
            "invalid_fields",
            "/events",
        ),
        (
            json!({"url": "https://a.example", "events": "user.*"}),
            "invalid_fields",
            "/events",
        ),
        (
            json!({"url": "https://a.example", "order": "time"}),
            "invalid_fields",
            "/order",
        ),
        (
            json!({"url": "https://a.example", "signatures": "v2"}),
            "invalid_fields",
            "/signatures",
        ),
        (
            json!({"url": "https://a.example", "description": long}),
            "invalid_fields",
            "/description",
        ),
        (
            json!({"url": "https://a.example", "secret": "mine"}),
            "invalid_fields",
            "/secret",
        ),
    ] {
        let answer = desk.post("", &body).await;
        assert_eq!(answer.problem(), (422, code.to_owned()), "{body}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
        assert!(!answer.body.contains("u:p@"), "{answer:?}");
    }
    let (_, path) = desk.registered().await;
    let edit = ask(&Method::PATCH, &format!("{ROOT}{path}")).body(&json!({"schema_versions": "1"}));
    assert_eq!(
        desk.send(edit).await.problem(),
        (422, "invalid_fields".to_owned())
    );
    for path in ["/nonsense", "/00000000-0000-0000-0000-000000000000"] {
        for action in ["enable", "disable", "secret-rotations", "test"] {
            let answer = desk.post(&format!("{path}/{action}"), &json!({})).await;
            assert_eq!(
                answer.problem(),
                (404, "not_found".to_owned()),
                "{path} {action}"
            );
        }
        let answer = desk.send(get(&format!("{ROOT}{path}/attempts"))).await;
        assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn an_edit_of_what_others_changed_since_is_refused() {
    let desk = desk().await;
    let (_, path) = desk.registered().await;
    let url = format!("{ROOT}{path}");
    let edit = async |description: &str, made_of: Option<&str>| {
        let change = json!({"description": description});
        let ask = ask(&Method::PATCH, &url).body(&change);
        let ask = match made_of {
            Some(tag) => ask.header("if-match", tag),
            None => ask,
        };
        desk.send(ask).await
    };
    let read = async || desk.send(get(&url)).await;
    let first = read().await.header("etag").to_owned();
    let edited = edit("one", Some(&first)).await;
    assert_eq!(edited.status, 200, "{edited:?}");
    let second = edited.header("etag").to_owned();
    assert_ne!(second, first);
    assert_eq!(read().await.header("etag"), second);

    let late = edit("two", Some(&first)).await;
    assert_eq!(late.problem(), (412, "precondition_failed".to_owned()));
    assert_eq!(read().await.json()["description"], "one");
    for (description, made_of) in [
        ("three", Some(format!("{first}, {second}"))),
        ("four", Some("*".to_owned())),
        ("five", None),
    ] {
        let edited = edit(description, made_of.as_deref()).await;
        assert_eq!(edited.status, 200, "{edited:?}");
        assert_eq!(edited.json()["description"], description);
    }
    let disabled = desk.post(&format!("{path}/disable"), &json!({})).await;
    assert_ne!(disabled.header("etag"), second, "that is a change too");
}
