//! What a browser is made to bring along makes nobody somebody else: T38 and T39 of the security cases.

use std::collections::BTreeSet;

use quivive_testkit::client::Call;
use quivive_testkit::experiments::check;
use quivive_testkit::{PASSWORD, Reply, Server};
use serde_json::{Value, json};

use crate::support::{events_until, post, server};

/// T38: each sign-in opens a session of its own. What a request brings along is not adopted, and no cookie is set or read.
#[tokio::test(flavor = "multi_thread")]
async fn t38_nothing_planted_becomes_a_session() {
    let server = server().await;
    server.register("attacker@example.org").await;
    server.register("victim@example.org").await;
    let planted = server.login("attacker@example.org", PASSWORD).await;
    let text = |tokens: &Value, name: &str| tokens[name].as_str().unwrap().to_owned();
    let (session, access) = (text(&planted, "session_id"), text(&planted, "access_token"));
    let cookie = format!(
        "__Host-session={session}; session={session}; session_id={session}; access_token={access}"
    );
    let credentials = json!({"email": "victim@example.org", "password": PASSWORD});
    let sign_in = async |body: &Value, token: Option<&str>| {
        let call = Call {
            method: "POST",
            path: &format!("/api/v1/sessions?session_id={session}"),
            body: Some(body.to_string().into_bytes()),
            token,
            headers: vec![
                ("cookie", cookie.clone()),
                ("x-session-id", session.clone()),
            ],
        };
        server.client().call(&call).await.expect("an answer")
    };
    let mut seen = BTreeSet::from([session.clone(), access.clone()]);
    for token in [None, Some(access.as_str())] {
        let reply = sign_in(&credentials, token).await.expect(200);
        assert_eq!(reply.header("set-cookie"), None);
        let tokens = reply.json();
        for name in [
            "session_id",
            "access_token",
            "refresh_token",
            "device_token",
        ] {
            assert!(seen.insert(text(&tokens, name)), "{name} was there before");
        }
        let me = server.api("GET", "/me", None, tokens["access_token"].as_str());
        assert_eq!(me.await.expect(200).json()["email"], "victim@example.org");
    }
    for name in ["session_id", "access_token", "refresh_token"] {
        let mut body = credentials.clone();
        body[name] = planted[name].clone();
        let refused = sign_in(&body, None).await.expect(422);
        assert_eq!(refused.json()["errors"][0]["pointer"], format!("/{name}"));
    }
    // What was planted is still the attacker's alone, and is read from the one header.
    let me = server.api("GET", "/me", None, Some(&access)).await;
    assert_eq!(me.expect(200).json()["email"], "attacker@example.org");
    let path = format!("/api/v1/me?access_token={access}");
    let call = Call {
        method: "GET",
        path: &path,
        headers: vec![("cookie", cookie.clone())],
        ..Call::default()
    };
    let refused = server.client().call(&call).await.expect("an answer");
    refused.expect(401);

    // A fresh proof gives a token of its own; it is the session that goes on.
    let body = Some(json!({"password": PASSWORD}));
    let proved = server.api("POST", "/me/step-up", body, Some(&access)).await;
    let proved = proved.expect(200).json();
    assert!(seen.insert(text(&proved, "access_token")));
    assert_eq!(proved["session_id"], planted["session_id"]);
    for page in ["/", "/verify?token=x", "/reset?token=x", "/forgot"] {
        assert_eq!(server.get(page).await.header("set-cookie"), None, "{page}");
    }
}

const FOREIGN: [&[(&str, &str)]; 4] = [
    &[
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ],
    &[
        ("origin", "http://sub.localhost"),
        ("sec-fetch-site", "same-site"),
    ],
    &[("origin", "null"), ("sec-fetch-site", "cross-site")],
    &[("sec-fetch-site", "cross-site")],
];

async fn from_elsewhere(
    server: &Server,
    (method, path): (&str, &str),
    more: &[&[(&str, &str)]],
    body: Option<&str>,
) -> Reply {
    let headers = more.iter().copied().flatten();
    let call = Call {
        method,
        path,
        body: body.map(|body| body.as_bytes().to_vec()),
        token: None,
        headers: headers
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
    };
    let reply = server.client().call(&call).await.expect("an answer");
    for (name, _) in &reply.headers {
        assert!(
            !name.starts_with("access-control-"),
            "{method} {path} {name}"
        );
    }
    reply
}

/// T39: what a page of somebody else can make a browser send reaches no workflow, not even a sign-in or a sign-out.
#[tokio::test(flavor = "multi_thread")]
async fn t39_a_foreign_page_writes_nothing() {
    let server = server().await;
    let ours = json!({"email": "victim@example.org", "password": PASSWORD});
    post(&server, "/users", ours.clone()).await.expect(202);
    let admin = server.administrator().await;
    let told = |events: &[Value]| check::count(events, "email.delivered") == 1;
    let before = events_until(&server, &admin, told).await;
    assert!(told(&before));
    let json = ours.to_string();
    let form = "email=victim%40example.org&password=x&token=x&new_password=x&refresh_token=x";
    for foreign in FOREIGN {
        for name in [
            "users",
            "sessions",
            "tokens",
            "password-reset-requests",
            "password-resets",
            "email-verification-requests",
            "email-verifications",
            "me/email-change-confirmations",
            "me/email-change-reversals",
        ] {
            let path = format!("/api/v1/{name}");
            // All that a page may send without asking first.
            for (kind, body) in [
                ("text/plain", json.as_str()),
                ("application/x-www-form-urlencoded", form),
                ("multipart/form-data; boundary=x", "--x--"),
            ] {
                let more = [foreign, &[("content-type", kind)]];
                let reply = from_elsewhere(&server, ("POST", &path), &more, Some(body)).await;
                assert_eq!(reply.status, 415, "{path} {kind}");
            }
            let asked = &[
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "content-type"),
            ];
            let preflight = [foreign, asked];
            let reply = from_elsewhere(&server, ("OPTIONS", &path), &preflight, None).await;
            assert_eq!(reply.status, 405, "{path}");
            let disguised = format!("{path}?_method=POST&{form}");
            let reply = from_elsewhere(&server, ("GET", &disguised), &[foreign], None).await;
            // To list sessions is a GET, and wants a token.
            let expected = if name == "sessions" { 401 } else { 405 };
            assert_eq!(reply.status, expected, "{path}");
        }
        let end = "/api/v1/sessions/current";
        let disguise: &[_] = &[
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-http-method-override", "DELETE"),
        ];
        let more = [foreign, disguise];
        let reply = from_elsewhere(&server, ("POST", end), &more, Some("_method=DELETE")).await;
        assert_eq!(reply.status, 405);
        let disguise: &[_] = &[("content-type", "application/x-www-form-urlencoded")];
        for page in ["/verify", "/reset", "/forgot", "/setup"] {
            let more = [foreign, disguise];
            let reply = from_elsewhere(&server, ("POST", page), &more, Some(form)).await;
            assert_eq!(reply.status, 403, "{page}");
        }
    }
    let after = server.events(&admin).await;
    assert_eq!(after, before, "nothing happened");
}
