//! The figures of a driven server, and the dashboard that is drawn from them.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use quivive_testkit::{Options, PASSWORD, Server, Stream};
use serde_json::{Value, json};

use crate::support::{BINARY, post};

const DASHBOARD: &str = include_str!("../../../../docs/grafana/quivive.json");

/// The names of all figures that a dashboard asks for.
fn asked(dashboard: &Value) -> BTreeSet<String> {
    let targets = dashboard["panels"].as_array().unwrap().iter();
    let targets = targets
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    let part = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let words = expressions.flat_map(|expression| expression.split(part));
    words
        .filter(|word| word.starts_with("quivive_"))
        .map(str::to_owned)
        .collect()
}

async fn figures(server: &Server) -> String {
    let answer = server.get("/metrics").await.expect(200);
    String::from_utf8(answer.body).unwrap()
}

/// The names of all samples.
fn shown(figures: &str) -> BTreeSet<String> {
    let samples = figures.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect()
}

/// A mail server that is away: the event waits in a lane, and it is seen for how long.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_lane_is_told_with_its_age() {
    let away = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let options = Options::default()
        .env("QUIVIVE__MAIL__HOST", "127.0.0.1")
        .env("QUIVIVE__MAIL__PORT", &away.port().to_string())
        .env("QUIVIVE__MAIL__TLS", "none")
        .env("QUIVIVE__MAIL__FROM", "no-reply@example.org");
    let server = Server::start(BINARY, options).await;
    let body = json!({"email": "ada@example.org", "password": PASSWORD});
    post(&server, "/users", body).await.expect(202);
    let began = Instant::now();
    let lane = "quivive_lanes_oldest_seconds{subscription=\"email\",state=\"retrying\"} ";
    loop {
        let ready = server.get("/readyz?verbose").await.expect(200).json();
        let all = ready["subscriptions"].as_array().unwrap();
        let email = all.iter().find(|one| one["name"] == "email").unwrap();
        let age = email["oldest_waiting_seconds"].as_f64().unwrap();
        let text = figures(&server).await;
        let shown = text.lines().find_map(|line| line.strip_prefix(lane));
        if age > 2.0 && shown.is_some_and(|shown| shown.parse::<f64>().unwrap() > 2.0) {
            assert!(age <= began.elapsed().as_secs_f64(), "{age} s");
            assert_eq!(
                (&email["state"], &email["stuck"]),
                (&json!("retrying"), &json!(false))
            );
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{email} {text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_figure_of_the_dashboard_is_shown_by_a_driven_server() {
    let server = Server::start(BINARY, Options::default()).await;
    let admin = server.administrator().await;
    let stream = Stream::open(server.address, "/events/stream", &admin, None).await;
    // Refused, and soon too often.
    for _ in 0..11 {
        post(
            &server,
            "/password-resets",
            json!({"token": "x", "new_password": "x"}),
        )
        .await;
    }
    server.api("GET", "/me", None, None).await.expect(401);
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let asked = asked(&dashboard);
    assert!(asked.len() > 12, "{asked:?}");
    let began = Instant::now();
    // What is looked at every few seconds comes a little later.
    let missing = loop {
        let shown = shown(&figures(&server).await);
        let missing: Vec<_> = asked.difference(&shown).cloned().collect();
        if missing.is_empty() || began.elapsed() > Duration::from_secs(15) {
            break missing;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        missing, [""; 0],
        "the dashboard asks for what nobody counts"
    );
    let text = figures(&server).await;
    assert!(text.contains("quivive_event_streams 1\n"), "{text}");
    for line in [
        "quivive_subscription_lag_seconds{subscription=\"email\"} ",
        "quivive_subscription_stuck{subscription=\"email\"} 0\n",
        "quivive_lanes_oldest_seconds{subscription=\"email\",state=\"parked\"} 0\n",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    drop(stream);

    let ready = server.get("/readyz?verbose").await.expect(200).json();
    for subscription in ready["subscriptions"].as_array().unwrap() {
        assert_eq!(subscription["stuck"], false, "{subscription}");
        for age in ["lag_seconds", "oldest_waiting_seconds"] {
            assert!(subscription[age].is_f64(), "{age} of {subscription}");
        }
    }
}
