//! Who reads meanwhile: feeds, which want every event once and in order, and who collects the letters.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::judgement::Seen;
use super::people::{Scene, note_letters};
use crate::client::Call;
use crate::experiments::check;
use crate::{Client, Server};

/// Reads the log as it grows, from both nodes in turn.
pub(super) async fn follow(
    scene: Scene,
    mut clients: [Client; 2],
    key: String,
    seen: Arc<Mutex<Seen>>,
) {
    while scene.goes_on() {
        for client in &mut clients {
            page(&scene, client, &key, &seen).await;
        }
    }
}

pub(super) fn position(seen: &Mutex<Seen>) -> u64 {
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.last().map_or(0, |(position, _)| *position)
}

/// The events after those that were seen.
pub(super) async fn page(scene: &Scene, client: &mut Client, key: &str, seen: &Mutex<Seen>) {
    let path = format!("/events?after={}&limit=250", position(seen));
    let reply = match client.api("GET", &path, None, Some(key)).await {
        Ok(reply) if reply.status == 200 => reply.json(),
        Ok(reply) if reply.status == 503 => Value::Null,
        Ok(reply) => {
            let what = format!("{path}: {} {}", reply.status, reply.code());
            scene.ledger.lock().breaches.push(what);
            Value::Null
        }
        Err(_) => Value::Null,
    };
    let events = reply["data"].as_array().map_or(&[][..], Vec::as_slice);
    if events.is_empty() {
        sleep(Duration::from_millis(100)).await;
        return;
    }
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.extend(events.iter().map(|event| {
        let id = event["id"].as_str().unwrap_or_default();
        (check::position(event), id.to_owned())
    }));
}

/// Where a node keeps its letters.
pub(super) struct Mailbox {
    client: Client,
    path: String,
}

impl Mailbox {
    pub(super) fn of(node: &Server) -> Self {
        let key = std::fs::read_to_string(node.data.join("dev-mail-key")).unwrap_or_default();
        Self {
            client: node.client(),
            path: format!("/dev/mail?key={}", key.trim()),
        }
    }
}

pub(super) async fn collect(scene: Scene, mut mailbox: Mailbox) {
    while scene.goes_on() {
        let call = Call {
            method: "GET",
            path: &mailbox.path,
            ..Default::default()
        };
        if let Ok(reply) = mailbox.client.call(&call).await {
            let letters = reply.json();
            note_letters(
                &scene.letters,
                letters.as_array().map_or(&[], Vec::as_slice),
            );
        }
        sleep(Duration::from_millis(300)).await;
    }
}
