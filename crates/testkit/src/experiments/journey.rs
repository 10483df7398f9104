//! The whole way of one person: register → letter → verify → login → me → refresh → password change → reset → logout.

use serde_json::{Value, json};

use super::{check, secrets};
use crate::{PASSWORD, Server};

/// Where the letters of a journey are read.
pub trait Post {
    /// The one-time token in the newest letter of a template to an address.
    fn token(&self, server: &Server, to: &str, template: &str) -> impl Future<Output = String> + Send;
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
    let email = "Ada.Lovelace@example.org";
    let mut left = secrets::Left::default();
    left.add("password", PASSWORD);
    let admin = server.administrator().await;

    let body = json!({"email": email, "password": PASSWORD});
    server.api("POST", "/users", Some(body), None).await.expect(202);
    let token = post.token(server, email, "verify_email").await;
    left.add("verification token", &token);
    let body = json!({"token": token});
    let user = server.api("POST", "/email-verifications", Some(body.clone()), None).await.expect(200).json();
    assert_eq!(server.api("POST", "/email-verifications", Some(body), None).await.expect(400).code(), "invalid_token");

    let tokens = server.login(email, PASSWORD).await;
    left.tokens(&tokens);
    let access = tokens["access_token"].as_str();
    let me = server.api("GET", "/me", None, access).await.expect(200).json();
    assert_eq!(me["user_id"], user["user_id"]);
    assert_eq!(me["email_verified"], true);

    let body = json!({"refresh_token": tokens["refresh_token"]});
    let tokens = server.api("POST", "/tokens", Some(body), None).await.expect(200).json();
    left.tokens(&tokens);
    let changed = format!("{PASSWORD} changed");
    left.add("changed password", &changed);
    let body = json!({"current_password": PASSWORD, "new_password": changed});
    let access = tokens["access_token"].as_str();
    let renewed = server.api("PUT", "/me/password", Some(body), access).await.expect(200).json();
    left.tokens(&renewed);
    let body = json!({"refresh_token": tokens["refresh_token"]});
    server.api("POST", "/tokens", Some(body), None).await.expect(401);

    server.api("POST", "/password-reset-requests", Some(json!({"email": email})), None).await.expect(202);
    let token = post.token(server, email, "reset_password").await;
    left.add("reset token", &token);
    let reset = format!("{PASSWORD} reset");
    left.add("reset password", &reset);
    let body = json!({"token": token, "new_password": reset});
    let answer = server.api("POST", "/password-resets", Some(body.clone()), None).await.expect(200).json();
    assert_eq!(answer["user_id"], user["user_id"]);
    server.api("POST", "/password-resets", Some(body), None).await.expect(400);
    server.api("GET", "/me", None, renewed["access_token"].as_str()).await.expect(401);

    let wrong = json!({"email": email, "password": "wrong wrong wrong 1"});
    assert_eq!(server.api("POST", "/sessions", Some(wrong), None).await.expect(401).code(), "invalid_credentials");
    let tokens = server.login(email, &reset).await;
    left.tokens(&tokens);
    server.api("DELETE", "/sessions/current", None, tokens["access_token"].as_str()).await.expect(204);
    let body = json!({"refresh_token": tokens["refresh_token"]});
    server.api("POST", "/tokens", Some(body), None).await.expect(401);
    server.api("GET", "/me", None, tokens["access_token"].as_str()).await.expect(401);

    let events = server.events(&admin).await;
    let workflows = check::whole(&events);
    every_step_is_there(&events);
    let metrics = server.get("/metrics").await.expect(200);
    assert_eq!(server.stop().await, Some(0), "SIGTERM ends it with 0");
    let verified = server.verify().await;
    assert_eq!(verified["ok"], true, "{verified}");
    left.search(server, &metrics.body);
    left.search_addresses(server, "lovelace", &metrics.body);
    format!("{workflows} workflows whole, {} events, the chain verifies, no secret left behind", events.len())
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
            assert!(check::count(events, &format!("{workflow}.{phase}")) > 0, "{workflow}.{phase}");
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
