//! Who may what, asked of every route that the served document names: T36 of the security cases.

use std::collections::BTreeSet;

use quivive_testkit::client::Call;
use quivive_testkit::experiments::check;
use quivive_testkit::{PASSWORD, Reply, Server, Stream};
use serde_json::{Value, json};

use crate::support::{post, server};

/// What everybody may ask.
const OPEN: [(&str, &str); 19] = [
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/.well-known/oauth-authorization-server"),
    ("GET", "/api/asyncapi.json"),
    ("GET", "/api/docs"),
    ("GET", "/api/openapi.json"),
    ("POST", "/api/v1/email-verification-requests"),
    ("POST", "/api/v1/email-verifications"),
    ("POST", "/api/v1/me/email-change-confirmations"),
    ("POST", "/api/v1/me/email-change-reversals"),
    ("POST", "/api/v1/password-reset-requests"),
    ("POST", "/api/v1/password-resets"),
    ("POST", "/api/v1/sessions"),
    ("DELETE", "/api/v1/sessions/current"),
    ("POST", "/api/v1/tokens"),
    ("POST", "/api/v1/users"),
    ("GET", "/livez"),
    ("GET", "/metrics"),
    ("GET", "/problems/{code}"),
    ("GET", "/readyz"),
];

/// What everybody who is signed in may do to what is theirs.
const OWN: [(&str, &str); 10] = [
    ("GET", "/api/v1/me"),
    ("DELETE", "/api/v1/me"),
    ("GET", "/api/v1/me/export"),
    ("POST", "/api/v1/me/email-changes"),
    ("PUT", "/api/v1/me/password"),
    ("POST", "/api/v1/me/rotations"),
    ("POST", "/api/v1/me/step-up"),
    ("GET", "/api/v1/sessions"),
    ("DELETE", "/api/v1/sessions"),
    ("DELETE", "/api/v1/sessions/{id}"),
];

/// What services alone may ask, with a key that has the scope.
const SERVICES: [(&str, &str); 4] = [
    ("POST", "/api/v1/authorize-check"),
    ("POST", "/api/v1/events"),
    ("POST", "/api/v1/introspect"),
    ("POST", "/api/v1/revoke"),
];

/// What such services may ask, and administrators. All that is in no list is for administrators.
const SHARED: [(&str, &str); 6] = [
    ("GET", "/api/v1/events"),
    ("GET", "/api/v1/events/catalogue"),
    ("GET", "/api/v1/events/schemas"),
    ("GET", "/api/v1/events/schemas/{type}/{version}"),
    ("GET", "/api/v1/events/search"),
    ("GET", "/api/v1/events/stream"),
];

const STREAM: &str = "/api/v1/events/stream";

/// The routes of the served document.
async fn routes(server: &Server) -> BTreeSet<(String, String)> {
    let document = server.get("/api/openapi.json").await.expect(200).json();
    let paths = document["paths"].as_object().expect("paths");
    let each = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").keys();
        methods.map(|method| (method.to_uppercase(), path.clone()))
    });
    each.collect()
}

/// Asks a route with an empty body, naming what is `others` where it wants an id. No route may set a cookie.
async fn ask(server: &Server, route: (&str, &str), others: &str, token: Option<&str>) -> Reply {
    let (method, path) = route;
    let path = path
        .replace("{id}", others)
        .replace("{event_id}", others)
        .replace("{code}", "invalid_token")
        .replace("{type}/{version}", "user.login.failed/1");
    let call = Call {
        method,
        path: &path,
        body: (method != "GET").then(|| b"{}".to_vec()),
        token,
        headers: Vec::new(),
    };
    let reply = server.client().call(&call).await.expect("an answer");
    assert_eq!(reply.header("set-cookie"), None, "{method} {path}");
    assert!(reply.status < 500, "{method} {path} {}", reply.status);
    reply
}

/// Whether they are let through: no other answer than these two speaks against the caller.
fn passes(reply: &Reply) -> bool {
    ![401, 403].contains(&reply.status)
}

