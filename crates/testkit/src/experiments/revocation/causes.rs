//! What takes tokens away, each with somebody of its own to whom it happens.

use std::fmt;

use serde_json::{Value, json};

use crate::{PASSWORD, Reply, Server};

/// Why tokens are good for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    SignOut,
    EndOfSession,
    EndOfOthers,
    EndByAdministrator,
    RevocationByService,
    PasswordChange,
    PasswordReset,
    EmailChange,
    Reuse,
    Lock,
    Deactivation,
    SignOutEverywhere,
    RotationByAdministrator,
    /// Of everybody's tokens, without a grace.
    Breach,
}

impl Cause {
    /// That of everybody is the last.
    pub(super) const ALL: [Self; 14] = [
        Self::SignOut,
        Self::EndOfSession,
        Self::EndOfOthers,
        Self::EndByAdministrator,
        Self::RevocationByService,
        Self::PasswordChange,
        Self::PasswordReset,
        Self::EmailChange,
        Self::Reuse,
        Self::Lock,
        Self::Deactivation,
        Self::SignOutEverywhere,
        Self::RotationByAdministrator,
        Self::Breach,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::SignOut => "sign-out",
            Self::EndOfSession => "end of one session",
            Self::EndOfOthers => "end of all other sessions",
            Self::EndByAdministrator => "end of sessions by an administrator",
            Self::RevocationByService => "revocation by a service",
            Self::PasswordChange => "password change",
            Self::PasswordReset => "password reset",
            Self::EmailChange => "change of address",
            Self::Reuse => "reuse of a refresh token",
            Self::Lock => "lock",
            Self::Deactivation => "deactivation",
            Self::SignOutEverywhere => "rotation by the user",
            Self::RotationByAdministrator => "rotation of a user by an administrator",
            Self::Breach => "rotation of all tokens without grace",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Somebody to whom it happens.
pub(super) struct Person {
    pub(super) cause: Cause,
    pub(super) email: String,
    user: String,
    /// Of the session that ends.
    pub(super) tokens: Value,
    /// Of another one, which may act.
    other: Value,
    /// A refresh token of the session that was used long ago.
    replaced: Option<Value>,
    /// The token in a letter, or the key of a service.
    key: Option<String>,
}

impl Person {
    pub(super) async fn new(server: &Server, cause: Cause, round: usize, admin: &str) -> Self {
        let email = format!("{cause:?}-{round}@example.org").to_lowercase();
        let user = server.register(&email).await;
        let mut tokens = server.login(&email, PASSWORD).await;
        let other = server.login(&email, PASSWORD).await;
        let (mut replaced, mut key) = (None, None);
        match cause {
            Cause::Reuse => {
                let first = tokens["refresh_token"].clone();
                let body = json!({"refresh_token": first});
                let next = server.api("POST", "/tokens", Some(body), None).await;
                tokens = next.expect(200).json();
                // Once the successor was used, nobody who sends the first one has lost its answer.
                let body = json!({"refresh_token": tokens["refresh_token"]});
                let next = server.api("POST", "/tokens", Some(body), None).await;
                tokens = next.expect(200).json();
                replaced = Some(first);
            }
            Cause::PasswordReset => {
                let body = json!({"email": email});
                let asked = server.api("POST", "/password-reset-requests", Some(body), None);
                asked.await.expect(202);
                key = Some(server.token(&email, "reset_password").await);
            }
            Cause::EmailChange => {
                let new_email = format!("new-{email}");
                let body = Some(json!({"new_email": new_email}));
                let asked = server.api("POST", "/me/email-changes", body, access(&other));
                asked.await.expect(202);
                key = Some(server.token(&new_email, "email_change_confirm").await);
            }
            Cause::RevocationByService => {
                let body = json!({"name": "a service", "scopes": ["introspect"]});
                let made = server.api("POST", "/admin/api-keys", Some(body), Some(admin));
                let made = made.await.expect(201).json();
                key = made["key"].as_str().map(str::to_owned);
            }
            _ => {}
        }
        Self {
            cause,
            email,
            user,
            tokens,
            other,
            replaced,
            key,
        }
    }
}

impl Cause {
    /// Makes it happen; it was answered when this returns.
    pub(super) async fn happen(self, server: &Server, person: &Person, admin: &str) {
        let (own, other) = (access(&person.tokens), access(&person.other));
        let user = format!("/admin/users/{}", person.user);
        let new_password = format!("{PASSWORD} changed");
        let because = Some(json!({"reason": "a proof"}));
        let ask = async |method, path: &str, body, by| server.api(method, path, body, by).await;
        let answer: Reply = match self {
            Self::SignOut => ask("DELETE", "/sessions/current", None, own).await,
            Self::EndOfSession => {
                let session = person.tokens["session_id"].as_str().expect("an id");
                ask("DELETE", &format!("/sessions/{session}"), None, other).await
            }
            Self::EndOfOthers => ask("DELETE", "/sessions", None, other).await,
            Self::EndByAdministrator => {
                ask("DELETE", &format!("{user}/sessions"), None, Some(admin)).await
            }
            Self::RevocationByService => {
                let (form, key) = (format!("token={}", own.expect("a token")), &person.key);
                let key = key.as_deref().expect("a key");
                let revoked = server.client().form("/revoke", &form, key).await;
                revoked.expect("an answer")
            }
            Self::PasswordChange => {
                let body = json!({"current_password": PASSWORD, "new_password": new_password});
                ask("PUT", "/me/password", Some(body), other).await
            }
            Self::PasswordReset => {
                let body = json!({"token": person.key, "new_password": new_password});
                ask("POST", "/password-resets", Some(body), None).await
            }
            Self::EmailChange => {
                let body = Some(json!({"token": person.key}));
                ask("POST", "/me/email-change-confirmations", body, None).await
            }
            Self::Reuse => {
                let body = json!({"refresh_token": person.replaced});
                let refused = ask("POST", "/tokens", Some(body), None).await;
                refused.expect(401);
                return;
            }
            Self::Lock => ask("POST", &format!("{user}/lock"), None, Some(admin)).await,
            Self::Deactivation => {
                ask("POST", &format!("{user}/deactivate"), because, Some(admin)).await
            }
            Self::SignOutEverywhere => ask("POST", "/me/rotations", None, other).await,
            Self::RotationByAdministrator => {
                ask("POST", &format!("{user}/rotations"), because, Some(admin)).await
            }
            Self::Breach => {
                let body = Some(json!({"reason": "breach"}));
                ask("POST", "/admin/rotations", body, Some(admin)).await
            }
        };
        let body = String::from_utf8_lossy(&answer.body);
        assert!(answer.status < 300, "{self}: {} {body}", answer.status);
    }
}

fn access(tokens: &Value) -> Option<&str> {
    tokens["access_token"].as_str()
}
