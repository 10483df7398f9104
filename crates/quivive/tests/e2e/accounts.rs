//! Registration and identifiers: T01 to T05 and T07 of the security cases.

use std::time::{Duration, Instant};

use quivive_testkit::client::Call;
use quivive_testkit::experiments::{check, races};
use quivive_testkit::{Client, PASSWORD, Server};
use serde_json::{Value, json};

use crate::support::{events, post, server};

fn registration(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password})
}

/// T01: fifty at once are among the races. Here they are as few as may be guessed, so that each password can be tried.
#[tokio::test(flavor = "multi_thread")]
async fn t01_of_registrations_at_once_one_counts_with_its_password_alone() {
    let server = server().await;
    let email = "one@example.com";
    let password = |i: usize| format!("{PASSWORD} {i}");
    let each = |i: usize| ("POST", "/users", registration(email, &password(i)));
    let replies = races::together(&server, 4, |_| "testkit/1".to_owned(), each).await;
    for reply in replies {
        assert_eq!(
            reply.expect(202).json(),
            json!({"status": "verification_sent"})
        );
    }
    let token = server.token(email, "verify_email").await;
    let verified = post(&server, "/email-verifications", json!({"token": token})).await;
    verified.expect(200);
    let mut let_in = 0;
    for i in 0..4 {
        let reply = post(&server, "/sessions", registration(email, &password(i))).await;
        assert!(matches!(reply.status, 200 | 401), "{}", reply.status);
        let_in += usize::from(reply.status == 200);
    }
    assert_eq!(let_in, 1);
    let letters = server.letters().await;
    let sent = letters.iter().filter(|it| it["template"] == "verify_email");
    assert_eq!(sent.count(), 1);
    let events = events(&server).await;
    check::whole(&events);
    for (kind, count) in [("succeeded", 1), ("failed", 3)] {
        let kind = format!("user.registration.{kind}");
        assert_eq!(check::count(&events, &kind), count, "{kind}");
    }
}

/// T02.
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

/// T03: also of what Unicode folds into other letters. Two spellings of the same letters are one address.
#[tokio::test(flavor = "multi_thread")]
async fn t03_look_alikes_are_refused_and_never_reach_the_owner() {
    let server = server().await;
    for owner in ["mike@example.com", "fiona@example.com", "silas@example.com"] {
        server.register(owner).await;
    }
    let ask = async |email: &str| {
        let body = json!({"email": email});
        let asked = post(&server, "/password-reset-requests", body).await;
        asked.expect(202);
    };
    for look_alike in [
        "m\u{131}ke@example.com",
        "mi\u{212A}e@example.com",
        "m\u{456}ke@example.com",
        "mike@ex\u{430}mple.com",
        "mike\u{FF20}example.com",
        "\u{FB01}ona@example.com",
        "\u{17F}ilas@example.com",
        "mi\u{307}ke@example.com",
    ] {
        let refused = post(&server, "/users", registration(look_alike, PASSWORD)).await;
        assert_eq!(refused.expect(422).code(), "invalid_email", "{look_alike}");
        let body = registration(look_alike, PASSWORD);
        post(&server, "/sessions", body).await.expect(401);
        ask(look_alike).await;
    }
    ask("nobody@example.com").await;
    let (composed, decomposed) = ("jos\u{e9}@example.com", "jose\u{301}@example.com");
    server.register(composed).await;
    let taken = post(&server, "/users", registration(decomposed, PASSWORD)).await;
    taken.expect(202);
    let letter = server.letter(composed, "already_registered").await;
    assert_eq!(letter["to"], composed, "to the stored address");
    ask(decomposed).await;
    ask("MIKE@Example.COM").await;
    server.letter(composed, "reset_password").await;
    server.letter("mike@example.com", "reset_password").await;
    let letters = server.letters().await;
    let resets = letters
        .iter()
        .filter(|it| it["template"] == "reset_password");
    let mut to: Vec<_> = resets.map(|it| it["to"].as_str().unwrap()).collect();
    to.sort_unstable();
    assert_eq!(
        to,
        [composed, "mike@example.com"],
        "to stored addresses alone"
    );
    let events = events(&server).await;
    let asked = "user.password_reset_request.succeeded";
    assert_eq!(check::count(&events, asked), 2);
}

/// T04: of routes for people; those of the shapes have every one.
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

/// T05.
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

/// How many passwords were hashed, by the metrics.
async fn hashed(server: &Server) -> u64 {
    let metrics = server.get("/metrics").await.expect(200).body;
    let metrics = String::from_utf8(metrics).unwrap();
    let count = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("quivive_password_hash_seconds_count"));
    count
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// T07: also without a hash.
#[tokio::test(flavor = "multi_thread")]
async fn t07_oversized_requests_are_refused_before_any_work() {
    let server = server().await;
    post(
        &server,
        "/users",
        registration("first@example.com", PASSWORD),
    )
    .await
    .expect(202);
    // It is counted after the answer.
    let asked = Instant::now();
    while hashed(&server).await == 0 {
        assert!(asked.elapsed() < Duration::from_secs(10), "never counted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (before, hashes) = (server.resident_kib(), hashed(&server).await);
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
    assert_eq!(hashed(&server).await, hashes, "nothing is hashed");
}
