//! What the edge promises for every route there is, whatever stands behind it.

use axum::Router;
use axum::http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::routing;
use quivive_app::testing::{account, given, nobody};
use quivive_domain::Role;
use quivive_domain::api_key::Scope;
use serde_json::{Value, json};

use super::*;
use crate::routes::ROUTES;
use crate::testing::{Answer, Server, URL, ask, get, post};

mod authority;
mod idempotency;
mod rejected;
mod stated;

/// A path that a route's pattern matches.
fn concrete(route: &Route) -> String {
    route
        .path
        .replace("{id}", "0195d4a0-0000-7000-8000-000000000001")
        .replace("{code}", "invalid_token")
        .replace("{type}/{version}", "user.login.failed/1")
}

/// The standing checks: of every answer, also of a refusal.
fn stands(answer: &Answer) {
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    let kept = answer.header(CACHE_CONTROL);
    assert!(
        kept == "no-store" || (answer.status == 200 && kept == "public, max-age=300"),
        "{kept}"
    );
    assert_eq!(answer.header("x-request-id").len(), 36);
    assert!(
        answer.status == 204 || !answer.header(CONTENT_TYPE).is_empty(),
        "{answer:?}"
    );
    assert!(!answer.headers.contains_key("set-cookie"));
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    if answer.header(CONTENT_TYPE) == "application/problem+json" {
        let problem = answer.json();
        assert_eq!(problem["status"], answer.status);
        assert_eq!(problem["request_id"], answer.header("x-request-id"));
        let kind = problem["type"].as_str().unwrap();
        assert_eq!(
            kind,
            format!("{URL}/problems/{}", problem["code"].as_str().unwrap())
        );
        assert!(
            !problem["title"].as_str().unwrap().is_empty()
                && !problem["detail"].as_str().unwrap().is_empty()
        );
        assert!(problem["instance"].as_str().unwrap().starts_with('/'));
    }
}

/// T36, and the standing checks of T38: no cookie.
#[tokio::test]
async fn every_route_asks_for_what_the_list_says() {
    for route in ROUTES.iter() {
        // Anew, for one of the routes takes them away.
        let somebody = Server::new(given(account().verified()));
        let (path, token) = (concrete(route), somebody.access_token().await);
        let stranger = somebody.send(ask(&route.method, &path)).await;
        stands(&stranger);
        let bad = somebody
            .send(ask(&route.method, &path).token("no-such-token"))
            .await;
        let signed_in = somebody.send(ask(&route.method, &path).token(&token)).await;
        stands(&signed_in);
        let remote = somebody
            .send(ask(&route.method, &path).from("192.0.2.1"))
            .await;
        match route.authority {
            Authority::Open | Authority::Probe => {
                for answer in [&stranger, &bad, &signed_in] {
                    assert!(
                        ![401, 403, 404].contains(&answer.status),
                        "{} {path} {answer:?}",
                        route.method
                    );
                }
            }
            Authority::Loopback => {
                assert_eq!((stranger.status, remote.status), (200, 404), "{path}");
            }
            Authority::Bearer
            | Authority::Admin
            | Authority::May(_)
            | Authority::AdminOr(_)
            | Authority::Service(_) => {
                for answer in [&stranger, &bad] {
                    assert_eq!(
                        answer.problem(),
                        (401, "unauthenticated".to_owned()),
                        "{path}"
                    );
                    assert_eq!(answer.header(WWW_AUTHENTICATE), "Bearer");
                }
                let forbidden = signed_in.status == 403 && signed_in.problem().1 == "forbidden";
                assert_eq!(forbidden, route.authority != Authority::Bearer, "{path}");
            }
        }
    }
}

/// Also that a handler which a service may call does not ask for a person.
#[tokio::test]
async fn a_key_with_the_scope_is_let_through_where_the_list_says_so_and_nowhere_else() {
    let server = Server::new(given(account().verified().role(Role::Admin)));
    let token = server.access_token().await;
    let with = |scopes: Value| {
        post(
            "/api/v1/admin/api-keys",
            &json!({"name": "all", "scopes": scopes}),
        )
        .token(&token)
    };
    let all: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let made = server.send(with(json!(all))).await.json();
    let key = made["key"].as_str().unwrap();
    let mut open_to_keys = 0;
    for route in ROUTES.iter() {
        let path = concrete(route);
        let answer = server.begin(ask(&route.method, &path).token(key)).await;
        let status = answer.status().as_u16();
        match route.authority {
            Authority::AdminOr(scope) | Authority::Service(scope) => {
                open_to_keys += 1;
                assert!(![401, 403, 500].contains(&status), "{path} {status}");
                let others: Vec<_> = all.iter().filter(|it| **it != scope.as_str()).collect();
                let made = server.send(with(json!(others))).await.json();
                let other = made["key"].as_str().unwrap();
                let answer = server.begin(ask(&route.method, &path).token(other)).await;
                assert_eq!(answer.status(), 403, "{path}");
            }
            Authority::Bearer | Authority::Admin | Authority::May(_) => {
                assert_eq!(status, 401, "{path}");
            }
            Authority::Open | Authority::Probe | Authority::Loopback => {}
        }
    }
    assert!(open_to_keys >= 6, "{open_to_keys}");
}

