//! Fifty at once: one account, one use of each one-time secret, one successor; and a login that races a reset.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::check;
use crate::{Client, PASSWORD, Reply, Server};

/// Sends `count` calls at the same moment, each on a connection of its own.
pub async fn together(
    server: &Server,
    count: usize,
    agent: impl Fn(usize) -> String,
    call: impl Fn(usize) -> (&'static str, &'static str, Value),
) -> Vec<Reply> {
    let gate = std::sync::Arc::new(tokio::sync::Barrier::new(count));
    let mut set = JoinSet::new();
    for i in 0..count {
        let (gate, address, agent) = (gate.clone(), server.address, agent(i));
        let (method, path, body) = call(i);
        set.spawn(async move {
            let mut client = Client::with_agent(address, &agent);
            gate.wait().await;
            (
                i,
                client
                    .api(method, path, Some(body), None)
                    .await
                    .expect("an answer"),
            )
        });
    }
    let mut replies = set.join_all().await;
    replies.sort_by_key(|(i, _)| *i);
    replies.into_iter().map(|(_, reply)| reply).collect()
}

fn same_agent(_: usize) -> String {
    "testkit/1".to_owned()
}

fn with_status(replies: &[Reply], status: u16) -> Vec<usize> {
    let hits = replies
        .iter()
        .enumerate()
        .filter(|(_, reply)| reply.status == status);
    hits.map(|(i, _)| i).collect()
}

/// T01, T16, T25: one-time secrets and registrations, `n` at once. The server must not limit by source.
pub async fn once_each(server: &Server, n: usize) -> String {
    let admin = server.administrator().await;
    let email = "one@example.org";
    let replies = together(server, n, same_agent, |i| {
        (
            "POST",
            "/users",
            json!({"email": email, "password": format!("{PASSWORD} {i}")}),
        )
    })
    .await;
    assert_eq!(with_status(&replies, 202).len(), n);
    assert!(
        replies.iter().all(|reply| reply.body == replies[0].body),
        "one answer for all"
    );

    let token = server.token(email, "verify_email").await;
    let replies = together(server, n, same_agent, |_| {
        ("POST", "/email-verifications", json!({"token": token}))
    })
    .await;
    assert_eq!(with_status(&replies, 200).len(), 1);
    assert_eq!(with_status(&replies, 400).len(), n - 1);

    server
        .api(
            "POST",
            "/password-reset-requests",
            Some(json!({"email": email})),
            None,
        )
        .await
        .expect(202);
    let token = server.token(email, "reset_password").await;
    let replies = together(server, n, same_agent, |i| {
        (
            "POST",
            "/password-resets",
            json!({"token": token, "new_password": format!("{PASSWORD} reset {i}")}),
        )
    })
    .await;
    let winners = with_status(&replies, 200);
    assert_eq!(
        (winners.len(), with_status(&replies, 400).len()),
        (1, n - 1)
    );
    let password = format!("{PASSWORD} reset {}", winners[0]);
    let loser = format!("{PASSWORD} reset {}", (winners[0] + 1) % n);
    let body = json!({"email": email, "password": loser});
    server
        .api("POST", "/sessions", Some(body), None)
        .await
        .expect(401);

    let leaves = refreshes(server, email, &password, n).await;
    let letters = server.letters().await;
    let already = letters
        .iter()
        .filter(|l| l["template"] == "already_registered")
        .count();
    assert!(already <= 1, "{already} letters to the owner");
    let events = server.events(&admin).await;
    let workflows = check::whole(&events);
    let count = |kind| check::count(&events, kind);
    assert_eq!(
        (
            count("user.registration.succeeded"),
            count("user.registration.failed")
        ),
        (1, n - 1)
    );
    assert_eq!(
        (
            count("user.email_verification.succeeded"),
            count("user.email_verification.failed")
        ),
        (1, n - 1)
    );
    assert_eq!(
        (
            count("user.password_reset_confirm.succeeded"),
            count("user.password_reset_confirm.failed")
        ),
        (1, n - 1)
    );
    let used = check::count_reason(
        &events,
        "user.password_reset_confirm.failed",
        "token_already_used",
    );
    format!(
        "{n} at once: one account, one verification, one reset ({used} told: already used), {leaves}; {workflows} workflows whole"
    )
}

