//! Access and refresh tokens: T20, T22 to T25, T28 and T29 of the security cases.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quivive_testkit::experiments::check;
use quivive_testkit::{PASSWORD, Server};
use serde_json::{Value, json};

use crate::support::{events, post, server};

async fn refresh(server: &Server, token: &Value) -> quivive_testkit::Reply {
    post(server, "/tokens", json!({"refresh_token": token})).await
}

/// T20: each kind of token is refused wherever another is expected, and then still serves for its own purpose.
#[tokio::test(flavor = "multi_thread")]
async fn t20_a_token_of_one_kind_is_none_of_another() {
    let server = server().await;
    let unverified = json!({"email": "verify@example.com", "password": PASSWORD});
    post(&server, "/users", unverified).await.expect(202);
    server.register("reset@example.com").await;
    let asked = json!({"email": "reset@example.com"});
    post(&server, "/password-reset-requests", asked)
        .await
        .expect(202);
    let change = async |name: &str| {
        server.register(&format!("{name}@example.com")).await;
        let tokens = server.login(&format!("{name}@example.com"), PASSWORD).await;
        let new_email = format!("{name}-new@example.com");
        let body = Some(json!({"new_email": new_email}));
        let access = tokens["access_token"].as_str();
        let asked = server.api("POST", "/me/email-changes", body, access).await;
        asked.expect(202);
        server.token(&new_email, "email_change_confirm").await
    };
    let confirm = "/me/email-change-confirmations";
    let taken_back = json!({"token": change("revert").await});
    post(&server, confirm, taken_back).await.expect(200);
    server.register("signed-in@example.com").await;
    let tokens = server.login("signed-in@example.com", PASSWORD).await;
    let of = |name: &str| tokens[name].as_str().unwrap().to_owned();
    // A kind, the route that takes it, and what else its body holds.
    let kinds = [
        (
            server.token("verify@example.com", "verify_email").await,
            "/email-verifications",
        ),
        (
            server.token("reset@example.com", "reset_password").await,
            "/password-resets",
        ),
        (change("change").await, confirm),
        (
            server.token("revert@example.com", "email_changed").await,
            "/me/email-change-reversals",
        ),
        (of("refresh_token"), "/tokens"),
        (of("access_token"), "/me"),
        (of("device_token"), ""),
    ];
    let present = async |path: &str, token: &str| match path {
        "/me" => server.api("GET", path, None, Some(token)).await,
        "/tokens" => post(&server, path, json!({"refresh_token": token})).await,
        "/password-resets" => {
            let new = format!("{PASSWORD} anew");
            post(&server, path, json!({"token": token, "new_password": new})).await
        }
        _ => post(&server, path, json!({"token": token})).await,
    };
    let routes: Vec<_> = kinds.iter().map(|(_, path)| *path).collect();
    for (token, own) in &kinds {
        for path in routes
            .iter()
            .filter(|path| !path.is_empty() && *path != own)
        {
            let status = present(path, token).await.status;
            // An access token is longer than any other: its length alone refuses it.
            let refused = [400, 401].contains(&status) || (*own == "/me" && status == 422);
            assert!(refused, "that of {own} at {path}: {status}");
        }
    }
    for (token, own) in kinds.iter().filter(|(_, own)| !own.is_empty()) {
        let status = present(own, token).await.status;
        assert_eq!(status, 200, "{own}");
    }
}

/// T22, T23: with signatures of our own key, the tests of the verifier have them.
#[tokio::test(flavor = "multi_thread")]
async fn t22_t23_forged_access_tokens_open_nothing() {
    let server = server().await;
    server.register("forged@example.com").await;
    let tokens = server.login("forged@example.com", PASSWORD).await;
    let good = tokens["access_token"].as_str().unwrap();
    server.api("GET", "/me", None, Some(good)).await.expect(200);
    let parts: Vec<&str> = good.split('.').collect();
    let decode = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (header, claims) = (decode(parts[0]), decode(parts[1]));
    assert_eq!(
        (header["alg"].as_str(), header["typ"].as_str()),
        (Some("EdDSA"), Some("at+jwt"))
    );
    let with = |base: &Value, field: &str, value: Value| {
        let mut changed = base.clone();
        changed[field] = value;
        encode(&changed)
    };
    let mut forged = Vec::new();
    for algorithm in ["none", "None", "nOnE", "HS256", "RS256", "ES256"] {
        forged.push(format!(
            "{}.{}.{}",
            with(&header, "alg", json!(algorithm)),
            parts[1],
            parts[2]
        ));
        forged.push(format!(
            "{}.{}.",
            with(&header, "alg", json!(algorithm)),
            parts[1]
        ));
    }
    for (field, value) in [
        ("kid", json!("unknown")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!("../../../dev/null")),
        ("jku", json!("http://127.0.0.1:1/jwks.json")),
        ("x5u", json!("http://127.0.0.1:1/")),
        ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})),
        ("crit", json!(["exp"])),
        ("typ", json!("JWT")),
        ("b64", json!(false)),
    ] {
        forged.push(format!(
            "{}.{}.{}",
            with(&header, field, value),
            parts[1],
            parts[2]
        ));
    }
    for (field, value) in [
        ("iss", json!("http://evil.example")),
        ("aud", json!("another")),
        ("exp", json!(1)),
        ("iat", json!(9_999_999_999_i64)),
        ("sub", json!("00000000-0000-0000-0000-000000000000")),
        ("roles", json!(["admin"])),
    ] {
        forged.push(format!(
            "{}.{}.{}",
            parts[0],
            with(&claims, field, value),
            parts[2]
        ));
    }
    forged.extend([
        String::new(),
        "a.b.c".to_owned(),
        format!("{good}.{}", parts[2]),
        good[..good.len() - 1].to_owned(),
    ]);
    for token in forged {
        server
            .api("GET", "/me", None, Some(&token))
            .await
            .expect(401);
    }
    let keys = server
        .get("/.well-known/jwks.json")
        .await
        .expect(200)
        .json();
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    assert!(keys["keys"][0].get("d").is_none(), "public keys only");
}

