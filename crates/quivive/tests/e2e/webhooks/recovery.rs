//! What was sent is sent again: beside what is new, and over a crash.

use std::time::{Duration, Instant};

use quivive_testkit::Act;
use quivive_testkit::experiments::check;
use serde_json::{Value, json};

use super::{Desk, REFUSED, ids};

impl Desk {
    /// The last recovery of an endpoint, once it is so.
    async fn recovered(&self, at: &str, so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let recovery = self.endpoint(at).await["recovery"].clone();
            if so(&recovery) {
                return recovery;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "{recovery}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn in_state(state: &str, sent: u64) -> impl Fn(&Value) -> bool {
    move |recovery| (&recovery["state"], &recovery["sent"]) == (&json!(state), &json!(sent))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_outlives_the_server_and_ends_with_a_count() {
    let mut desk = Desk::start().await;
    // All of them are of one source, so of one key.
    let (_, at) = desk.register("/in", REFUSED, "key").await;
    for number in 0..6 {
        desk.fail_to_register(&format!("u{number}")).await;
    }
    let first = desk.receiver.until("/in", |m| m.len() == 6).await;
    let raised = ids(&first);
    assert_eq!(desk.endpoint(&at).await["recovery"], Value::Null);
    // A stop writes down that they were taken: whoever comes again below is of the recovery.
    desk.server.stop().await;
    desk.server.restart().await;

    let well = Act::Answer(204);
    let acts = [well.clone(), well.clone(), Act::Hang, well];
    desk.receiver.script("/in", acts);
    let recoveries = format!("{at}/recoveries");
    let all = || Some(json!({"after": 0}));
    let begun = desk.call("POST", &recoveries, all()).await;
    assert_eq!(begun.expect(202).json()["state"], "running");
    desk.receiver.until("/in", |m| m.len() == 9).await;
    desk.recovered(&at, in_state("running", 2)).await;
    let again = desk.call("POST", &recoveries, all()).await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (409, "recovery_running")
    );
    // What is new does not wait for it.
    desk.fail_to_register("live").await;
    let messages = desk.receiver.until("/in", |m| m.len() == 10).await;
    let live = messages[9].id();
    assert!(!raised.contains(&live));

    desk.server.kill().await;
    desk.server.restart().await;
    desk.fail_to_register("later").await;
    let done = desk.recovered(&at, in_state("done", 6)).await;
    assert_eq!((&done["parked"], &done["retrying"]), (&json!(0), &json!(0)));
    assert_eq!(done["position"], done["upto"]);
    let later = |messages: &[_]| {
        ids(messages)
            .iter()
            .filter(|id| !raised.contains(id))
            .count()
            >= 2
    };
    let messages = desk.receiver.until("/in", later).await;
    let mut again: Vec<_> = ids(&messages[6..]);
    again.retain(|id| raised.contains(id));
    // The third came to a receiver that hung, and came once more.
    again.dedup();
    assert_eq!(again, raised, "in order, under the ids they had");

    let events = desk.server.events(&desk.admin).await;
    let replayed = events
        .iter()
        .find(|event| event["type"] == "delivery.replayed");
    let replayed = replayed.expect("its end is in the log");
    assert_eq!(replayed["data"]["to"], done["upto"]);
    check::whole(&events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_of_an_endpoint_that_is_disabled_waits() {
    let desk = Desk::start().await;
    let (_, at) = desk.register("/in", REFUSED, "none").await;
    for name in ["one", "two"] {
        desk.fail_to_register(name).await;
    }
    desk.receiver.until("/in", |m| m.len() == 2).await;
    let disable = desk.call("POST", &format!("{at}/disable"), None).await;
    disable.expect(200);
    let since = Some(json!({"since": "2026-01-01T00:00:00Z"}));
    let recoveries = format!("{at}/recoveries");
    desk.call("POST", &recoveries, since).await.expect(202);
    desk.recovered(&at, in_state("paused", 0)).await;
    let enabled = desk.call("POST", &format!("{at}/enable"), None).await;
    enabled.expect(200);
    desk.recovered(&at, in_state("done", 2)).await;
    assert_eq!(desk.receiver.messages("/in").len(), 4);
}