#[tokio::test]
async fn an_administrator_may_and_a_signed_out_one_may_not() {
    let server = Server::new(given(account().verified().role(Role::Admin)));
    let token = server.access_token().await;
    assert_eq!(
        server
            .send(get("/api/v1/events").token(&token))
            .await
            .status,
        200
    );
    assert_eq!(
        server
            .send(ask(&Method::DELETE, "/api/v1/sessions/current").token(&token))
            .await
            .status,
        204
    );
    server.scene.world.pass(std::time::Duration::from_hours(1));
    assert_eq!(
        server
            .send(get("/api/v1/events").token(&token))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let server = Server::new(nobody());
    for path in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v1/nothing",
        "/api/v1/users/",
        "/nothing",
        "/api/v1/me/../events",
    ] {
        let answer = server.send(get(path)).await;
        stands(&answer);
        assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{path}");
    }
    let answer = server.send(get("/api/v1/users")).await;
    stands(&answer);
    assert_eq!(answer.problem(), (405, "method_not_allowed".to_owned()));
    assert_eq!(answer.header(ALLOW), "POST");
    let answer = server.send(ask(&Method::PATCH, "/api/v1/me")).await;
    let allowed = (405, "GET, HEAD, DELETE");
    assert_eq!((answer.status, answer.header(ALLOW)), allowed);
    assert_eq!(server.send(ask(&Method::HEAD, "/livez")).await.status, 200);

    let person = server
        .send(get("/nothing").header("accept", "text/html,*/*;q=0.8"))
        .await;
    assert_eq!(
        (person.status, person.header(CONTENT_TYPE)),
        (404, "text/html; charset=utf-8")
    );
    let program = server
        .send(get("/api/v1/nothing").header("accept", "text/html"))
        .await;
    assert_eq!(program.problem().0, 404);
}

#[tokio::test]
async fn a_panic_is_a_500_that_says_nothing() {
    async fn panics() -> &'static str {
        panic!("the password was hunter2")
    }
    let server = Server::around(
        nobody(),
        Behind::Pages,
        Router::new().route("/panics", routing::get(panics)),
    );
    let answer = server.send(get("/panics")).await;
    stands(&answer);
    assert_eq!(answer.problem(), (500, "internal".to_owned()));
    assert!(!answer.body.contains("hunter2"));
}

/// A route that is mounted without its line in the list.
#[tokio::test]
async fn what_the_list_does_not_name_is_served_to_nobody() {
    let inside = Router::new().route("/api/v1/secret", routing::get(async || "secret"));
    let server = Server::around(nobody(), Behind::Api, inside);
    assert_eq!(server.send(get("/api/v1/secret")).await.problem().0, 404);
}

#[tokio::test]
async fn under_a_prefix_the_list_holds_as_well() {
    let server = Server::nested(given(account().verified()), "/identity");
    for (path, status) in [
        ("/identity/livez", 200),
        ("/identity/api/v1/me", 401),
        ("/identity/api/v1/events", 401),
        ("/identity/api/v1/events/catalogue", 401),
        (
            "/identity/api/v1/events/0195d4a0-0000-7000-8000-000000000001",
            401,
        ),
        ("/identity/api/v1/users", 405),
        ("/identity/nothing", 404),
        ("/identity/problems/internal", 200),
    ] {
        assert_eq!(server.send(get(path)).await.status, status, "{path}");
        let remote = server.send(get(path).from("192.0.2.1")).await;
        assert_eq!(remote.status, status, "{path}");
    }
    assert_eq!(
        server
            .send(get("/identity/metrics").from("192.0.2.1"))
            .await
            .status,
        404
    );
}

fn sign_in() -> crate::testing::Ask {
    post(
        "/api/v1/sessions",
        &json!({"email": "ada@example.org", "password": "wrong"}),
    )
}

#[tokio::test(start_paused = true)]
async fn a_source_that_asks_too_often_waits() {
    let server = Server::with(nobody(), |web| web.options.rate_limits = true);
    for left in (0..30).rev() {
        let answer = server.send(sign_in().from("192.0.2.1")).await;
        assert_ne!(answer.status, 429);
        assert_eq!(answer.header("ratelimit-limit"), "30");
        assert_eq!(answer.header("ratelimit-remaining"), left.to_string());
    }
    let events = server.scene.world.log().len();
    // T12: another name for the same source does not help.
    for header in [
        "x-forwarded-for",
        "forwarded",
        "x-real-ip",
        "cf-connecting-ip",
        "true-client-ip",
    ] {
        let answer = server
            .send(sign_in().from("192.0.2.1").header(header, "203.0.113.9"))
            .await;
        assert_eq!(answer.status, 429, "{header}");
    }
    let answer = server.send(sign_in().from("192.0.2.1")).await;
    stands(&answer);
    assert_eq!(answer.problem(), (429, "rate_limited".to_owned()));
    let secs: u64 = answer.header(RETRY_AFTER).parse().unwrap();
    assert!((1..=63).contains(&secs), "{secs}");
    assert_eq!(answer.header("ratelimit-remaining"), "0");
    assert_eq!(
        server.scene.world.log().len(),
        events,
        "what is refused at admission is no workflow"
    );
    // Others, and other families, are not touched.
    assert_ne!(server.send(sign_in().from("192.0.2.2")).await.status, 429);
    assert_ne!(
        server
            .send(get("/api/v1/me").from("192.0.2.1"))
            .await
            .status,
        429
    );
    for _ in 0..100 {
        assert_eq!(
            server.send(get("/readyz").from("192.0.2.1")).await.status,
            200
        );
    }
}

