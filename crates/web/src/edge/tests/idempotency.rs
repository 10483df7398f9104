//! Requests that are sent again.

use quivive_app::testing::PASSWORD;
use quivive_delivery::{Log as _, Transaction};
use quivive_domain::one_time::Purpose;

use super::*;
use crate::routes::Repetition;
use crate::testing::Ask;

const ROTATE: &str = "/api/v1/me/rotations";

fn keyed(ask: Ask, key: &str) -> Ask {
    ask.header("idempotency-key", key)
}

fn rotate(token: &str, reason: &str) -> Ask {
    post(ROTATE, &json!({"reason": reason})).token(token)
}

fn events(server: &Server) -> usize {
    server.scene.world.log().len()
}

/// A person whose tokens outlive a rotation of all: two requests with one of them are possible.
async fn administrator() -> (Server, String) {
    let server = Server::new(given(account().verified().role(Role::Admin)));
    let token = server.access_token().await;
    (server, token)
}

fn rotate_all(token: &str, key: &str, grace: u32) -> Ask {
    let body = json!({"reason": "yearly", "grace_period_seconds": grace});
    keyed(post("/api/v1/admin/rotations", &body).token(token), key)
}

#[tokio::test]
async fn the_same_again_gets_the_first_answer_and_changes_nothing() {
    let (server, token) = administrator().await;
    let first = server.send(rotate_all(&token, "one", 300)).await;
    assert_eq!(
        (first.status, first.header("idempotency-replayed")),
        (200, "")
    );
    let before = events(&server);
    let again = server.send(rotate_all(&token, "one", 300)).await;
    stands(&again);
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    assert_eq!(events(&server), before);
    // Another key is another request, and so is none.
    let other = server.send(rotate_all(&token, "two", 300)).await;
    assert_eq!(other.json()["new_version"], 3);
    assert_eq!(server.scene.world.see(|s| s.answers.len()), 2);
}

#[tokio::test]
async fn another_body_is_a_mistake_and_another_caller_or_route_is_another_request() {
    let (server, token) = administrator().await;
    assert_eq!(
        server.send(rotate_all(&token, "one", 300)).await.status,
        200
    );
    let before = events(&server);
    let other = server.send(rotate_all(&token, "one", 301)).await;
    assert_eq!(other.problem(), (422, "idempotency_mismatch".to_owned()));
    assert_eq!(events(&server), before);
    let elsewhere = server.send(keyed(rotate(&token, "mine"), "one")).await;
    assert_eq!(
        (elsewhere.status, elsewhere.header("idempotency-replayed")),
        (200, "")
    );
    // Nobody is signed in: it is the source's.
    let verify = |from: &str| {
        let body = json!({"email": "a@example.org"});
        keyed(post("/api/v1/email-verification-requests", &body), "one").from(from)
    };
    for (from, replayed) in [
        ("192.0.2.1", ""),
        ("192.0.2.1", "true"),
        ("192.0.2.2", ""),
        ("2001:db8::1", ""),
        ("2001:db8::2", "true"),
    ] {
        let answer = server.send(verify(from)).await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.header("idempotency-replayed"), replayed, "{from}");
    }
}

#[tokio::test]
async fn a_refusal_is_not_kept_and_an_answer_that_tells_nothing_is() {
    let server = Server::new(given(account()));
    let path = "/api/v1/email-verification-requests";
    let sent = post(path, &json!({"email": "ada@example.org"}));
    assert_eq!(server.send(sent).await.status, 202);
    let letter = json!({"token": server.letter(Purpose::VerifyEmail)});
    let path = "/api/v1/email-verifications";
    let bad = keyed(post(path, &json!({"token": "nonsense"})), "one");
    assert_eq!(server.send(bad).await.status, 400);
    let good = server.send(keyed(post(path, &letter), "one")).await;
    assert_eq!(good.status, 200, "{good:?}");
    let again = server.send(keyed(post(path, &letter), "one")).await;
    assert_eq!((again.status, again.body), (200, good.body));
    // A free address and a taken one: neither the same again nor another body tells them apart.
    let taken = server.scene.account().email.typed().to_owned();
    for (key, email) in [("free", "free@example.org"), ("taken", &*taken)] {
        let with = |password: &str| {
            let body = json!({"email": email, "password": password});
            keyed(post("/api/v1/users", &body), key)
        };
        let answers = [
            server.send(with(PASSWORD)).await,
            server.send(with(PASSWORD)).await,
            server.send(with("another long passphrase 9")).await,
        ];
        let told = answers.map(|it| (it.status, it.header("idempotency-replayed").to_owned()));
        let told: Vec<_> = told
            .iter()
            .map(|(status, it)| (*status, it.as_str()))
            .collect();
        assert_eq!(told, [(202, ""), (202, "true"), (422, "")], "{key}");
    }
}

