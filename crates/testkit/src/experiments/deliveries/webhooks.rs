//! kill -9 of the server at random moments while it posts webhooks: each message arrives, one that comes again has the same
//! id, and those of a key come in order where the endpoint asks for that.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::breaches::Sequence;
use super::course::Random;
use super::subject::KIND;
use crate::{Client, PASSWORD, Receiver, Server};

const KEYS: u64 = 12;

/// Events in one request.
const EVENTS: u64 = 8;

/// A sign-in comes with one request in so many, for it takes far longer.
const ONE_SIGN_IN_IN: u64 = 4;

/// The server is killed so long after it was ready, at most.
const WITHIN_MS: u64 = 60;

/// The paths of two endpoints, and what they want: one in order.
const ORDERED: (&str, &str, &str) = ("/ordered", "custom.*", "key");
const ANY: (&str, &str, &str) = ("/any", "user.login.*", "none");

/// Works until the server is gone; what it has acknowledged.
async fn work(mut client: Client, service: &str, mut random: Random) -> HashSet<String> {
    let mut acknowledged = HashSet::new();
    loop {
        let mut event = || {
            let key = random.below(KEYS).to_string();
            json!({"type": KIND, "key": key, "data": {"key": key}})
        };
        let events: Vec<Value> = (0..EVENTS).map(|_| event()).collect();
        let appended = client.api("POST", "/events", Some(json!(events)), Some(service));
        let Ok(reply) = appended.await else {
            return acknowledged;
        };
        let appended = reply.expect(201).json();
        let ids = appended["data"].as_array().into_iter().flatten();
        acknowledged.extend(ids.filter_map(|event| event["id"].as_str().map(str::to_owned)));
        let body = json!({"email": "nobody@example.org", "password": PASSWORD});
        if random.below(ONE_SIGN_IN_IN) > 0 {
            continue;
        }
        if client
            .api("POST", "/sessions", Some(body), None)
            .await
            .is_err()
        {
            return acknowledged;
        }
    }
}

/// Makes the endpoints and a service; the key of that.
async fn prepare(server: &Server, admin: &str, receiver: &Receiver) -> String {
    let post = async |path: &str, body: Value| {
        let reply = server.api("POST", path, Some(body), Some(admin)).await;
        reply.expect(201).json()
    };
    let properties = json!({"key": {"type": "string"}});
    let schema = json!({"type": "object", "properties": properties, "required": ["key"]});
    let schema = json!({"type": KIND, "version": 1, "schema": schema});
    post("/admin/schemas", schema).await;
    for (path, events, order) in [ORDERED, ANY] {
        let body = json!({"url": receiver.url(path), "events": [events], "order": order});
        post("/admin/webhooks", body).await;
    }
    let key = post(
        "/admin/api-keys",
        json!({"name": "proof", "scopes": ["events.write"]}),
    )
    .await;
    key["key"].as_str().expect("a key").to_owned()
}

/// Kills it so many times; a line to print. The server must be one that may call this machine.
pub async fn run(server: &mut Server, kills: usize, seed: u64) -> String {
    let admin = server.administrator().await;
    let receiver = Receiver::start().await;
    let service = prepare(server, &admin, &receiver).await;
    // Nobody is sent what happened before there was an endpoint.
    let before = server.events(&admin).await.len();
    let mut random = Random(seed);
    let mut acknowledged = HashSet::new();
    for _ in 0..kills {
        let moment = Duration::from_millis(random.below(WITHIN_MS));
        let working = work(server.client(), &service, Random(random.below(u64::MAX)));
        let (told, ()) = tokio::join!(working, async {
            tokio::time::sleep(moment).await;
            server.kill().await;
        });
        acknowledged.extend(told);
        server.restart().await;
    }
    let events = server.events(&admin).await;
    let wanted = |prefix: &str| -> Vec<&Value> {
        let mut all: Vec<_> = events.iter().skip(before).collect();
        all.retain(|event| {
            event["type"]
                .as_str()
                .is_some_and(|kind| kind.starts_with(prefix))
        });
        all
    };
    let made: HashMap<&str, (&str, u64)> = wanted("custom.")
        .into_iter()
        .map(|event| {
            let key = event["data"]["key"].as_str().expect("a key");
            let position = event["position"].as_u64().expect("a position");
            (event["id"].as_str().expect("an id"), (key, position))
        })
        .collect();
    let sign_ins: HashSet<&str> = wanted("user.login.")
        .into_iter()
        .filter_map(|event| event["id"].as_str())
        .collect();
    let lost = acknowledged
        .iter()
        .filter(|id| !made.contains_key(id.as_str()))
        .count();
    assert_eq!(lost, 0, "acknowledged and not in the log");

    let ids = |messages: &[crate::Message]| -> HashSet<String> {
        messages
            .iter()
            .map(|message| message.id().to_owned())
            .collect()
    };
    let ordered = receiver
        .until(ORDERED.0, |all| ids(all).len() >= made.len())
        .await;
    let any = receiver
        .until(ANY.0, |all| {
            sign_ins.iter().all(|id| ids(all).contains(*id))
        })
        .await;
    let mut sequence = Sequence::default();
    for message in &ordered {
        let (key, position) = made.get(message.id()).expect("an event of the log");
        // From outside nobody sees where a run ends.
        sequence.run_ended();
        sequence.told(key, *position, message.id());
    }
    let mut by_key = HashMap::<String, Vec<u64>>::new();
    for (key, position) in made.values() {
        by_key.entry((*key).to_owned()).or_default().push(*position);
    }
    let breaches = sequence.breaches(&by_key);
    assert!(breaches.is_none(), "{breaches:?}");
    format!(
        "{kills} kills at random moments: {} messages in order, {} in any, none missing; {} and {} came again",
        made.len(),
        sign_ins.len(),
        ordered.len() - made.len(),
        any.len() - ids(&any).len(),
    )
}
