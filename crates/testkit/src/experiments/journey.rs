//! The whole way of one person: register → letter → verify → login → me → refresh → password change → reset → logout.

use serde_json::{Value, json};

use super::{check, secrets};
use crate::{PASSWORD, Reply, Server};

/// Where the letters of a journey are read.
pub trait Post {
    /// The one-time token in the newest letter of a template to an address.
    fn token(
        &self,
        server: &Server,
        to: &str,
        template: &str,
    ) -> impl Future<Output = String> + Send;
}

/// The mailbox of development.
#[derive(Debug)]
pub struct Mailbox;

impl Post for Mailbox {
    async fn token(&self, server: &Server, to: &str, template: &str) -> String {
        server.token(to, template).await
    }
}

/// Walks it and looks at what is left behind. Ends the server. Says what it counted.
pub async fn run(server: &mut Server, post: &impl Post) -> String {
    let mut left = secrets::Left::default();
    left.add("password", PASSWORD);
    let admin = server.administrator().await;
    let user = arrive(server, post, &mut left).await;
    let renewed = stay(server, &user, &mut left).await;
    recover(server, post, &user, &renewed, &mut left).await;
    leave(server, &mut left).await;

    let events = server.events(&admin).await;
    let workflows = check::whole(&events);
    every_step_is_there(&events);
    let metrics = server.get("/metrics").await.expect(200);
    assert_eq!(server.stop().await, Some(0), "SIGTERM ends it with 0");
    let verified = server.verify().await;
    assert_eq!(verified["ok"], true, "{verified}");
    left.search(server, &metrics.body);
    secrets::Left::search_addresses(server, "lovelace", &metrics.body);
    format!(
        "{workflows} workflows whole, {} events, the chain verifies, no secret left behind",
        events.len()
    )
}

const EMAIL: &str = "Ada.Lovelace@example.org";

async fn call(server: &Server, path: &str, body: Value) -> Reply {
    server.api("POST", path, Some(body), None).await
}

fn reset_password() -> String {
    format!("{PASSWORD} reset")
}

/// Registers and verifies; the user's id.
async fn arrive(server: &Server, post: &impl Post, left: &mut secrets::Left) -> Value {
    call(
        server,
        "/users",
        json!({"email": EMAIL, "password": PASSWORD}),
    )
    .await
    .expect(202);
    let token = post.token(server, EMAIL, "verify_email").await;
    left.add("verification token", &token);
    let body = json!({"token": token});
    let user = call(server, "/email-verifications", body.clone())
        .await
        .expect(200)
        .json();
    assert_eq!(
        call(server, "/email-verifications", body)
            .await
            .expect(400)
            .code(),
        "invalid_token"
    );
    user["user_id"].clone()
}

/// Signs in, asks who it is, refreshes, changes the password; the tokens that are left.
async fn stay(server: &Server, user: &Value, left: &mut secrets::Left) -> Value {
    let tokens = server.login(EMAIL, PASSWORD).await;
    left.tokens(&tokens);
    let me = server
        .api("GET", "/me", None, tokens["access_token"].as_str())
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&me["user_id"], &me["email_verified"]),
        (user, &json!(true))
    );
    let body = json!({"refresh_token": tokens["refresh_token"]});
    let tokens = call(server, "/tokens", body).await.expect(200).json();
    left.tokens(&tokens);
    let changed = format!("{PASSWORD} changed");
    left.add("changed password", &changed);
    let body = json!({"current_password": PASSWORD, "new_password": changed});
    let access = tokens["access_token"].as_str();
    let renewed = server
        .api("PUT", "/me/password", Some(body), access)
        .await
        .expect(200)
        .json();
    left.tokens(&renewed);
    call(
        server,
        "/tokens",
        json!({"refresh_token": tokens["refresh_token"]}),
    )
    .await
    .expect(401);
    renewed
}

/// Forgets the password and makes a new one: the letter's token serves once, and what was open is not any more.
async fn recover(
    server: &Server,
    post: &impl Post,
    user: &Value,
    renewed: &Value,
    left: &mut secrets::Left,
) {
    call(server, "/password-reset-requests", json!({"email": EMAIL}))
        .await
        .expect(202);
    let token = post.token(server, EMAIL, "reset_password").await;
    left.add("reset token", &token);
    left.add("reset password", &reset_password());
    let body = json!({"token": token, "new_password": reset_password()});
    let answer = call(server, "/password-resets", body.clone())
        .await
        .expect(200)
        .json();
    assert_eq!(&answer["user_id"], user);
    call(server, "/password-resets", body).await.expect(400);
    server
        .api("GET", "/me", None, renewed["access_token"].as_str())
        .await
        .expect(401);
}

async fn leave(server: &Server, left: &mut secrets::Left) {
    let wrong = json!({"email": EMAIL, "password": "wrong wrong wrong 1"});
    assert_eq!(
        call(server, "/sessions", wrong).await.expect(401).code(),
        "invalid_credentials"
    );
    let tokens = server.login(EMAIL, &reset_password()).await;
    left.tokens(&tokens);
    let access = tokens["access_token"].as_str();
    server
        .api("DELETE", "/sessions/current", None, access)
        .await
        .expect(204);
    call(
        server,
        "/tokens",
        json!({"refresh_token": tokens["refresh_token"]}),
    )
    .await
    .expect(401);
    server.api("GET", "/me", None, access).await.expect(401);
}

fn every_step_is_there(events: &[Value]) {
    for workflow in [
        "user.registration",
        "user.email_verification",
        "user.login",
        "token.refresh",
        "user.password_change",
        "user.password_reset_request",
        "user.password_reset_confirm",
        "user.logout",
    ] {
        for phase in ["attempted", "succeeded"] {
            assert!(
                check::count(events, &format!("{workflow}.{phase}")) > 0,
                "{workflow}.{phase}"
            );
        }
    }
    for event in events {
        let actor = check::text(&event["actor"], "kind");
        assert!(!actor.is_empty(), "{event}");
        if actor != "system" {
            for field in ["ip_address", "user_agent", "request_id"] {
                assert!(event[field].is_string(), "{field} of {event}");
            }
        }
    }
}
