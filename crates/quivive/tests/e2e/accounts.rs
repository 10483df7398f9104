//! Registration and identifiers: T02 to T07 of the security cases (T01 is among the races).

use std::time::{Duration, Instant};

use quivive_testkit::client::Call;
use quivive_testkit::experiments::check;
use quivive_testkit::{Client, PASSWORD};
use serde_json::{Value, json};

use crate::support::{events, post, server};

fn registration(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password})
}

#[tokio::test(flavor = "multi_thread")]
async fn t02_one_account_for_one_canonical_address() {
    let server = server().await;
    server.register("a@example.com").await;
    let first = post(&server, "/users", registration("new@example.com", PASSWORD))
        .await
        .expect(202);
    for taken in ["A@EXAMPLE.com", " a@example.com ", "a@Example.COM"] {
        let reply = post(&server, "/users", registration(taken, PASSWORD))
            .await
            .expect(202);
        assert_eq!(reply.body, first.body, "{taken}");
    }
    // A tag makes another address: its owner decides what it means.
    post(
        &server,
        "/users",
        registration("a+tag@example.com", PASSWORD),
    )
    .await
    .expect(202);
    server.letter("a+tag@example.com", "verify_email").await;
    let letter = server.letter("a@example.com", "already_registered").await;
    assert_eq!(letter["to"], "a@example.com", "to the stored address");
    let events = events(&server).await;
    assert_eq!(
        check::count_reason(&events, "user.registration.failed", "duplicate_email"),
        3
    );
    assert_eq!(check::count(&events, "user.registration.succeeded"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn t03_look_alikes_are_refused_and_never_reach_the_owner() {
    let server = server().await;
    server.register("mike@example.com").await;
    for look_alike in [
        "m\u{131}ke@example.com",
        "mi\u{212A}e@example.com",
        "m\u{456}ke@example.com",
        "mike@ex\u{430}mple.com",
    ] {
        assert_eq!(
            post(&server, "/users", registration(look_alike, PASSWORD))
                .await
                .expect(422)
                .code(),
            "invalid_email"
        );
        post(
            &server,
            "/password-reset-requests",
            json!({"email": look_alike}),
        )
        .await
        .expect(202);
    }
    post(
        &server,
        "/password-reset-requests",
        json!({"email": "nobody@example.com"}),
    )
    .await
    .expect(202);
    let events = events(&server).await;
    assert_eq!(
        check::count(&events, "user.password_reset_request.succeeded"),
        0
    );
    assert!(
        server
            .letters()
            .await
            .iter()
            .all(|l| l["template"] != "reset_password")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t04_every_field_is_of_its_type_and_stands_once() {
    let server = server().await;
    let routes: [(&str, &[&str]); 7] = [
        ("/users", &["email", "password", "display_name", "locale"]),
        ("/email-verifications", &["token"]),
        ("/email-verification-requests", &["email"]),
        ("/sessions", &["email", "password", "device_token"]),
        ("/tokens", &["refresh_token", "device_token"]),
        ("/password-reset-requests", &["email"]),
        ("/password-resets", &["token", "new_password"]),
    ];
    let wrong = [
        json!(["a@example.com"]),
        json!({"$ne": null}),
        json!({}),
        json!(1),
        json!(true),
    ];
    for (path, fields) in routes {
        for field in fields {
            for value in &wrong {
                let mut body = json!({});
                for other in fields.iter().take(2) {
                    body[*other] = json!("something");
                }
                body[*field] = value.clone();
                let reply = post(&server, path, body).await.expect(422);
                assert_eq!(
                    reply.json()["errors"][0]["pointer"],
                    format!("/{field}"),
                    "{path} {value}"
                );
            }
        }
    }
    for twice in [
        "{\"email\":\"a@example.com\",\"email\":\"b@example.com\"}",
        "[]",
        "null",
        "{",
        "{\"email\":",
    ] {
        let call = Call {
            method: "POST",
            path: "/api/v1/password-reset-requests",
            body: Some(twice.as_bytes().to_vec()),
            ..Call::default()
        };
        let status = server.client().call(&call).await.unwrap().status;
        assert!(matches!(status, 400 | 422), "{twice}: {status}");
    }
    assert!(server.letters().await.is_empty());
    assert_eq!(
        check::count(&events(&server).await, "user.registration.succeeded"),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn t05_nobody_makes_themselves_an_administrator() {
    let server = server().await;
    for field in [
        "role",
        "roles",
        "is_admin",
        "email_verified",
        "id",
        "token_version",
        "created_at",
        "locked_until",
    ] {
        let mut body = registration("mass@example.com", PASSWORD);
        body[field] = json!("admin");
        let reply = post(&server, "/users", body).await.expect(422);
        assert_eq!(reply.json()["errors"][0]["pointer"], format!("/{field}"));
    }
    server.register("mass@example.com").await;
    let tokens = server.login("mass@example.com", PASSWORD).await;
    let me = server
        .api("GET", "/me", None, tokens["access_token"].as_str())
        .await
        .expect(200)
        .json();
    assert_eq!(me["roles"], json!(["user"]));
    server
        .api("GET", "/events", None, tokens["access_token"].as_str())
        .await
        .expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn t06_passwords_are_long_and_unguessable_and_nothing_else_is_asked() {
    let server = server().await;
    let weak = [
        "short 1!",
        "password1234",
        "aaaaaaaaaaaaaaaa",
        "person.name.example",
        &"ab ".repeat(60),
    ];
    for weak in weak {
        let reply = post(
            &server,
            "/users",
            registration("person.name@example.com", weak),
        )
        .await
        .expect(422);
        assert_eq!(reply.code(), "weak_password", "{weak}");
        assert!(
            !String::from_utf8_lossy(&reply.body).contains(weak),
            "the answer repeats it"
        );
    }
    let composed = "caf\u{e9} au lait tr\u{e8}s chaud \u{1f980}";
    let decomposed = "cafe\u{301} au lait tre\u{300}s chaud \u{1f980}";
    post(&server, "/users", registration("nfc@example.com", composed))
        .await
        .expect(202);
    let token = server.token("nfc@example.com", "verify_email").await;
    post(&server, "/email-verifications", json!({"token": token}))
        .await
        .expect(200);
    for form in [composed, decomposed] {
        server.login("nfc@example.com", form).await;
    }
    // Seventy-two bytes are not the end of a password.
    let long =
        "an uncommonly long sentence about otters, rivers and the weather of last Tuesday evening";
    post(&server, "/users", registration("len@example.com", long))
        .await
        .expect(202);
    let token = server.token("len@example.com", "verify_email").await;
    post(&server, "/email-verifications", json!({"token": token}))
        .await
        .expect(200);
    post(
        &server,
        "/sessions",
        registration("len@example.com", &long[..72]),
    )
    .await
    .expect(401);
    server.login("len@example.com", long).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t07_oversized_requests_are_refused_before_any_work() {
    let server = server().await;
    let before = server.resident_kib();
    let deep = format!(
        "{{\"email\":{}1{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let many: Vec<String> = (0..20_000).map(|i| format!("\"k{i}\":1")).collect();
    let many = many.join(",");
    let bodies = [
        json!({"email": "a@example.com", "password": "x".repeat(1 << 20)}).to_string(),
        "x".repeat(10 << 20),
        deep,
        format!("{{{many}}}"),
        json!({"email": "a@example.com", "password": "x".repeat(5_000)}).to_string(),
    ];
    for (i, body) in bodies.into_iter().enumerate() {
        let call = Call {
            method: "POST",
            path: "/api/v1/users",
            body: Some(body.into_bytes()),
            ..Call::default()
        };
        let began = Instant::now();
        // A server may refuse before it has read everything, and close.
        if let Ok(reply) = server.client().call(&call).await {
            assert!(
                matches!(reply.status, 400 | 413 | 422),
                "body {i}: {}",
                reply.status
            );
        }
        assert!(began.elapsed() < Duration::from_secs(2), "body {i}");
    }
    let call = Call {
        method: "GET",
        path: "/api/v1/me",
        headers: vec![("X-Large", "x".repeat(100_000))],
        ..Call::default()
    };
    if let Ok(reply) = Client::new(server.address).call(&call).await {
        assert!(matches!(reply.status, 400 | 431), "{}", reply.status);
    }
    assert!(server.resident_kib() < before + 50 * 1024, "memory stays");
    let call = Call {
        method: "POST",
        path: "/api/v1/users",
        body: Some(vec![0x1f, 0x8b, 0, 0]),
        headers: vec![("Content-Encoding", "gzip".to_owned())],
        ..Call::default()
    };
    let status = server.client().call(&call).await.unwrap().status;
    assert!(matches!(status, 400 | 415), "{status}");
}
