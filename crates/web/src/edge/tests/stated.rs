//! Backends that say for whom they ask.

use quivive_app::testing::PASSWORD;

use super::*;
use crate::testing::Ask;

const BACKEND: &str = "192.0.2.7";

/// A server with limits, an administrator's token, and a key of a backend with that scope.
async fn server(scope: &str) -> (Server, String, Value) {
    let admin = given(account().verified().role(Role::Admin));
    let server = Server::with(admin, |web| web.options.rate_limits = true);
    let token = server.access_token().await;
    let body = json!({"name": "backend", "scopes": [scope]});
    let made = server
        .send(post("/api/v1/admin/api-keys", &body).token(&token))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    (server, token, made.json())
}

fn with(ask: Ask, key: &Value, user: &str) -> Ask {
    ask.from(BACKEND)
        .header("quivive-api-key", key["key"].as_str().unwrap())
        .header("quivive-client-ip", user)
}

#[tokio::test(start_paused = true)]
async fn a_backend_with_the_scope_asks_for_its_users_each_with_limits_of_its_own() {
    let (server, _, key) = server("client.forward").await;
    for number in 0..40 {
        let user = format!("203.0.113.{number}");
        let answer = server.send(with(sign_in(), &key, &user)).await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert_eq!(answer.header("ratelimit-remaining"), "29");
    }
    for left in (0..29).rev() {
        let answer = server.send(with(sign_in(), &key, "203.0.113.1")).await;
        assert_eq!(answer.header("ratelimit-remaining"), left.to_string());
    }
    let events = server.scene.world.log().len();
    let answer = server.send(with(sign_in(), &key, "203.0.113.1")).await;
    assert_eq!(answer.status, 429);
    // Nor is one of them everybody: a /64 is one.
    for left in [29, 28] {
        let user = format!("2001:db8::{left}");
        let answer = server.send(with(sign_in(), &key, &user)).await;
        assert_eq!(answer.header("ratelimit-remaining"), left.to_string());
    }
    assert_eq!(server.scene.world.log().len(), events + 4);
    // The backend itself has asked for nothing yet.
    let own = server.send(sign_in().from(BACKEND)).await;
    assert_eq!(own.header("ratelimit-remaining"), "29");
}

#[tokio::test(start_paused = true)]
async fn events_and_sessions_have_the_stated_address() {
    let (server, _, key) = server("client.forward").await;
    let email = server.scene.account().email.typed().to_owned();
    let body = json!({"email": email, "password": PASSWORD});
    let answer = server
        .send(with(post("/api/v1/sessions", &body), &key, "203.0.113.5"))
        .await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let listed = server.send(get("/api/v1/sessions").token(&token)).await;
    let listed = listed.json();
    let current = listed["data"].as_array().unwrap();
    let current = current.iter().find(|it| it["current"] == true).unwrap();
    assert_eq!(current["ip_address"], "203.0.113.5");
}

#[tokio::test(start_paused = true)]
async fn what_others_state_is_nothing() {
    let (server, _, wrong_scope) = server("introspect").await;
    let mut made_up = wrong_scope.clone();
    made_up["key"] = json!("qk_00000000000000000000000000000007_nonsense");
    let stated = [
        (&wrong_scope, "203.0.113.1", "29"),
        (&made_up, "203.0.113.2", "28"),
    ];
    for (key, user, left) in stated {
        let answer = server.send(with(sign_in(), key, user)).await;
        assert_eq!(answer.header("ratelimit-remaining"), left);
    }
    let without_key = sign_in()
        .from(BACKEND)
        .header("quivive-client-ip", "203.0.113.3");
    let answer = server.send(without_key).await;
    assert_eq!(answer.header("ratelimit-remaining"), "27");
    let two = with(sign_in(), &wrong_scope, "203.0.113.1").header("quivive-api-key", "another");
    let answer = server.send(two).await;
    assert_eq!(answer.header("ratelimit-remaining"), "26");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_revoked_states_nothing_a_second_later() {
    let (server, token, key) = server("client.forward").await;
    let stated = async || {
        let answer = server.send(with(sign_in(), &key, "203.0.113.1")).await;
        answer.header("ratelimit-remaining").to_owned()
    };
    assert_eq!(stated().await, "29");
    let path = format!("/api/v1/admin/api-keys/{}", key["id"].as_str().unwrap());
    let answer = server.send(ask(&Method::DELETE, &path).token(&token)).await;
    assert_eq!(answer.status, 204);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    // The limit of its own address.
    assert_eq!(stated().await, "29");
    assert_eq!(stated().await, "28");
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_tried_cost_a_read_sixty_times_a_minute_and_a_good_one_costs_none() {
    let (server, _, key) = server("client.forward").await;
    assert_eq!(
        server
            .send(with(sign_in(), &key, "203.0.113.1"))
            .await
            .status,
        401
    );
    let mut other = key.clone();
    other["key"] = json!("qk_00000000000000000000000000000007_nonsense");
    for _ in 0..60 {
        server
            .send(with(get("/nothing"), &other, "203.0.113.1"))
            .await;
    }
    server.scene.world.fail_reads(true);
    let answer = server
        .send(with(get("/nothing"), &other, "203.0.113.1"))
        .await;
    assert_eq!(answer.status, 404, "it was not looked up");
    // Remembered, so that who is over the limit is refused without a read.
    for number in 0..600 {
        let ask = with(get("/api/v1/me"), &key, "203.0.113.9");
        assert_eq!(server.send(ask).await.status, 401, "{number}");
    }
    let ask = with(get("/api/v1/me"), &key, "203.0.113.9");
    assert_eq!(server.send(ask).await.status, 429);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_none_is_told_to_who_may_state_it() {
    let (server, _, key) = server("client.forward").await;
    for user in ["somebody", "", "203.0.113.1, 203.0.113.2", "203.0.113.1:80"] {
        let answer = server.send(with(sign_in(), &key, user)).await;
        assert_eq!(answer.problem(), (400, "bad_request".to_owned()), "{user}");
    }
    let twice = with(sign_in(), &key, "203.0.113.1").header("quivive-client-ip", "203.0.113.2");
    assert_eq!(server.send(twice).await.status, 400);
}
