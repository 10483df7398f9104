//! An event as a line: all of it, as it lies in the log.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quivive_delivery::seal::Sealed;
use quivive_delivery::{Actor, Priority, Stored, Time};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::derivation::hex;

#[derive(Serialize)]
pub(super) struct Line<'a> {
    position: u64,
    epoch: u64,
    id: Uuid,
    #[serde(rename = "type")]
    kind: &'a str,
    version: u32,
    key: &'a str,
    priority: Priority,
    time: Time,
    recorded_at: Time,
    subject: Option<&'a str>,
    workflow_id: Uuid,
    correlation_id: Uuid,
    causation_id: Option<Uuid>,
    actor: &'a Actor,
    request_id: Option<&'a str>,
    traceparent: Option<&'a str>,
    /// The fields that are not personal.
    data: Box<RawValue>,
    /// The address and the agent of the request, and the personal fields: sealed.
    context: Option<Shut<'a>>,
    personal: Option<Shut<'a>>,
    /// The chain at this event, in hexadecimal digits.
    chain: String,
}

/// Sealed bytes, in base64, with the name of the key that opens them while it lives.
#[derive(Serialize)]
struct Shut<'a> {
    key: &'a str,
    sealed: String,
}

impl<'a> Line<'a> {
    pub(super) fn of(event: &'a Stored) -> Self {
        let envelope = &event.envelope;
        Self {
            position: event.position,
            epoch: event.epoch,
            id: envelope.id,
            kind: &envelope.kind,
            version: envelope.version,
            key: envelope.key.as_str(),
            priority: envelope.priority,
            time: envelope.time,
            recorded_at: event.recorded_at,
            subject: envelope.subject.as_deref(),
            workflow_id: envelope.workflow_id,
            correlation_id: envelope.correlation_id,
            causation_id: envelope.causation_id,
            actor: &envelope.actor,
            request_id: envelope.request_id.as_deref(),
            traceparent: envelope.traceparent.as_deref(),
            data: raw(&event.body),
            context: event.context.as_ref().map(shut),
            personal: event.personal.as_ref().map(shut),
            chain: hex(&event.chain),
        }
    }
}

fn shut(sealed: &Sealed) -> Shut<'_> {
    Shut {
        key: &sealed.key,
        sealed: STANDARD.encode(&sealed.bytes),
    }
}

/// The fields as they are; what is no JSON, which nothing of ours writes, as a text of its bytes in base64.
fn raw(body: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(body);
    RawValue::from_string(text.into_owned()).unwrap_or_else(|_| {
        RawValue::from_string(format!("\"{}\"", STANDARD.encode(body))).expect("a JSON string")
    })
}
