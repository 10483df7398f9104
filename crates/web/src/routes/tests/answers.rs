//! The journeys: what each route answers when all goes well, and when the person errs.

use super::*;

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
        .send(ask(&Method::DELETE, "/api/v1/sessions/current").token(access))
        .await;
    assert_eq!((out.status, out.body.as_str()), (204, ""));
    let after = server.send(refresh(&next["refresh_token"])).await;
    assert_eq!(after.problem(), (401, "invalid_token".to_owned()));
    for nobodys in [
        ask(&Method::DELETE, "/api/v1/sessions/current"),
        ask(&Method::DELETE, "/api/v1/sessions/current").body(&json!({})),
    ] {
        assert_eq!(server.send(nobodys).await.status, 204);
    }
    let tokens = server.tokens().await;
    let by_body = ask(&Method::DELETE, "/api/v1/sessions/current")
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
        ask(&Method::PUT, "/api/v1/me/password")
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
        .send(
            ask(&Method::PUT, "/api/v1/me/password")
                .token(access)
                .body(&change),
        )
        .await;
    assert_eq!(
        (changed.status, &changed.json()["session_id"]),
        (200, &tokens["session_id"])
    );
}