/// From one device: one successor. From two: the family is revoked.
async fn refreshes(server: &Server, email: &str, password: &str, n: usize) -> String {
    let tokens = server.login(email, password).await;
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    let replies = together(server, n, same_agent, |_| {
        ("POST", "/tokens", refresh.clone())
    })
    .await;
    let mut leaves: Vec<String> = with_status(&replies, 200)
        .iter()
        .map(|i| replies[*i].json()["refresh_token"].to_string())
        .collect();
    let answered = leaves.len();
    leaves.sort();
    leaves.dedup();
    assert_eq!(
        (leaves.len(), answered),
        (1, n),
        "one successor for all: {:?}",
        replies[0]
    );
    let leaf: Value = serde_json::from_str(&leaves[0]).unwrap();
    let next = server
        .api(
            "POST",
            "/tokens",
            Some(json!({"refresh_token": leaf})),
            None,
        )
        .await;
    assert_eq!(next.status, 200, "the leaf is live");

    let tokens = server.login(email, password).await;
    let refresh = json!({"refresh_token": tokens["refresh_token"]});
    let two = |i: usize| format!("device/{}", i % 2);
    let replies = together(server, n, two, |_| ("POST", "/tokens", refresh.clone())).await;
    let leaf = replies
        .iter()
        .find(|reply| reply.status == 200)
        .map(|reply| reply.json()["refresh_token"].clone());
    if let Some(leaf) = leaf {
        server
            .api(
                "POST",
                "/tokens",
                Some(json!({"refresh_token": leaf})),
                None,
            )
            .await
            .expect(401);
    }
    server
        .api("POST", "/tokens", Some(refresh), None)
        .await
        .expect(401);
    "one live leaf from one device, none from two".to_owned()
}

/// A login with the old password races a reset, `rounds` times: no session made with the old password survives. Panics when
/// one does.
pub async fn login_against_reset(server: &Server, rounds: usize) -> String {
    let admin = server.administrator().await;
    let mut won = 0;
    for round in 0..rounds {
        // Letters and guesses are limited by account, so each round has its own.
        let email = format!("race{round}@example.org");
        server.register(&email).await;
        let body = json!({"email": email});
        server
            .api("POST", "/password-reset-requests", Some(body), None)
            .await
            .expect(202);
        let token = server.token(&email, "reset_password").await;
        let new = format!("{PASSWORD} round {round}");
        let pause = std::time::Duration::from_micros(700 * (round as u64 % 60));
        let login = async {
            tokio::time::sleep(pause).await;
            server
                .api(
                    "POST",
                    "/sessions",
                    Some(json!({"email": email, "password": PASSWORD})),
                    None,
                )
                .await
        };
        let reset = async {
            let body = json!({"token": token, "new_password": new});
            server
                .api("POST", "/password-resets", Some(body), None)
                .await
        };
        let (login, reset) = tokio::join!(login, reset);
        reset.expect(200);
        if login.status == 200 {
            won += 1;
            let tokens = login.json();
            let body = json!({"refresh_token": tokens["refresh_token"]});
            let refreshed = server.api("POST", "/tokens", Some(body), None).await;
            assert_eq!(
                refreshed.status, 401,
                "round {round}: a session made with the old password survived the reset"
            );
        }
    }
    // Versions would make such a session useless; the fence must not let it be made at all.
    let late = logins_after_resets(&server.events(&admin).await);
    assert_eq!(
        late, 0,
        "sign-ins with the old password were let in after the reset"
    );
    format!(
        "{rounds} rounds, the login answered first in {won}; no session made with the old password survived"
    )
}

/// Sign-ins that succeeded after their account's password was reset.
fn logins_after_resets(events: &[Value]) -> usize {
    let of = |kind: &str| {
        let hits = events.iter().filter(|event| event["type"] == kind);
        hits.map(|event| (check::text(event, "subject"), check::position(event)))
            .collect::<Vec<_>>()
    };
    let logins = of("user.login.succeeded");
    let late = of("user.password_reset_confirm.succeeded")
        .into_iter()
        .filter(|(subject, reset)| {
            logins
                .iter()
                .any(|(who, login)| who == subject && login > reset)
        });
    late.count()
}
