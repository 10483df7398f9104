//! Verification and reset: T15 and T17 to T21 of the security cases (T16 is among the races).

use quivive_testkit::client::Call;
use quivive_testkit::experiments::check;
use quivive_testkit::{PASSWORD, Server};
use serde_json::{Value, json};

use crate::support::{events, post, server};

async fn reset_token(server: &Server, email: &str) -> String {
    post(server, "/password-reset-requests", json!({"email": email}))
        .await
        .expect(202);
    server.token(email, "reset_password").await
}

async fn reset(server: &Server, token: &str, password: &str) -> quivive_testkit::Reply {
    post(
        server,
        "/password-resets",
        json!({"token": token, "new_password": password}),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_made_to_choose_a_password_has_none_until_then() {
    let server = server().await;
    let admin = server.administrator().await;
    let user = server.register("ada@example.org").await;
    let tokens = server.login("ada@example.org", PASSWORD).await;
    let path = format!("/admin/users/{user}/password-reset-requests");
    let forced = server.api("POST", &path, None, Some(&admin)).await;
    forced.expect(202);
    let old = json!({"refresh_token": tokens["refresh_token"]});
    post(&server, "/tokens", old).await.expect(401);
    let sign_in = |password: &str| json!({"email": "ada@example.org", "password": password});
    let refused = post(&server, "/sessions", sign_in(PASSWORD)).await;
    assert_eq!(refused.expect(401).code(), "invalid_credentials");
    let token = server.token("ada@example.org", "reset_password").await;
    reset(&server, &token, PASSWORD).await.expect(422);
    let new = format!("{PASSWORD} anew");
    reset(&server, &token, &new).await.expect(200);
    post(&server, "/sessions", sign_in(&new)).await.expect(200);
    let events = server.events(&admin).await;
    check::whole(&events);
    let changed = events
        .iter()
        .find(|event| event["type"] == "user.password_change.succeeded");
    let changed = changed.expect("an event");
    assert_eq!(changed["data"]["initiated_by"], "admin");
    assert_eq!(changed["actor"]["kind"], "admin");
}

/// T15: whatever a request says of where it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn t15_links_come_from_the_configuration_alone() {
    let server = server().await;
    server.register("victim@example.com").await;
    let body = json!({"email": "victim@example.com"})
        .to_string()
        .into_bytes();
    let forged = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "4433"),
        ("X-Forwarded-Prefix", "/evil"),
        ("Forwarded", "host=evil.example;proto=https"),
        ("X-Original-URL", "https://evil.example/"),
        ("Host", "evil.example"),
    ];
    for (name, value) in forged {
        let call = Call {
            method: "POST",
            path: "/api/v1/password-reset-requests",
            body: Some(body.clone()),
            headers: vec![(name, value.to_owned())],
            ..Call::default()
        };
        let reply = server.client().call(&call).await.unwrap();
        if name == "Host" {
            assert!(matches!(reply.status, 400 | 421), "{}", reply.status);
        }
    }
    let call = |path, headers| Call {
        method: "POST",
        path,
        body: Some(body.clone()),
        headers,
        ..Call::default()
    };
    let absolute = "http://evil.example/api/v1/password-reset-requests";
    let own = server.address.to_string();
    let two = vec![("Host", own), ("Host", "evil.example".to_owned())];
    for misdirected in [
        call(absolute, Vec::new()),
        call("/api/v1/password-reset-requests", two),
    ] {
        let reply = server.client().call(&misdirected).await.unwrap();
        assert!(matches!(reply.status, 400 | 421), "{}", reply.status);
    }
    post(
        &server,
        "/password-reset-requests",
        json!({"email": "victim@example.com"}),
    )
    .await
    .expect(202);
    let letter = server.letter("victim@example.com", "reset_password").await;
    let origin = format!("http://localhost:{}/reset?token=", server.address.port());
    assert!(
        letter["text"]
            .as_str()
            .is_some_and(|text| text.contains(&origin)),
        "{letter}"
    );
    for letter in server.letters().await {
        assert!(!letter.to_string().contains("evil.example"));
    }
}

/// T17: of devices, guessing.rs has it.
#[tokio::test(flavor = "multi_thread")]
async fn t17_a_reset_ends_everything_else() {
    let server = server().await;
    let email = "many@example.com";
    server.register(email).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(server.login(email, PASSWORD).await);
    }
    let older = reset_token(&server, email).await;
    let newer = reset_token(&server, email).await;
    assert_ne!(older, newer);
    reset(&server, &newer, &format!("{PASSWORD} reset"))
        .await
        .expect(200);
    for tokens in &sessions {
        post(
            &server,
            "/tokens",
            json!({"refresh_token": tokens["refresh_token"]}),
        )
        .await
        .expect(401);
        server
            .api("GET", "/me", None, tokens["access_token"].as_str())
            .await
            .expect(401);
    }
    reset(&server, &older, &format!("{PASSWORD} other"))
        .await
        .expect(400);
    server.letter(email, "password_changed").await;
    let events = events(&server).await;
    assert_eq!(check::count(&events, "session.invalidated"), 3);
}