#[tokio::test]
async fn of_fifty_at_once_one_is_carried_out() {
    let (server, token) = administrator().await;
    let asks = (0..50).map(|_| server.send(rotate_all(&token, "one", 300)));
    let answers = futures_util::future::join_all(asks).await;
    let mut carried_out = 0;
    for answer in &answers {
        if answer.status == 200 {
            assert_eq!(answer.json()["new_version"], 2);
            carried_out += usize::from(answer.header("idempotency-replayed").is_empty());
        } else {
            let code = "idempotency_in_progress".to_owned();
            assert_eq!(answer.problem(), (409, code));
            assert_eq!(answer.header(RETRY_AFTER), "1");
        }
    }
    assert_eq!(carried_out, 1);
}

/// What a second server over the same database, or one that has forgotten, would meet.
#[tokio::test]
async fn what_was_carried_out_is_carried_out_no_second_time_whoever_forgets_it() {
    let (server, token) = administrator().await;
    let now = server.scene.world.now();
    let families = server.scene.kernel.families();
    let id = server.scene.user.0.to_string();
    let scope = format!("{id} POST /api/v1/admin/rotations");
    let body = json!({"reason": "yearly", "grace_period_seconds": 300}).to_string();
    let once = quivive_app::idempotency::once(families, scope.as_bytes(), b"one", body.as_bytes());
    let writes = vec![families.answers.decided(&once, true, now)];
    let row = Transaction {
        writes,
        records: Vec::new(),
    };
    server.scene.world.commit(row).await.unwrap();
    let before = events(&server);
    let answer = server.send(rotate_all(&token, "one", 300)).await;
    assert_eq!(
        answer.problem(),
        (409, "idempotency_answer_lost".to_owned())
    );
    assert_eq!(events(&server), before);
    // Past the look: the guard of the commit.
    let context = quivive_app::Request {
        once: Some(once),
        ..quivive_app::Request::system()
    };
    let command = quivive_app::workflows::rotations::rotate_all_tokens::RotateAllTokens {
        reason: quivive_domain::Rationale::parse("yearly").unwrap(),
        grace: None,
        by: None,
    };
    let done = server.scene.kernel.execute(command, context).await;
    assert!(matches!(done, Err(quivive_app::Failure::Conflict)));
    let kinds = server.scene.world.log();
    assert_eq!(
        kinds.len(),
        before + 2,
        "an attempt, and that it conflicted"
    );
    assert!(kinds[before + 1].envelope.kind.ends_with(".failed"));
}

#[tokio::test]
async fn what_answers_with_a_secret_takes_no_key() {
    let (server, token) = administrator().await;
    let mut refusing = 0;
    for route in ROUTES
        .iter()
        .filter(|it| it.repetition == Repetition::Refused)
    {
        let by_service = matches!(route.authority, Authority::Service(_));
        if by_service {
            continue;
        }
        refusing += 1;
        let ask = ask(&route.method, &concrete(route))
            .body(&json!({}))
            .token(&token);
        let answer = server.send(keyed(ask, "one")).await;
        let code = "idempotency_key_refused".to_owned();
        assert_eq!(answer.problem(), (400, code), "{}", route.path);
    }
    assert_eq!(refusing, 7);
}

/// By the document: a route that is new is looked at, too.
#[test]
fn no_answer_that_is_kept_holds_a_secret() {
    const SECRETS: [&str; 6] = [
        "access_token",
        "refresh_token",
        "device_token",
        "mfa_token",
        "secret",
        "active",
    ];
    let api = serde_json::to_value(crate::openapi()).unwrap();
    let mut kept = 0;
    for route in ROUTES.iter() {
        if !matches!(route.repetition, Repetition::Answered) {
            continue;
        }
        kept += 1;
        let method = route.method.as_str().to_lowercase();
        let operation = &api["paths"][&route.path][&method];
        for (status, response) in operation["responses"].as_object().unwrap() {
            let shape = &response["content"]["application/json"]["schema"]["$ref"];
            let Some(name) = shape.as_str().filter(|_| status.starts_with('2')) else {
                continue;
            };
            let shape = api
                .pointer(name.trim_start_matches('#'))
                .unwrap()
                .to_string();
            assert!(!name.ends_with("/CreatedApiKey"));
            for secret in SECRETS {
                assert!(
                    !shape.contains(&format!("\"{secret}\":")),
                    "{name} {secret}"
                );
            }
        }
    }
    assert!(kept > 20, "{kept}");
}

#[tokio::test]
async fn a_key_is_one_line_of_bounded_length_and_means_nothing_to_what_is_no_post() {
    let (server, token) = administrator().await;
    for key in ["", "a\tb", &"x".repeat(256)] {
        let answer = server.send(rotate_all(&token, key, 300)).await;
        assert_eq!(answer.problem(), (400, "bad_request".to_owned()));
    }
    let twice = rotate_all(&token, "one", 300).header("idempotency-key", "two");
    assert_eq!(server.send(twice).await.status, 400);
    for _ in 0..2 {
        let answer = server
            .send(keyed(get("/api/v1/me").token(&token), "one"))
            .await;
        assert_eq!(
            (answer.status, answer.header("idempotency-replayed")),
            (200, "")
        );
    }
}
