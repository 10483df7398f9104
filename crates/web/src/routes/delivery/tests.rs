//! Subscriptions and dead letters over HTTP, on a world whose engine only counts.

use quivive_app::testing::{FakeSubscription, account, account_of, given};
use quivive_domain::Role;
use serde_json::{Value, json};

use crate::testing::{Server, ask, get, post};
use axum::http::Method;

const LETTERS: &str = "/api/v1/admin/dead-letters";

/// A server with an administrator who signed in, and `email`, for which the log's first event is parked.
async fn server() -> (Server, String) {
    let scene = given(account().verified())
        .and(account_of("root@example.org").verified().role(Role::Admin));
    let email = FakeSubscription {
        parked: 2,
        ..FakeSubscription::default()
    };
    scene
        .world
        .change(|s| s.subscriptions.insert("email".to_owned(), email));
    let server = Server::new(scene);
    let token = server.access_token().await;
    (server, token)
}

fn kinds(server: &Server) -> Vec<String> {
    let kinds = server.scene.world.kinds();
    let ours = |kind: &&String| kind.starts_with("delivery.");
    kinds.iter().filter(ours).cloned().collect()
}

#[tokio::test]
async fn a_subscription_is_paused_and_resumed_once() {
    let (server, token) = server().await;
    let path = |action: &str| format!("/api/v1/admin/subscriptions/email/{action}");
    for (action, answer) in [
        ("resume", (409, "wrong_state")),
        ("pause", (204, "")),
        ("pause", (409, "wrong_state")),
        ("resume", (204, "")),
    ] {
        let said = server
            .send(ask(&Method::POST, &path(action)).token(&token))
            .await;
        assert_eq!(said.status, answer.0, "{action} {said:?}");
        if said.status != 204 {
            assert_eq!(said.problem().1, answer.1);
        }
    }
    let nobody = server
        .send(ask(&Method::POST, "/api/v1/admin/subscriptions/emial/pause").token(&token))
        .await;
    assert_eq!(nobody.problem(), (404, "not_found".to_owned()));
    let attempted = "delivery.subscription_change.attempted";
    let all = kinds(&server);
    assert_eq!(all.iter().filter(|kind| *kind == attempted).count(), 5);
    let list = server
        .send(get("/api/v1/admin/subscriptions").token(&token))
        .await;
    assert_eq!(list.json()["data"][0]["name"], "email");
}

#[tokio::test]
async fn a_replay_is_counted_or_begun_by_a_workflow() {
    let (server, token) = server().await;
    let path = |name: &str| format!("/api/v1/admin/subscriptions/{name}/replay");
    for (body, status, want) in [
        (
            json!({"from": 2, "to": 7, "dry_run": true}),
            202,
            json!({"count": 6, "dry_run": true}),
        ),
        (
            json!({"from": 2, "to": 7}),
            202,
            json!({"count": 6, "dry_run": false}),
        ),
        (json!({}), 202, json!({"count": 9, "dry_run": false})),
    ] {
        let answer = server.send(post(&path("email"), &body).token(&token)).await;
        assert_eq!((answer.status, answer.json()), (status, want), "{body}");
        // It ends before the next.
        server.scene.world.change(|s| {
            let known = s.subscriptions.get_mut("email");
            known.expect("it is there").replaying = None;
        });
    }
    for (name, body, problem) in [
        ("email", json!({"from": 7, "to": 2}), (409, "wrong_state")),
        (
            "email",
            json!({"from": 7, "to": 2, "dry_run": true}),
            (409, "wrong_state"),
        ),
        ("emial", json!({}), (404, "not_found")),
        ("emial", json!({"dry_run": true}), (404, "not_found")),
        ("email", json!({"form": 7}), (422, "invalid_fields")),
    ] {
        let answer = server.send(post(&path(name), &body).token(&token)).await;
        assert_eq!(
            answer.problem(),
            (problem.0, problem.1.to_owned()),
            "{body}"
        );
    }
    let attempted = "delivery.subscription_change.attempted";
    let all = kinds(&server);
    assert_eq!(all.iter().filter(|kind| *kind == attempted).count(), 4);
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let (server, token) = server().await;
    for (path, more) in [
        ("redrive", json!({})),
        ("discard", json!({"reason": "no use"})),
    ] {
        let mut body = json!({"subscription": "email", "choice": {}, "dry_run": true});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let path = format!("{LETTERS}/{path}");
        let answer = server.send(post(&path, &body).token(&token)).await;
        assert_eq!(answer.json(), json!({"count": 2, "dry_run": true}));
    }
    assert!(kinds(&server).is_empty());
}