#[tokio::test(start_paused = true)]
async fn limits_can_be_switched_off() {
    let server = Server::new(nobody());
    for _ in 0..40 {
        let answer = server.send(sign_in()).await;
        assert!(answer.status == 401 && answer.header("ratelimit-limit").is_empty());
    }
}

/// T15.
#[tokio::test]
async fn a_wrong_host_is_told_so_and_health_does_not_mind() {
    let server = Server::new(nobody());
    let reset = || {
        post(
            "/api/v1/password-reset-requests",
            &json!({"email": "ada@example.org"}),
        )
    };
    let answer = server.send(reset().header("host", "evil.example")).await;
    stands(&answer);
    assert_eq!(answer.problem(), (421, "misdirected_request".to_owned()));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("evil.example") && detail.contains(URL) && detail.contains("public_url ="),
        "{detail}"
    );
    let two = reset()
        .header("host", "localhost:8080")
        .header("host", "evil.example");
    assert_eq!(
        server.send(two).await.problem(),
        (400, "bad_request".to_owned())
    );
    let absolute = post(
        "http://evil.example/api/v1/password-reset-requests",
        &json!({"email": "ada@example.org"}),
    );
    assert_eq!(server.send(absolute).await.problem().0, 421);
    assert!(server.scene.world.log().is_empty());
    for path in ["/livez", "/readyz"] {
        assert_eq!(
            server
                .send(get(path).header("host", "10.0.0.7:8080").from("192.0.2.1"))
                .await
                .status,
            200
        );
    }
    for forwarding in [
        "x-forwarded-host",
        "x-forwarded-proto",
        "forwarded",
        "x-original-url",
    ] {
        let answer = server
            .send(get("/livez").header(forwarding, "evil.example"))
            .await;
        assert!(!answer.body.contains("evil"), "{forwarding}");
    }
}

#[tokio::test]
async fn what_operators_see_is_for_this_machine_alone() {
    let server = Server::new(nobody());
    for path in ["/metrics", "/readyz?verbose"] {
        assert_eq!(server.send(get(path)).await.status, 200);
        assert_eq!(
            server
                .send(get(path).from("::1").header("host", "127.0.0.1"))
                .await
                .status,
            200
        );
        assert_eq!(
            server.send(get(path).from("192.0.2.1")).await.problem().0,
            404
        );
        assert_eq!(
            server
                .send(get(path).header("x-forwarded-for", "203.0.113.9"))
                .await
                .status,
            404
        );
        let rebound = server.send(get(path).header("host", "evil.example")).await;
        assert!([404, 421].contains(&rebound.status), "{path}");
    }
    let verbose = server.send(get("/readyz?verbose")).await.json();
    assert_eq!(
        verbose,
        json!({"status": "ready", "subscriptions": [{"name": "email", "lag": 0}]})
    );
    assert_eq!(
        server.send(get("/readyz")).await.json(),
        json!({"status": "ready"})
    );
    assert_eq!(server.send(get("/metrics")).await.body, "quivive_up 1\n");
}

/// T39.
#[tokio::test]
async fn pages_of_other_origins_may_call_when_the_operator_names_them() {
    let server = Server::with(nobody(), |web| {
        web.options.cors_origins = vec!["https://app.example".to_owned()];
    });
    let preflight = |origin: &str| {
        ask(&Method::OPTIONS, "/api/v1/sessions")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type")
    };
    let answer = server.send(preflight("https://app.example")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert_eq!(
        answer.header("access-control-allow-headers"),
        "authorization, content-type, idempotency-key, last-event-id"
    );
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    let answer = server
        .send(get("/api/v1/me").header("origin", "https://app.example"))
        .await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (401, "https://app.example")
    );
    assert_eq!(
        answer.header("access-control-expose-headers"),
        "x-request-id, retry-after"
    );
    for origin in [
        "https://evil.example",
        "null",
        "https://sub.app.example",
        "http://app.example",
    ] {
        for answer in [
            server.send(preflight(origin)).await,
            server
                .send(get("/api/v1/me").header("origin", origin))
                .await,
        ] {
            assert!([401, 405].contains(&answer.status), "{origin}");
            stands(&answer);
        }
    }
}

/// T07.
#[tokio::test]
async fn headers_have_a_limit() {
    let server = Server::new(nobody());
    let answer = server
        .send(get("/api/v1/me").header("x-long", &"x".repeat(64 * 1024)))
        .await;
    stands(&answer);
    assert_eq!(answer.problem(), (431, "headers_too_large".to_owned()));
}
