//! Webhooks to a real receiver: signed, in order, and patient with whoever means no good.

mod receivers;
mod recovery;

use std::time::{Duration, Instant};

use quivive_testkit::experiments::check;
use quivive_testkit::{Act, Message, Options, PASSWORD, Receiver, Server};
use serde_json::{Value, json};

use crate::support::{BINARY, events_until, post};

/// A server that may call this machine, an administrator of it, and a receiver.
struct Desk {
    server: Server,
    admin: String,
    receiver: Receiver,
}

impl Desk {
    async fn start() -> Self {
        let options = Options::unlimited().env("QUIVIVE__WEBHOOKS__ALLOW_NETWORKS", "127.0.0.0/8");
        let server = Server::start(BINARY, options).await;
        Self {
            admin: server.administrator().await,
            server,
            receiver: Receiver::start().await,
        }
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> quivive_testkit::Reply {
        let path = format!("/admin/webhooks{path}");
        self.server
            .api(method, &path, body, Some(&self.admin))
            .await
    }

    /// Registers an endpoint at a path of the receiver; its answer, and its path in the API.
    async fn register(&self, path: &str, events: &[&str], order: &str) -> (Value, String) {
        let body = json!({"url": self.receiver.url(path), "events": events, "order": order});
        let made = self.call("POST", "", Some(body)).await.expect(201).json();
        let at = format!("/{}", made["id"].as_str().unwrap());
        (made, at)
    }

    /// Raises an event `user.registration.failed`, of a key that is its own.
    async fn fail_to_register(&self, name: &str) {
        let body = json!({"email": format!("{name} is no address"), "password": PASSWORD});
        post(&self.server, "/users", body).await.expect(422);
    }

    async fn endpoint(&self, at: &str) -> Value {
        self.call("GET", at, None).await.expect(200).json()
    }
}

const REFUSED: &[&str] = &["user.registration.failed"];

fn ids(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(Message::id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receivers_of_the_page_verify_what_is_sent() {
    let receivers = receivers::receivers().await;
    let desk = Desk::start().await;
    let (made, at) = desk.register("/in", REFUSED, "none").await;
    desk.fail_to_register("ada").await;
    desk.receiver.until("/in", |m| !m.is_empty()).await;
    // For a day both secrets are good.
    let rotations = format!("{at}/secret-rotations");
    let rotated = desk.call("POST", &rotations, None).await.expect(201).json();
    desk.fail_to_register("bob").await;
    desk.receiver.until("/in", |m| m.len() > 1).await;
    let tested = desk.call("POST", &format!("{at}/test"), None).await;
    assert_eq!(tested.expect(200).json()["status"], 204);
    let messages = desk.receiver.until("/in", |m| m.len() > 2).await;
    for receiver in receivers {
        receiver.verify(&messages[0], &made).await;
        for keys in [&made, &rotated] {
            receiver.verify(&messages[1], keys).await;
        }
        receiver.verify(&messages[2], &rotated).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_tried_again_under_its_id_and_kept_in_the_attempts() {
    let desk = Desk::start().await;
    let (_, at) = desk.register("/in", REFUSED, "none").await;
    desk.receiver
        .script("/in", [Act::Answer(500), Act::Answer(204)]);
    desk.fail_to_register("ada").await;
    let messages = desk.receiver.until("/in", |m| m.len() > 1).await;
    let (first, second) = (&messages[0], &messages[1]);
    assert_eq!((first.id(), &first.body), (second.id(), &second.body));
    let wait = second.at - first.at;
    assert!(
        wait > Duration::from_secs(3),
        "the schedule's second: {wait:?}"
    );
    assert_eq!(first.header("content-type"), "application/cloudevents+json");
    let told = first.json();
    let events = desk.server.events(&desk.admin).await;
    let event = events
        .iter()
        .find(|event| event["type"] == "user.registration.failed")
        .unwrap();
    assert_eq!((&told["id"], &told["data"]), (&event["id"], &event["data"]));
    assert_eq!(told["id"], first.id());
    assert!(!String::from_utf8_lossy(&first.body).contains("is no address"));
    let attempts = desk.call("GET", &format!("{at}/attempts"), None).await;
    let attempts = attempts.expect(200).json();
    let told = |index: usize| {
        let attempt = &attempts["data"][index];
        (attempt["attempt"].clone(), attempt["status"].clone())
    };
    assert_eq!(told(0), (json!(2), json!(204)));
    assert_eq!(told(1), (json!(1), json!(500)));
    check::whole(&events);
}

/// A gigabyte, a drip, a reset, a redirect: each costs its own endpoint, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_mean_no_good_delay_nobody() {
    let desk = Desk::start().await;
    let canary = Receiver::start().await;
    let away = format!("location: {}", canary.url("/"));
    for (path, act) in [
        ("/pour", Act::Pour),
        ("/drip", Act::Drip),
        ("/reset", Act::Reset),
        ("/away", Act::AnswerWith(301, away)),
    ] {
        desk.receiver.script(path, [act]);
        desk.register(path, REFUSED, "none").await;
    }
    desk.register("/well", REFUSED, "key").await;
    let before = desk.server.resident_kib();
    let began = Instant::now();
    for number in 0..30 {
        desk.fail_to_register(&format!("u{number}")).await;
    }
    let well = desk.receiver.until("/well", |m| m.len() >= 30).await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let events = desk.server.events(&desk.admin).await;
    let raised: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "user.registration.failed")
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    // All of them are of one source, so of one key.
    assert_eq!(ids(&well), raised, "in order, each once");
    desk.receiver.until("/pour", |m| m.len() >= 30).await;
    for path in ["/drip", "/reset", "/away"] {
        desk.receiver.until(path, |m| !m.is_empty()).await;
    }
    assert_eq!(canary.connections(), 0, "no redirect is followed");
    let grown = desk.server.resident_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB for thirty gigabytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_asked_for_is_given() {
    let desk = Desk::start().await;
    desk.register("/in", REFUSED, "none").await;
    let wait = Act::AnswerWith(429, "retry-after: 7".to_owned());
    desk.receiver.script("/in", [wait, Act::Answer(204)]);
    desk.fail_to_register("ada").await;
    let messages = desk.receiver.until("/in", |m| m.len() > 1).await;
    let waited = messages[1].at - messages[0].at;
    let asked = Duration::from_millis(6_900);
    assert!(waited >= asked, "not the schedule's 5 s: {waited:?}");
    assert_eq!(messages[0].id(), messages[1].id());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_disabled_and_loses_nothing() {
    let mut desk = Desk::start().await;
    let (_, at) = desk.register("/in", REFUSED, "key").await;
    desk.receiver.script(
        "/in",
        [Act::Answer(204), Act::Answer(410), Act::Answer(204)],
    );
    for name in ["one", "two"] {
        desk.fail_to_register(name).await;
    }
    let disabled = |events: &[Value]| check::count(events, "webhook.endpoint_disabled") > 0;
    let events = events_until(&desk.server, &desk.admin, disabled).await;
    let fact = events
        .iter()
        .find(|event| event["type"] == "webhook.endpoint_disabled")
        .expect("it was told");
    assert_eq!(fact["data"]["reason"], "gone");
    assert_eq!(fact["actor"]["kind"], "system");
    for name in ["three", "four"] {
        desk.fail_to_register(name).await;
    }
    let seen = desk.endpoint(&at).await;
    assert_eq!(
        (&seen["state"], &seen["disabled_reason"]),
        (&json!("disabled"), &json!("gone"))
    );
    // Also over a crash.
    desk.server.kill().await;
    desk.server.restart().await;
    desk.fail_to_register("five").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(desk.receiver.messages("/in").len(), 2);
    let enabled = desk.call("POST", &format!("{at}/enable"), None).await;
    assert_eq!(enabled.expect(200).json()["state"], "active");
    let messages = desk.receiver.until("/in", |m| m.len() >= 6).await;
    let events = desk.server.events(&desk.admin).await;
    let raised: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "user.registration.failed")
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    // The second was answered with 410 and came again.
    let want = [
        raised[0], raised[1], raised[1], raised[2], raised[3], raised[4],
    ];
    assert_eq!(ids(&messages), want);
    check::whole(&events);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_come_change_and_go_while_the_server_runs() {
    let desk = Desk::start().await;
    desk.fail_to_register("before").await;
    let (_, at) = desk.register("/old", REFUSED, "none").await;
    desk.fail_to_register("first").await;
    let old = desk.receiver.until("/old", |m| !m.is_empty()).await;
    assert_eq!(old.len(), 1, "what was before it is not sent");
    let edit = json!({"url": desk.receiver.url("/new")});
    desk.call("PATCH", &at, Some(edit)).await.expect(200);
    desk.fail_to_register("second").await;
    let new = desk.receiver.until("/new", |m| !m.is_empty()).await;
    assert_ne!(new[0].id(), old[0].id());

    let recoveries = format!("{at}/recoveries");
    let all = json!({"after": 0});
    desk.call("POST", &recoveries, Some(all)).await.expect(202);
    let new = desk.receiver.until("/new", |m| m.len() >= 4).await;
    // What was before the endpoint too, in whatever order.
    let mut again = ids(&new[1..]);
    again.sort_unstable();
    assert_eq!(again[1..], [old[0].id(), new[0].id()]);

    desk.call("DELETE", &at, None).await.expect(204);
    let verbose = desk.server.get("/readyz?verbose").await.expect(200);
    let text = String::from_utf8(verbose.body).unwrap();
    assert!(!text.contains("webhook:"), "{text}");
    desk.fail_to_register("third").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(desk.receiver.messages("/new").len(), 4);
    check::whole(&desk.server.events(&desk.admin).await);
}

/// T40 at registration. At each call it is the same rule, by `quivive_outbound::http`.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_our_own_are_refused_at_registration() {
    let server = Server::start(BINARY, Options::unlimited()).await;
    let admin = server.administrator().await;
    let canary = Receiver::start().await;
    let port = canary.address.port();
    for (hosts, code) in [
        (
            &[
                "127.0.0.1",
                "127.8.8.8",
                "0.0.0.0",
                "localhost",
                "10.0.0.1",
                "100.64.0.1",
                "172.16.0.1",
                "192.168.0.1",
                "192.88.99.1",
                "169.254.169.254",
                "224.0.0.1",
                "255.255.255.255",
                "[::1]",
                "[::]",
                "[::ffff:a9fe:a9fe]",
                "[::ffff:127.0.0.1]",
                "[::127.0.0.1]",
                "[64:ff9b::7f00:1]",
                "[2002:7f00:1::]",
                "[fec0::1]",
                "[fc00::1]",
                "[fe80::1]",
                "[ff02::1]",
            ][..],
            "private_address",
        ),
        (
            &[
                "localhost.",
                "2130706433",
                "0x7f000001",
                "0177.0.0.1",
                "127.1",
                "user@93.184.216.34",
                "93.184.216.34@127.0.0.1",
            ],
            "invalid_url",
        ),
    ] {
        for host in hosts {
            for scheme in ["http", "https"] {
                let body = json!({"url": format!("{scheme}://{host}:{port}/")});
                let reply = server
                    .api("POST", "/admin/webhooks", Some(body), Some(&admin))
                    .await;
                assert_eq!(
                    (reply.status, reply.code().as_str()),
                    (422, code),
                    "{scheme} {host}"
                );
            }
        }
    }
    for url in [
        "ftp://93.184.216.34/",
        "file:///etc/passwd",
        "http://93.184.216.34/",
        "https://93.184.216.34:22/",
    ] {
        let body = json!({"url": url});
        let reply = server
            .api("POST", "/admin/webhooks", Some(body), Some(&admin))
            .await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (422, "invalid_url"),
            "{url}"
        );
    }
    assert_eq!(canary.connections(), 0);
    let events = server.events(&admin).await;
    let failed = check::count(&events, "webhook.endpoint_change.failed");
    assert_eq!(failed, 2 * 30 + 4, "each refusal is in the log");
    check::whole(&events);
}
