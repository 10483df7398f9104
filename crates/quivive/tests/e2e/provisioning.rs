//! Account provisioning against customer relations over HTTP: told once and again under one key, undone when they say no.

use quivive_testkit::{Act, Message, Options, Receiver, Server};
use serde_json::{Value, json};

use crate::support::{BINARY, events_until};

/// The steps that events of a type name, in processes of this user.
fn steps(events: &[Value], kind: &str, user: &str) -> Vec<String> {
    let of_user = events
        .iter()
        .filter(|event| event["type"] == kind && event["subject"] == user);
    of_user
        .map(|event| {
            event["data"]["step"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

fn told(message: &Message) -> Value {
    json!([message.json()["action"], message.json()["contact"]["email"]])
}

#[tokio::test(flavor = "multi_thread")]
async fn customer_relations_are_told_and_when_they_say_no_the_profile_goes() {
    let receiver = Receiver::start().await;
    let options = Options::unlimited()
        .env("QUIVIVE__PROVISIONING__CRM_URL", &receiver.url("/contacts"))
        .env("QUIVIVE__PROVISIONING__CRM_TOKEN", "sesame");
    let server = Server::start(BINARY, options).await;
    let admin = server.administrator().await;

    // Away at first: told again, under the same key.
    receiver.script("/contacts", [Act::Answer(503), Act::Answer(201)]);
    let ada = server.register("ada@example.org").await;
    let messages = receiver.until("/contacts", |all| all.len() == 2).await;
    for message in &messages {
        assert_eq!(told(message), json!(["add", "ada@example.org"]));
        assert_eq!(message.json()["contact"]["user_id"], ada.as_str());
        assert_eq!(message.header("authorization"), "Bearer sesame");
    }
    let key = messages[0].header("idempotency-key");
    assert!(!key.is_empty());
    assert_eq!(key, messages[1].header("idempotency-key"));
    let done = |events: &[Value]| steps(events, "delivery.step_done", &ada);
    let events = events_until(&server, &admin, |events| done(events).len() == 2).await;
    assert_eq!(done(&events), ["provisioning.profile", "provisioning.crm"]);

    // A no: what may have come of it is taken back, the profile goes, and the account stays.
    receiver.script("/contacts", [Act::Answer(422), Act::Answer(404)]);
    let eve = server.register("eve@example.org").await;
    let undone = |events: &[Value]| steps(events, "delivery.step_undone", &eve);
    let events = events_until(&server, &admin, |events| undone(events).len() == 2).await;
    assert_eq!(
        undone(&events),
        ["provisioning.crm", "provisioning.profile"]
    );
    let messages = receiver.messages("/contacts");
    assert_eq!(
        messages[3].json(),
        json!({"action": "remove", "contact": {"user_id": eve}})
    );
    assert!(steps(&events, "delivery.step_undone", &ada).is_empty());
    server
        .login("eve@example.org", quivive_testkit::PASSWORD)
        .await;
}
