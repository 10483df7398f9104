//! Many parallel guesses at one account: at most the limit are evaluated, the counters are exact, and the right password
//! among them after the limit is refused like the others.

use serde_json::json;

use super::{check, races};
use crate::{PASSWORD, Server};

/// The limit of wrong passwords in the window.
const LIMIT: usize = 5;

/// T10: `n` wrong guesses at once, then the right password. Panics when more were evaluated than the limit.
pub async fn run(server: &Server, n: usize) -> String {
    let admin = server.administrator().await;
    let email = "guessed@example.org";
    let user = server.register(email).await;
    let replies = races::together(
        server,
        n,
        |i| format!("guesser/{i}"),
        |i| {
            // The right one is among them, late: after the limit it must be refused like the others.
            let password = if i == n - 1 {
                PASSWORD.to_owned()
            } else {
                format!("a wrong guess number {i}")
            };
            let pause = if i == n - 1 { "late" } else { "" };
            (
                "POST",
                "/sessions",
                json!({"email": email, "password": password, "device_token": pause}),
            )
        },
    )
    .await;
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 401).collect();
    let busy = replies.iter().filter(|reply| reply.status == 503).count();
    let right = replies[n - 1].status;
    let again = server
        .api(
            "POST",
            "/sessions",
            Some(json!({"email": email, "password": PASSWORD})),
            None,
        )
        .await;
    assert_eq!(
        again.status, 401,
        "the right password after the limit is refused like the others"
    );
    assert_eq!(again.code(), "invalid_credentials");

    let events = server.events(&admin).await;
    let workflows = check::whole(&events);
    let locks: Vec<_> = events
        .iter()
        .filter(|e| e["type"] == "user.lock.succeeded")
        .collect();
    assert_eq!(locks.len(), 1, "one lock");
    assert_eq!(locks[0]["data"]["user_id"], user.as_str());
    let attempts = locks[0]["data"]["failed_attempts"].as_u64().unwrap_or(0);
    assert_eq!(attempts, LIMIT as u64, "the counter at the lock is exact");
    let lock_at = check::position(locks[0]);
    let evaluated = super::tamper::wrong_guesses(&server.data, &user);
    assert!(
        evaluated <= LIMIT as i64,
        "{evaluated} guesses were evaluated, {LIMIT} may be"
    );
    let after = events
        .iter()
        .filter(|e| e["type"] == "user.login.succeeded" && e["subject"] == user.as_str());
    assert_eq!(
        after.filter(|e| check::position(e) > lock_at).count(),
        0,
        "nobody gets in while it is locked"
    );
    format!(
        "{n} guesses: {evaluated} evaluated as wrong, {} refused, {busy} told the queue was full, the right one among them answered {right}; {workflows} workflows whole",
        refused.len()
    )
}
