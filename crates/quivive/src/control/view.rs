//! An event as commands print it: the envelope of the HTTP API. What is personal stays sealed: a terminal is no place for
//! it, and opening it is a permission that a command line does not have.

use quivive_delivery::{Catalogue, Stored};
use serde_json::{Map, Value, json};

/// A category for types that the catalogue does not know (any more).
const UNKNOWN_CATEGORY: &str = "operation";

pub(super) fn event(event: &Stored, catalogue: &Catalogue) -> Value {
    let envelope = &event.envelope;
    let spec = catalogue.find(&envelope.kind);
    let mut data: Map<String, Value> = serde_json::from_slice(&event.body).unwrap_or_default();
    for field in spec
        .iter()
        .flat_map(|spec| &spec.fields)
        .filter(|field| field.personal)
    {
        data.insert(field.name.to_owned(), Value::Null);
    }
    json!({
        "id": envelope.id,
        "type": envelope.kind,
        "version": envelope.version,
        "position": event.position,
        "epoch": event.epoch,
        "time": envelope.time,
        "recorded_at": event.recorded_at,
        "subject": envelope.subject,
        "workflow_id": envelope.workflow_id,
        "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id,
        "actor": envelope.actor,
        "ip_address": null,
        "user_agent": null,
        "request_id": envelope.request_id,
        "traceparent": envelope.traceparent,
        "priority": envelope.priority,
        "category": spec.map_or(UNKNOWN_CATEGORY, |spec| spec.category),
        "data": data,
    })
}
