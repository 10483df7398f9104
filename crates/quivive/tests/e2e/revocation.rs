//! What ends a session or changes an account reaches the access tokens of before: T17, T27, T37
//! and invariant I10.

use std::time::{Duration, Instant};

use quivive_testkit::{Client, PASSWORD, Server, Stream};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{post, server};

async fn me(server: &Server, token: &Value) -> u16 {
    let token = token.as_str();
    server.api("GET", "/me", None, token).await.status
}

/// Somebody new, and two sessions of theirs.
async fn somebody(server: &Server, name: &str) -> (String, Value, Value) {
    let email = format!("{name}@example.com");
    server.register(&email).await;
    let (one, two) = (
        server.login(&email, PASSWORD).await,
        server.login(&email, PASSWORD).await,
    );
    (email, one, two)
}

/// T17, T27, T38: no request that begins after the answer gets in, also after somebody was made an administrator: memory is
/// told before anybody is answered.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_access_token_is_refused_as_soon_as_it_is_revoked() {
    let server = server().await;
    // What is issued in the second of the start is looked up; this is about memory.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for how in [
        "logout",
        "password change",
        "reset",
        "sign out everywhere",
        "bootstrap",
        "rotation",
    ] {
        let (email, one, two) = somebody(&server, &how.replace(' ', "-")).await;
        let token = &one["access_token"];
        assert_eq!(me(&server, token).await, 200, "{how}");
        let ask = async |method, path, body, by: &Value| {
            server
                .api(method, path, body, by["access_token"].as_str())
                .await
        };
        let done = match how {
            "logout" => ask("DELETE", "/sessions/current", None, &one).await,
            "password change" => {
                let new = format!("{PASSWORD} changed");
                let body = json!({"current_password": PASSWORD, "new_password": new});
                ask("PUT", "/me/password", Some(body), &two).await
            }
            "reset" => {
                post(&server, "/password-reset-requests", json!({"email": email})).await;
                let token = server.token(&email, "reset_password").await;
                let new = format!("{PASSWORD} changed");
                post(
                    &server,
                    "/password-resets",
                    json!({"token": token, "new_password": new}),
                )
                .await
            }
            "sign out everywhere" => ask("POST", "/me/rotations", None, &two).await,
            "bootstrap" => {
                let args = ["admin", "create", &email, "--password-stdin"];
                let (code, _, err) = server
                    .cli(&args, "an administrators long passphrase 7\n")
                    .await;
                assert_eq!(code, Some(0), "{err}");
                server.get("/livez").await
            }
            _ => {
                let admin = json!({"access_token": server.administrator().await});
                let body = json!({"reason": "breach"});
                ask("POST", "/admin/rotations", Some(body), &admin).await
            }
        };
        assert!(done.status < 300, "{how}: {}", done.status);
        for _ in 0..10 {
            assert_eq!(me(&server, token).await, 401, "{how}");
        }
        let body = json!({"refresh_token": one["refresh_token"]});
        post(&server, "/tokens", body).await.expect(401);
    }
}