#[tokio::test]
async fn what_is_redriven_is_not_there_to_be_discarded() {
    let (server, token) = server().await;
    let body = json!({"subscription": "email", "choice": {"error_class": "poison"}, "rate": 5});
    let answer = server
        .send(post(&format!("{LETTERS}/redrive"), &body).token(&token))
        .await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"count": 2, "dry_run": false}))
    );
    let body = json!({"subscription": "email", "choice": {}, "reason": "no use"});
    let answer = server
        .send(post(&format!("{LETTERS}/discard"), &body).token(&token))
        .await;
    assert_eq!(answer.problem(), (409, "wrong_state".to_owned()));
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_refused_by_their_field() {
    let (server, token) = server().await;
    for (path, body, pointer) in [
        ("redrive", json!({"choice": {}}), "/subscription"),
        ("redrive", json!({"subscription": "email"}), "/choice"),
        (
            "redrive",
            json!({"subscription": "email", "choice": {}, "rate": 0}),
            "/rate",
        ),
        (
            "redrive",
            json!({"subscription": "email", "choice": {"clas": "poison"}}),
            "/choice/clas",
        ),
        (
            "redrive",
            json!({"subscription": "email", "choice": {"since": "yesterday"}}),
            "/choice/since",
        ),
        (
            "discard",
            json!({"subscription": "email", "choice": {}}),
            "/reason",
        ),
        (
            "discard",
            json!({"subscription": "email", "choice": {}, "reason": "  "}),
            "/reason",
        ),
    ] {
        let answer = server
            .send(post(&format!("{LETTERS}/{path}"), &body).token(&token))
            .await;
        assert_eq!(
            answer.problem(),
            (422, "invalid_fields".to_owned()),
            "{body}"
        );
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
    }
    assert!(kinds(&server).is_empty());
}

#[tokio::test]
async fn the_list_and_one_of_it_say_how_it_failed_and_what_waits() {
    let (server, token) = server().await;
    let page = server.send(get(LETTERS).token(&token)).await.json();
    let letter = &page["data"][0];
    assert_eq!(
        (
            &letter["subscription"],
            &letter["error_class"],
            &letter["position"]
        ),
        (&json!("email"), &json!("poison"), &json!(1))
    );
    assert_eq!(page["groups"][0]["count"], 1);
    assert_eq!(
        (&page["has_more"], &page["next_cursor"]),
        (&json!(false), &Value::Null)
    );

    let id = letter["event_id"].as_str().unwrap();
    let one = server
        .send(get(&format!("{LETTERS}/email/{id}")).token(&token))
        .await
        .json();
    assert_eq!(one["event"]["id"], id);
    assert_eq!(one["behind"], 3);
    for path in ["email/00000000-0000-0000-0000-000000000000", "email/x"] {
        let answer = server
            .send(get(&format!("{LETTERS}/{path}")).token(&token))
            .await;
        assert_eq!(answer.problem(), (404, "not_found".to_owned()));
    }
    for query in [
        "?error_class=bad",
        "?since=x",
        "?limit=0",
        "?what=1",
        "?event_id=1",
    ] {
        let answer = server
            .send(get(&format!("{LETTERS}{query}")).token(&token))
            .await;
        assert_eq!(
            answer.problem(),
            (400, "invalid_query".to_owned()),
            "{query}"
        );
    }
    let answer = server
        .send(get(&format!("{LETTERS}?after=zz")).token(&token))
        .await;
    assert_eq!(answer.problem(), (400, "invalid_cursor".to_owned()));
}
