//! What each route answers, over an in-memory world.

use std::collections::HashSet;

use quivive_app::testing::{NEW_PASSWORD, PASSWORD, account, account_of, given, nobody};
use quivive_domain::AccountState;
use quivive_domain::one_time::Purpose;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::openapi;
use crate::testing::{Answer, Server, ask, get, post};

fn register(email: &str, password: &str) -> crate::testing::Ask {
    post(
        "/api/v1/users",
        &json!({"email": email, "password": password}),
    )
}

fn sign_in(email: &str, password: &str) -> crate::testing::Ask {
    post(
        "/api/v1/sessions",
        &json!({"email": email, "password": password}),
    )
}

fn refresh(token: &Value) -> crate::testing::Ask {
    post("/api/v1/tokens", &json!({"refresh_token": token}))
}

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

#[tokio::test]
async fn from_registration_to_signing_out() {
    let mut server = Server::new(nobody());
    let answer = server.send(register("Ada@Example.org", PASSWORD)).await;
    assert_eq!(
        (answer.status, answer.json()),
        (202, json!({"status": "verification_sent"}))
    );
    server.scene.user = server
        .scene
        .world
        .see(|s| *s.accounts.keys().next().unwrap());

    assert_eq!(
        server
            .send(sign_in("ada@example.org", PASSWORD))
            .await
            .problem(),
        (403, "email_not_verified".to_owned())
    );
    let token = server.letter(Purpose::VerifyEmail);
    let answer = server
        .send(post(
            "/api/v1/email-verifications",
            &json!({"token": token}),
        ))
        .await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"user_id": server.scene.user}))
    );
    let again = server
        .send(post(
            "/api/v1/email-verifications",
            &json!({"token": token}),
        ))
        .await;
    assert_eq!(again.problem(), (400, "invalid_token".to_owned()));

    let tokens = server.tokens().await;
    let names: HashSet<_> = tokens
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        HashSet::from([
            "access_token",
            "refresh_token",
            "token_type",
            "expires_in",
            "session_id",
            "device_token"
        ])
    );
    assert_eq!(
        (tokens["token_type"].as_str(), tokens["expires_in"].as_u64()),
        (Some("bearer"), Some(900))
    );

    let next = server.send(refresh(&tokens["refresh_token"])).await;
    assert_eq!(next.status, 200, "{next:?}");
    let next = next.json();
    assert!(next.get("device_token").is_none() && next["session_id"] == tokens["session_id"]);
    let access = next["access_token"].as_str().unwrap();
    let me = server.send(get("/api/v1/me").token(access)).await.json();
    let want = json!({
        "user_id": server.scene.user, "email": "Ada@Example.org", "email_verified": true, "display_name": null,
        "locale": "en", "roles": ["user"], "created_at": me["created_at"],
    });
    assert_eq!(me, want);

    let out = server
        .send(ask(&DELETE, "/api/v1/sessions/current").token(access))
        .await;
    assert_eq!((out.status, out.body.as_str()), (204, ""));
    let after = server.send(refresh(&next["refresh_token"])).await;
    assert_eq!(after.problem(), (401, "invalid_token".to_owned()));
    for nobodys in [
        ask(&DELETE, "/api/v1/sessions/current"),
        ask(&DELETE, "/api/v1/sessions/current").body(&json!({})),
    ] {
        assert_eq!(server.send(nobodys).await.status, 204);
    }
    let tokens = server.tokens().await;
    let by_body = ask(&DELETE, "/api/v1/sessions/current")
        .body(&json!({"refresh_token": tokens["refresh_token"]}));
    assert_eq!(server.send(by_body).await.status, 204);
    assert_eq!(
        server.send(refresh(&tokens["refresh_token"])).await.status,
        401
    );
}

#[tokio::test]
async fn passwords_are_changed_and_reset() {
    let server = Server::new(given(account().verified().with_reset_token()));
    let access = server.access_token().await;
    let change = |current: &str, new: &str| {
        ask(&PUT, "/api/v1/me/password")
            .token(&access)
            .body(&json!({"current_password": current, "new_password": new}))
    };
    assert_eq!(
        server.send(change("wrong", NEW_PASSWORD)).await.problem(),
        (403, "invalid_password".to_owned())
    );
    let weak = server.send(change(PASSWORD, "ada@example.org 1")).await;
    assert_eq!(weak.problem(), (422, "weak_password".to_owned()));
    assert_eq!(weak.json()["errors"][0]["pointer"], "/new_password");
    assert_eq!(weak.json()["errors"][0]["code"], "holds_address");
    assert_eq!(
        server.send(change(PASSWORD, PASSWORD)).await.problem(),
        (422, "password_reused".to_owned())
    );

    let reset = |token: &str, new: &str| {
        post(
            "/api/v1/password-resets",
            &json!({"token": token, "new_password": new}),
        )
    };
    let token = server.letter(Purpose::ResetPassword);
    let weak = server.send(reset(&token, "short")).await;
    assert_eq!(
        (
            weak.problem().1.as_str(),
            weak.json()["errors"][0]["code"].as_str()
        ),
        ("weak_password", Some("too_short"))
    );
    assert_eq!(
        server.send(reset(&token, PASSWORD)).await.problem(),
        (422, "password_reused".to_owned())
    );
    let done = server.send(reset(&token, NEW_PASSWORD)).await;
    assert_eq!(
        (done.status, &done.json()["user_id"]),
        (200, &json!(server.scene.user))
    );
    assert!(done.json()["message"].is_string());
    assert_eq!(
        server
            .send(reset(&token, "yet another anvil spoon"))
            .await
            .problem(),
        (400, "invalid_token".to_owned())
    );

    let tokens = server
        .send(sign_in("ada@example.org", NEW_PASSWORD))
        .await
        .json();
    let change =
        json!({"current_password": NEW_PASSWORD, "new_password": "yet another anvil spoon"});
    let access = tokens["access_token"].as_str().unwrap();
    let changed = server
        .send(ask(&PUT, "/api/v1/me/password").token(access).body(&change))
        .await;
    assert_eq!(
        (changed.status, &changed.json()["session_id"]),
        (200, &tokens["session_id"])
    );
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
            let took = began.elapsed().as_millis();
            assert!(
                answer.status == 202 || answer.problem() == (401, "invalid_credentials".to_owned()),
                "{answer:?}"
            );
            seen.insert(format!("{took} {:?}", generic(&answer)));
        }
        assert_eq!(seen.len(), 1, "{path} {seen:#?}");
        assert!(
            seen.iter().all(|answer| answer.starts_with("50 ")),
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
        began.elapsed().as_millis() < 50,
        "who signs in does not wait"
    );
}