/// T18: the next link, a new password and a new address each end those of before.
#[tokio::test(flavor = "multi_thread")]
async fn t18_older_reset_tokens_are_dead() {
    let server = server().await;
    let email = "older@example.com";
    server.register(email).await;
    let first = reset_token(&server, email).await;
    let second = reset_token(&server, email).await;
    reset(&server, &first, &format!("{PASSWORD} one"))
        .await
        .expect(400);
    let tokens = server.login(email, PASSWORD).await;
    let body = json!({"current_password": PASSWORD, "new_password": format!("{PASSWORD} two")});
    server
        .api(
            "PUT",
            "/me/password",
            Some(body),
            tokens["access_token"].as_str(),
        )
        .await
        .expect(200);
    assert_eq!(
        reset(&server, &second, &format!("{PASSWORD} three"))
            .await
            .expect(400)
            .code(),
        "invalid_token"
    );

    let third = reset_token(&server, email).await;
    let (moved, password) = ("moved@example.com", format!("{PASSWORD} two"));
    let tokens = server.login(email, &password).await;
    let body = Some(json!({"new_email": moved}));
    let access = tokens["access_token"].as_str();
    let asked = server.api("POST", "/me/email-changes", body, access).await;
    asked.expect(202);
    let change = server.token(moved, "email_change_confirm").await;
    let path = "/me/email-change-confirmations";
    post(&server, path, json!({"token": change}))
        .await
        .expect(200);
    let refused = reset(&server, &third, &format!("{PASSWORD} four")).await;
    assert_eq!(refused.expect(400).code(), "invalid_token");
    server.login(moved, &password).await;
}

/// T19, T20: the tests of the workflows have what is expired by a second.
#[tokio::test(flavor = "multi_thread")]
async fn t19_t20_only_the_exact_token_for_its_purpose() {
    let server = server().await;
    let email = "exact@example.com";
    let body = json!({"email": email, "password": PASSWORD});
    post(&server, "/users", body).await.expect(202);
    let verification = server.token(email, "verify_email").await;
    let reset_of = reset_token(&server, email).await;
    let flipped: String = verification
        .chars()
        .map(|c| {
            if c.is_lowercase() {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect();
    let wrong = [
        String::new(),
        " ".to_owned(),
        "0".to_owned(),
        verification[1..].to_owned(),
        format!("{verification}A"),
        flipped,
        reset_of.clone(),
    ];
    for token in wrong {
        assert_eq!(
            post(&server, "/email-verifications", json!({"token": token}))
                .await
                .expect(400)
                .code(),
            "invalid_token",
            "{token:?}"
        );
    }
    for token in [Value::Null, json!(0)] {
        post(&server, "/email-verifications", json!({"token": token}))
            .await
            .expect(422);
    }
    post(&server, "/email-verifications", json!({}))
        .await
        .expect(422);
    reset(&server, &verification, &format!("{PASSWORD} no"))
        .await
        .expect(400);
    post(
        &server,
        "/email-verifications",
        json!({"token": verification}),
    )
    .await
    .expect(200);

    let tokens = server.login(email, PASSWORD).await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let access = tokens["access_token"].as_str().unwrap();
    for stray in [&reset_of, access] {
        // An access token is longer than any refresh token: its length alone refuses it.
        let reply = post(&server, "/tokens", json!({"refresh_token": stray})).await;
        assert!(matches!(reply.status, 401 | 422), "{}", reply.status);
    }
    for stray in [&reset_of, refresh] {
        server
            .api("GET", "/me", None, Some(stray))
            .await
            .expect(401);
    }
    reset(&server, refresh, &format!("{PASSWORD} no"))
        .await
        .expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_opened_uses_nothing() {
    let server = server().await;
    let body = json!({"email": "scanned@example.com", "password": PASSWORD});
    post(&server, "/users", body).await.expect(202);
    let token = server.token("scanned@example.com", "verify_email").await;
    for _ in 0..3 {
        server
            .get(&format!("/verify?token={token}"))
            .await
            .expect(200);
    }
    post(&server, "/email-verifications", json!({"token": token}))
        .await
        .expect(200);
}

/// T21: for an address, wherever they are asked for from.
#[tokio::test(flavor = "multi_thread")]
async fn t21_letters_are_few_and_the_answer_is_constant() {
    let server = server().await;
    server.register("flooded@example.com").await;
    let first = post(
        &server,
        "/password-reset-requests",
        json!({"email": "flooded@example.com"}),
    )
    .await
    .expect(202);
    for _ in 0..20 {
        let reply = post(
            &server,
            "/password-reset-requests",
            json!({"email": "flooded@example.com"}),
        )
        .await
        .expect(202);
        assert_eq!(reply.body, first.body);
    }
    // Others are served meanwhile, and letters that verify are few as well.
    let others = json!({"email": "other@example.com", "password": PASSWORD});
    post(&server, "/users", others).await.expect(202);
    let again = async |email: &str| {
        let body = json!({"email": email});
        let asked = post(&server, "/email-verification-requests", body).await;
        asked.expect(202).body
    };
    let unknown = again("nobody@example.com").await;
    for _ in 0..10 {
        assert_eq!(again("other@example.com").await, unknown);
    }
    server.letter("other@example.com", "verify_email").await;
    let events = events(&server).await;
    assert!(check::count(&events, "user.email_verification_request.succeeded") <= 3);
    assert_eq!(
        check::count(&events, "user.password_reset_request.succeeded"),
        3
    );
    assert_eq!(
        check::count_reason(
            &events,
            "user.password_reset_request.failed",
            "rate_limited"
        ),
        18
    );
    server.letter("flooded@example.com", "reset_password").await;
    let letters = server.letters().await;
    assert!(
        letters
            .iter()
            .filter(|l| l["template"] == "reset_password")
            .count()
            <= 3
    );
}