/// Fifty connections hammer with the old token while its session ends.
#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_that_hammer_none_gets_in_once_the_sign_out_was_answered() {
    let server = server().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, one, _) = somebody(&server, "hammered").await;
    let token = one["access_token"].as_str().unwrap().to_owned();
    let mut hammers = JoinSet::new();
    for _ in 0..50 {
        let (mut client, token) = (Client::new(server.address), token.clone());
        hammers.spawn(async move {
            let mut last_in = None;
            let until = Instant::now() + Duration::from_secs(2);
            while Instant::now() < until {
                let began = Instant::now();
                let reply = client.api("GET", "/me", None, Some(&token)).await.unwrap();
                match reply.status {
                    200 => last_in = Some(began),
                    401 => {}
                    other => panic!("{other}"),
                }
            }
            last_in
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let out = server
        .api("DELETE", "/sessions/current", None, Some(&token))
        .await;
    let over = Instant::now();
    out.expect(204);
    let last = hammers.join_all().await.into_iter().flatten().max();
    assert!(last.expect("they got in before") < over);
}

/// After a restart memory knows nothing of before, and the database does.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_before_a_restart_stays_so() {
    let mut server = server().await;
    let (_, one, two) = somebody(&server, "restarted").await;
    let token = one["access_token"].as_str();
    server
        .api("DELETE", "/sessions/current", None, token)
        .await
        .expect(204);
    server.restart().await;
    for _ in 0..3 {
        assert_eq!(me(&server, &one["access_token"]).await, 401);
        assert_eq!(me(&server, &two["access_token"]).await, 200);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
}

/// What follows the log for revocations is no subscription that somebody could stop.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_stops_a_revocation() {
    let server = server().await;
    let admin = server.administrator().await;
    let (_, one, two) = somebody(&server, "paused").await;
    let pause = "/admin/subscriptions/sessions/pause";
    server
        .api("POST", pause, None, Some(&admin))
        .await
        .expect(409);
    for tokens in [&one, &two] {
        assert_eq!(me(&server, &tokens["access_token"]).await, 200);
        let token = tokens["access_token"].as_str();
        server
            .api("DELETE", "/sessions/current", None, token)
            .await
            .expect(204);
        assert_eq!(me(&server, &tokens["access_token"]).await, 401);
    }
}

/// T37: whoever is deactivated or erased holds nothing any more, and what they listened to ends.
#[tokio::test(flavor = "multi_thread")]
async fn t37_whoever_is_deactivated_or_erased_holds_nothing() {
    let server = server().await;
    let root = server.administrator().await;
    let body = json!({"name": "a service", "scopes": ["introspect"]});
    let made = server.api("POST", "/admin/api-keys", Some(body), Some(&root));
    let key = made.await.expect(201).json();
    let key = key["key"].as_str().unwrap();
    for how in ["deactivated", "erased"] {
        let (email, new_email) = (
            format!("{how}@example.com"),
            format!("{how}-new@example.com"),
        );
        let user = server.register(&email).await;
        // Only administrators may listen.
        let args = ["admin", "create", &email, "--password-stdin"];
        let (code, _, err) = server.cli(&args, &format!("{PASSWORD}\n")).await;
        assert_eq!(code, Some(0), "{err}");
        let mut sessions = Vec::new();
        for _ in 0..3 {
            sessions.push(server.login(&email, PASSWORD).await);
        }
        let access = sessions[0]["access_token"].as_str();
        let asked = json!({"email": email});
        post(&server, "/password-reset-requests", asked)
            .await
            .expect(202);
        let body = Some(json!({"new_email": new_email}));
        let asked = server.api("POST", "/me/email-changes", body, access).await;
        asked.expect(202);
        let reset = server.token(&email, "reset_password").await;
        let change = server.token(&new_email, "email_change_confirm").await;
        let path = "/events/stream?type=email.delivered";
        let stream = Stream::open(server.address, path, access.unwrap(), None).await;
        let mut stream = stream.unwrap().expect("200");

        let path = format!("/admin/users/{user}");
        let done = if how == "erased" {
            server.api("DELETE", &path, None, Some(&root)).await
        } else {
            let (path, body) = (format!("{path}/deactivate"), json!({"reason": "left"}));
            server.api("POST", &path, Some(body), Some(&root)).await
        };
        done.expect(204);
        for tokens in &sessions {
            assert_eq!(me(&server, &tokens["access_token"]).await, 401, "{how}");
            let refresh = json!({"refresh_token": tokens["refresh_token"]});
            post(&server, "/tokens", refresh).await.expect(401);
            for name in ["access_token", "refresh_token"] {
                let form = format!("token={}", tokens[name].as_str().unwrap());
                let told = server.client().form("/introspect", &form, key).await;
                let told = told.unwrap().expect(200).json();
                assert_eq!(told, json!({"active": false}), "{how} {name}");
            }
        }
        let new = json!({"token": reset, "new_password": format!("{PASSWORD} anew")});
        post(&server, "/password-resets", new).await.expect(400);
        let path = "/me/email-change-confirmations";
        post(&server, path, json!({"token": change}))
            .await
            .expect(400);
        let device = &sessions[0]["device_token"];
        let body = json!({"email": email, "password": PASSWORD, "device_token": device});
        let (status, code) = match how {
            "erased" => (401, "invalid_credentials"),
            _ => (403, "account_inactive"),
        };
        let refused = post(&server, "/sessions", body).await.expect(status);
        assert_eq!(refused.code(), code);
        let end = async { while stream.next().await.unwrap().is_some() {} };
        let ended = tokio::time::timeout(Duration::from_secs(6), end).await;
        assert!(ended.is_ok(), "{how}: the stream goes on");
    }
    server
        .api("GET", "/me", None, Some(&root))
        .await
        .expect(200);
}
