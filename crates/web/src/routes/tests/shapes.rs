//! T04, T05: what a body may be; and the documentation that says so.

use super::*;

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

/// T04, T05 for every route for people that takes a body, by what the document says of it. Those for operators and services
/// take more than strings; `json::shaped` has tests of that.
#[tokio::test]
async fn no_route_takes_anything_but_the_strings_it_describes() {
    let server = Server::new(given(account().verified()));
    let token = server.access_token().await;
    let api = serde_json::to_value(openapi::openapi()).unwrap();
    let events = server.scene.world.log().len();
    let mut fields = 0;
    for route in ROUTES.iter() {
        let operation = &api["paths"][&route.path][route.method.as_str().to_lowercase()];
        let body = operation["requestBody"]["content"]["application/json"]["schema"].to_string();
        let Some(name) = body
            .split("#/components/schemas/")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        let schema = &api["components"]["schemas"][name];
        let closed = schema["additionalProperties"] == false;
        assert!(closed || schema["oneOf"].is_array(), "{name}");
        if !matches!(route.authority, Authority::Open | Authority::Bearer) {
            continue;
        }
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
                .send(ask(&route.method, &route.path).token(&token).body(&body))
                .await;
            assert_eq!(
                answer.problem(),
                (422, "invalid_fields".to_owned()),
                "{name} {body}"
            );
        }
        let text = ask(&route.method, &route.path)
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
    let events = server.send(get("/api/asyncapi.json")).await;
    assert_eq!(
        (events.status, events.header("content-type")),
        (200, "application/json")
    );
    assert_eq!(
        events.json(),
        crate::asyncapi(server.scene.kernel.catalogue())
    );
    let page = server.send(get("/api/docs")).await;
    for route in ROUTES.iter() {
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