/// T36: each route asked by each role, naming what belongs to somebody else, is answered as the tables say; and what is denied is
/// in the log.
#[tokio::test(flavor = "multi_thread")]
async fn t36_each_route_is_for_whom_the_tables_say_and_each_denial_is_counted() {
    let mut server = server().await;
    let admin = server.administrator().await;
    let victim = server.register("victim@example.org").await;
    server.register("other@example.org").await;
    let other = server.login("other@example.org", PASSWORD).await;
    let other = other["access_token"].as_str().unwrap();
    let body = json!({"name": "shop", "scopes": ["client.forward"]});
    let made = server.api("POST", "/admin/api-keys", Some(body), Some(&admin));
    let key = made.await.expect(201).json();
    let key = key["key"].as_str().unwrap();

    let routes = routes(&server).await;
    let listed = [&OPEN[..], &OWN, &SERVICES, &SHARED].concat();
    for (method, path) in &listed {
        let route = ((*method).to_owned(), (*path).to_owned());
        assert!(routes.contains(&route), "{route:?} is no route any more");
    }
    let mut denials = [0_u64, 0];
    for (method, path) in &routes {
        let route = (method.as_str(), path.as_str());
        let (own, services) = (OWN.contains(&route), SERVICES.contains(&route));
        if OPEN.contains(&route) {
            assert!(
                passes(&ask(&server, route, &victim, None).await),
                "{route:?}"
            );
            continue;
        }
        let to_keys = services || SHARED.contains(&route);
        // By nobody, by a service without the scope, by somebody, by an administrator; `None`: let through.
        let expected = [
            (None, Some(401)),
            (Some(key), Some(if to_keys { 403 } else { 401 })),
            (Some(other), (!own).then_some(403)),
            (Some(admin.as_str()), services.then_some(403)),
        ];
        for (number, (token, refused)) in expected.into_iter().enumerate() {
            if own && refused.is_none() {
                continue;
            }
            if refused.is_none() && path == STREAM {
                // It does not end, so that only its beginning can be looked at.
                let path = path.trim_start_matches("/api/v1");
                let stream = Stream::open(server.address, path, &admin, None).await;
                assert!(stream.expect("an answer").is_ok());
                continue;
            }
            let reply = ask(&server, route, &victim, token).await;
            let Some(status) = refused else {
                assert!(passes(&reply), "{route:?} {number} {}", reply.status);
                continue;
            };
            let code = ["unauthenticated", "forbidden"][usize::from(status == 403)];
            assert_eq!(
                (reply.status, reply.code()),
                (status, code.to_owned()),
                "{route:?} {number}"
            );
            denials[usize::from(status == 403)] += 1;
        }
    }
    // What is one's own is asked by somebody new each time, for some of it ends what they hold.
    for (number, route) in OWN.into_iter().enumerate() {
        let email = format!("own{number}@example.org");
        server.register(&email).await;
        let tokens = server.login(&email, PASSWORD).await;
        let reply = ask(&server, route, &victim, tokens["access_token"].as_str()).await;
        assert!(passes(&reply), "{route:?} {}", reply.status);
    }

    server.stop().await;
    server.restart().await;
    let admin = server.administrator().await;
    let events = server.events(&admin).await;
    check::whole(&events);
    let counted = ["unauthenticated", "forbidden"].map(|cause| {
        let told = events.iter().filter(|event| {
            event["type"] == "admission.requests_rejected" && event["data"]["cause"] == cause
        });
        told.map(|event| event["data"]["count"].as_u64().unwrap())
            .sum::<u64>()
    });
    assert_eq!(counted, denials);
}

/// T36: what belongs to somebody else is answered as what there is not.
#[tokio::test(flavor = "multi_thread")]
async fn t36_a_session_of_somebody_else_is_as_one_that_there_is_not() {
    let server = server().await;
    server.register("victim@example.org").await;
    server.register("other@example.org").await;
    let hers = server.login("victim@example.org", PASSWORD).await;
    let other = server.login("other@example.org", PASSWORD).await;
    let end = async |session: &str| {
        let path = format!("/sessions/{session}");
        let token = other["access_token"].as_str();
        let reply = server.api("DELETE", &path, None, token).await;
        let mut body = reply.expect(404).json();
        for own in ["request_id", "instance"] {
            body[own] = Value::Null;
        }
        body
    };
    let session = hers["session_id"].as_str().unwrap();
    let nowhere = end("0195d4a0-0000-7000-8000-000000000001").await;
    assert_eq!(end(session).await, nowhere);
    let me = server.api("GET", "/me", None, hers["access_token"].as_str());
    me.await.expect(200);
    let refresh = json!({"refresh_token": hers["refresh_token"]});
    post(&server, "/tokens", refresh).await.expect(200);
}
