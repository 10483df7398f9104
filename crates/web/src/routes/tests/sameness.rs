//! T02, T08, T19, T20, T28: one answer for all.

use quivive_app::ports::EVEN_ANSWER;

use super::*;

/// A problem without what is particular to the request.
fn generic(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    let mut body = answer.json();
    if body["request_id"].is_string() {
        body["request_id"] = Value::Null;
    }
    let own = ["x-request-id", "date"];
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()));
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (answer.status, headers.collect(), body)
}

/// T19, T20, T28: whatever is no such token gets one answer.
#[tokio::test]
async fn a_wrong_token_is_one_answer_whatever_is_wrong_with_it() {
    let server = Server::new(given(
        account()
            .verified()
            .with_verification_token()
            .with_reset_token(),
    ));
    let (verify, reset) = (
        server.letter(Purpose::VerifyEmail),
        server.letter(Purpose::ResetPassword),
    );
    let tokens = server.tokens().await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let flipped = |token: &str| {
        token
            .chars()
            .map(|c| {
                if c.is_lowercase() {
                    c.to_ascii_uppercase()
                } else {
                    c.to_ascii_lowercase()
                }
            })
            .collect()
    };
    let bad = |own: &str, others: [&str; 2]| -> Vec<String> {
        let mut bad = vec![
            String::new(),
            " ".to_owned(),
            "null".to_owned(),
            "0".to_owned(),
            flipped(own),
        ];
        bad.extend([
            own[..own.len() - 1].to_owned(),
            format!("{own}A"),
            format!("{own}="),
            own.replace('A', "%41"),
        ]);
        bad.extend(others.map(str::to_owned));
        bad.retain(|token| token != own);
        bad
    };
    for (path, field, status, bad) in [
        (
            "/api/v1/email-verifications",
            "token",
            400,
            bad(&verify, [&reset, refresh_token]),
        ),
        (
            "/api/v1/password-resets",
            "token",
            400,
            bad(&reset, [&verify, refresh_token]),
        ),
        (
            "/api/v1/tokens",
            "refresh_token",
            401,
            bad(refresh_token, [&verify, &reset]),
        ),
    ] {
        let mut seen = Vec::new();
        for token in bad {
            let mut body = json!({field: token});
            if path.ends_with("resets") {
                body["new_password"] = NEW_PASSWORD.into();
            }
            let answer = server.send(post(path, &body)).await;
            assert_eq!(
                answer.problem(),
                (status, "invalid_token".to_owned()),
                "{path} {token:?}"
            );
            let answer = generic(&answer);
            assert!(
                seen.is_empty() || seen.contains(&answer),
                "{path} {token:?}"
            );
            seen.push(answer);
        }
    }
}

/// T02, T08: the same bytes and the same time, whoever it is.
#[tokio::test(start_paused = true)]
async fn answers_do_not_tell_whether_there_is_an_account() {
    let scene = given(account().verified())
        .and(account_of("new@example.org"))
        .and(
            account_of("off@example.org")
                .verified()
                .state(AccountState::Inactive),
        )
        .and(
            account_of("locked@example.org")
                .verified()
                .state(AccountState::Locked),
        )
        .and(account_of("none@example.org").verified().without_password());
    let server = Server::new(scene);
    let people =
        ["ada", "new", "off", "locked", "none", "nobody"].map(|name| format!("{name}@example.org"));
    for (path, extra) in [
        (
            "/api/v1/users",
            json!({"password": "a quite different anvil"}),
        ),
        ("/api/v1/email-verification-requests", json!({})),
        ("/api/v1/password-reset-requests", json!({})),
        ("/api/v1/sessions", json!({"password": "wrong wrong wrong"})),
    ] {
        let mut seen = HashSet::new();
        for email in &people {
            let mut body = extra.clone();
            body["email"] = email.as_str().into();
            let began = Instant::now();
            let answer = server.send(post(path, &body)).await;
            let multiples = began.elapsed().as_millis() / EVEN_ANSWER.as_millis();
            assert!(
                answer.status == 202 || answer.problem() == (401, "invalid_credentials".to_owned()),
                "{answer:?}"
            );
            seen.insert(format!("{multiples} {:?}", generic(&answer)));
        }
        assert_eq!(seen.len(), 1, "{path} {seen:#?}");
        assert!(
            seen.iter().all(|answer| answer.starts_with("1 ")),
            "{seen:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_of_an_account_is_told_after_its_right_password() {
    for (state, code) in [
        (AccountState::Inactive, "account_inactive"),
        (AccountState::Locked, "account_locked"),
    ] {
        let server = Server::new(given(account().verified().state(state)));
        let answer = server.send(sign_in("ada@example.org", PASSWORD)).await;
        assert_eq!(answer.problem(), (403, code.to_owned()));
    }
    let server = Server::new(given(account().verified()));
    let began = Instant::now();
    server.tokens().await;
    assert!(
        began.elapsed().as_millis() < 100,
        "who signs in does not wait"
    );
}