/// T24.
#[tokio::test(flavor = "multi_thread")]
async fn t24_a_replayed_refresh_token_ends_its_family_alone() {
    let server = server().await;
    server.register("reuse@example.com").await;
    let other = server.login("reuse@example.com", PASSWORD).await;
    let first = server.login("reuse@example.com", PASSWORD).await;
    let second = refresh(&server, &first["refresh_token"])
        .await
        .expect(200)
        .json();
    let third = refresh(&server, &second["refresh_token"])
        .await
        .expect(200)
        .json();
    refresh(&server, &first["refresh_token"]).await.expect(401);
    refresh(&server, &third["refresh_token"]).await.expect(401);
    server
        .api("GET", "/me", None, third["access_token"].as_str())
        .await
        .expect(401);
    refresh(&server, &other["refresh_token"]).await.expect(200);
    server.letter("reuse@example.com", "token_reuse").await;
    let events = events(&server).await;
    for kind in [
        "token.reuse_detected",
        "token.family_revoked",
        "session.invalidated",
    ] {
        assert_eq!(check::count(&events, kind), 1, "{kind}");
    }
}

/// T25: of fifty at once, the races have it.
#[tokio::test(flavor = "multi_thread")]
async fn an_honest_retry_gets_the_same_successor() {
    let server = server().await;
    server.register("retry@example.com").await;
    let first = server.login("retry@example.com", PASSWORD).await;
    let once = refresh(&server, &first["refresh_token"])
        .await
        .expect(200)
        .json();
    let again = refresh(&server, &first["refresh_token"])
        .await
        .expect(200)
        .json();
    assert_eq!(once["refresh_token"], again["refresh_token"]);
    refresh(&server, &again["refresh_token"]).await.expect(200);
    let events = events(&server).await;
    let replayed = events
        .iter()
        .filter(|e| e["data"]["replayed"] == true)
        .count();
    assert_eq!(replayed, 1);
}

/// T28.
#[tokio::test(flavor = "multi_thread")]
async fn t28_a_refresh_token_is_exact() {
    let server = server().await;
    server.register("prefix@example.com").await;
    let tokens = server.login("prefix@example.com", PASSWORD).await;
    let good = tokens["refresh_token"].as_str().unwrap();
    let mut wrong: Vec<String> = (0..good.len()).map(|n| good[..n].to_owned()).collect();
    wrong.push(format!("{good}A"));
    wrong.push(format!("{good}%3D"));
    wrong.push(format!(" {good}"));
    for at in [0, 10, 30, 63] {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        wrong.push(String::from_utf8(bytes).unwrap());
    }
    let admin = server.administrator().await;
    let body = json!({"name": "a service", "scopes": ["introspect"]});
    let made = server.api("POST", "/admin/api-keys", Some(body), Some(&admin));
    let key = made.await.expect(201).json();
    let mut service = server.client();
    let mut active = async |token: &str| {
        let form = format!("token={token}&token_type_hint=refresh_token");
        let told = service.form("/introspect", &form, key["key"].as_str().unwrap());
        told.await.unwrap().expect(200).json()["active"] == true
    };
    assert!(active(good).await);
    for token in wrong {
        refresh(&server, &json!(token)).await.expect(401);
        assert!(!active(&token).await, "{token}");
    }
    refresh(&server, &tokens["refresh_token"]).await.expect(200);
}

/// T29.
#[tokio::test(flavor = "multi_thread")]
async fn t29_secrets_are_not_cached_and_not_in_headers() {
    let server = server().await;
    server.register("cache@example.com").await;
    let login = post(
        &server,
        "/sessions",
        json!({"email": "cache@example.com", "password": PASSWORD}),
    )
    .await
    .expect(200);
    let refused = post(
        &server,
        "/sessions",
        json!({"email": "cache@example.com", "password": "a wrong password 1"}),
    )
    .await
    .expect(401);
    let refreshed = refresh(&server, &login.json()["refresh_token"])
        .await
        .expect(200);
    for reply in [&login, &refused, &refreshed] {
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert!(reply.header("content-type").is_some());
        assert!(reply.header("location").is_none() && reply.header("set-cookie").is_none());
    }
    assert_eq!(
        refused.header("content-type"),
        Some("application/problem+json")
    );
}