#[tokio::test]
async fn registration_says_what_is_wrong_with_the_form() {
    let server = Server::new(nobody());
    for (email, code) in [
        ("nonsense", "not_one_at"),
        ("mıke@example.org", "confusable"),
        ("a@127.0.0.1", "ip_address"),
    ] {
        let answer = server.send(register(email, PASSWORD)).await;
        assert_eq!(answer.problem(), (422, "invalid_email".to_owned()));
        let error = &answer.json()["errors"][0];
        assert!(
            error["pointer"] == "/email" && error["code"] == code,
            "{email} {error}"
        );
        assert!(!answer.body.contains("nonsense"));
    }
    for (password, code) in [
        ("short", "too_short"),
        ("password1234", "common"),
        ("ada ada ada ada", "guessable"),
    ] {
        let answer = server.send(register("ada@example.org", password)).await;
        assert_eq!(answer.problem(), (422, "weak_password".to_owned()));
        let error = &answer.json()["errors"][0];
        assert_eq!(error["pointer"], "/password");
        assert!(error["code"].is_string(), "{code} {error}");
        assert!(!answer.body.contains(&format!("\"{password}\"")));
    }
    assert!(server.scene.world.see(|s| s.accounts.is_empty()));
}

/// T04, T05 for every route that takes a body, by what the document says of it.
#[tokio::test]
async fn no_route_takes_anything_but_the_strings_it_describes() {
    let server = Server::new(given(account().verified()));
    let token = server.access_token().await;
    let api = serde_json::to_value(openapi::openapi()).unwrap();
    let events = server.scene.world.log().len();
    let mut fields = 0;
    for route in ROUTES {
        let operation = &api["paths"][route.path][route.method.as_str().to_lowercase()];
        let body = operation["requestBody"]["content"]["application/json"]["schema"].to_string();
        let Some(name) = body
            .split("#/components/schemas/")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        let schema = &api["components"]["schemas"][name];
        assert_eq!(schema["additionalProperties"], false, "{name}");
        let names: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        let good: serde_json::Map<_, _> = names
            .iter()
            .map(|name| ((*name).clone(), json!("x")))
            .collect();
        let mut bad = vec![json!([]), json!("x"), json!(null)];
        for name in &names {
            for wrong in [
                json!([]),
                json!(["x"]),
                json!({}),
                json!({"$ne": null}),
                json!(0),
                json!(true),
                json!(null),
            ] {
                let mut body = good.clone();
                body.insert((*name).clone(), wrong);
                bad.push(body.into());
            }
            fields += 1;
        }
        for more in [
            "role",
            "roles",
            "is_admin",
            "email_verified",
            "id",
            "token_version",
            "mfa_enabled",
            "created_at",
        ] {
            let mut body = good.clone();
            body.insert(more.to_owned(), json!({"role": "admin"}));
            bad.push(body.into());
        }
        for body in bad {
            let answer = server
                .send(ask(&route.method, route.path).token(&token).body(&body))
                .await;
            assert_eq!(
                answer.problem(),
                (422, "invalid_fields".to_owned()),
                "{name} {body}"
            );
        }
        let text = ask(&route.method, route.path)
            .token(&token)
            .body(&json!("x"))
            .header("content-type", "text/plain");
        assert!([415, 422].contains(&server.send(text).await.status));
    }
    assert!(fields >= 16, "{fields}");
    assert_eq!(
        server.scene.world.log().len(),
        events,
        "nothing was written"
    );
}

#[tokio::test]
async fn the_documentation_is_there_and_needs_nothing_from_elsewhere() {
    let server = Server::new(nobody());
    let json = server.send(get("/api/openapi.json")).await;
    assert_eq!(
        (json.status, json.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(json.json()["info"]["title"], "Quivive");
    let page = server.send(get("/api/docs")).await;
    for route in ROUTES {
        assert!(
            page.body
                .contains(&format!("<code>{} {}</code>", route.method, route.path)),
            "{}",
            route.path
        );
    }
    for code in crate::problem::Code::ALL {
        let path = format!("/problems/{}", code.meaning().code);
        assert!(page.body.contains(&path));
        let page = server.send(get(&path)).await;
        assert!(
            page.status == 200 && page.body.contains(code.meaning().title),
            "{path}"
        );
    }
    assert_eq!(server.send(get("/problems/none")).await.status, 404);
    for forbidden in [
        "<script", "<style", " style=", "http://", "https://", "onclick",
    ] {
        assert!(!page.body.contains(forbidden), "{forbidden}");
    }
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'; style-src 'self'")
    );
    let keys = server.send(get("/.well-known/jwks.json")).await;
    assert_eq!(
        (keys.json(), keys.header("cache-control")),
        (json!({"keys": []}), "public, max-age=300")
    );
}
