//! What the log hears of requests that no workflow heard of.

use std::collections::BTreeMap;

use quivive_app::admission::Rejections;
use quivive_delivery::tasks::Tasks;

use super::*;

/// The events of what was refused, by route and cause, once the minute is over.
async fn told(server: &Server, rejections: Arc<Rejections>) -> BTreeMap<(String, String), u64> {
    let before = server.scene.world.log().len();
    let stopping = Tasks::new().stopping();
    stopping.cancel();
    let kernel = Arc::clone(&server.scene.kernel);
    rejections.run(kernel, stopping).await;
    let log = server.scene.world.log();
    let told = log[before..].iter().map(|stored| {
        assert_eq!(stored.envelope.kind, "admission.requests_rejected");
        let fields: Value = serde_json::from_slice(&stored.body).unwrap();
        let text = |name: &str| fields[name].as_str().unwrap().to_owned();
        (
            (text("route"), text("cause")),
            fields["count"].as_u64().unwrap(),
        )
    });
    told.collect()
}

#[tokio::test(start_paused = true)]
async fn refused_requests_are_counted_and_told_once_and_those_of_workflows_are_not() {
    let mut rejections = None;
    let server = Server::with(nobody(), |web| {
        web.options.rate_limits = true;
        rejections = Some(Arc::clone(&web.rejections));
    });
    let rejections = rejections.unwrap();
    let sessions = "/api/v1/sessions";
    for _ in 0..20 {
        assert_eq!(server.send(sign_in()).await.status, 401);
    }
    let heard = server.scene.world.log().len();
    assert_eq!(heard, 40, "each has its two events");
    for _ in 0..200 {
        let odd = [
            post(sessions, &json!({"email": 1})),
            ask(&Method::POST, "/api/v1/users").form("email=a%40example.org"),
            get("/api/v1/me").token("no-such-token"),
            get("/nothing/there"),
            get("/api/v1/me").header("host", "evil.example"),
            post("/verify", &json!({})),
        ];
        for ask in odd {
            let status = server.send(ask).await.status;
            assert!((400..500).contains(&status), "{status}");
        }
    }
    assert_eq!(server.scene.world.log().len(), heard, "nothing is appended");
    let told = told(&server, rejections).await;
    let count = |route: &str, cause: &str| {
        let key = (route.to_owned(), cause.to_owned());
        told.get(&key).copied().unwrap_or_default()
    };
    // Ten more sign-ins are within the limit of thirty a minute; ten registrations are.
    assert_eq!(count(sessions, "invalid_fields"), 10);
    assert_eq!(count(sessions, "rate_limited"), 190);
    assert_eq!(count("/api/v1/users", "unsupported_media_type"), 10);
    assert_eq!(count("/api/v1/users", "rate_limited"), 190);
    // Both are read: 600 a minute.
    assert_eq!(count("/api/v1/me", "unauthenticated"), 200);
    assert_eq!(count("none", "not_found"), 200);
    assert_eq!(count("/api/v1/me", "misdirected_request"), 200);
    assert_eq!(count("page", "rate_limited"), 190);
    let all: u64 = told.values().sum();
    assert!(all >= 1_190 && told.len() <= 9, "{told:?}");
}
