//! Events of types that were registered while the server runs: `custom.*`, appended by services.
//!
//! **Cast.** An administrator registers a schema ([`register`], a workflow). A service hands over events, which [`judge`]
//! fits to the schemas; [`crate::Kernel::raise`] appends them, whole or not at all.
//!
//! They are facts: nobody here attempted anything, the service says what has happened. So there is no triple around them,
//! and the event itself, with the key of the service as its actor, is the audit trail.

use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::schema::misfits;
use quivive_delivery::{Body, Catalogue, EventMeta, Fault, Log, Time};
use quivive_domain::ApiKeyId;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::forgetting;
use crate::kernel::{CustomEvent, Failure, Families, Kernel, Once, Request};
use crate::ports::EventSchemas;
use crate::workflows::operators::register_event_schema::{Refusal, RegisterEventSchema};

/// Of an order key and of a subject, in bytes.
const MAX_KEY_BYTES: usize = 128;

/// How far ahead of ours a service's clock may be.
const AHEAD: Duration = Duration::from_mins(5);

/// Errors that are told of one event.
const MAX_MISFITS: usize = 16;

/// An event as a service gives it.
#[derive(Debug, Clone)]
pub struct Given {
    pub kind: String,
    /// The newest unless it is said.
    pub version: Option<u32>,
    /// What it is ordered by, in place of what the type's order key points at.
    pub key: Option<String>,
    /// Whom or what it is about. A user's id seals personal fields under that user's key.
    pub subject: Option<String>,
    /// When it happened; now unless it is said.
    pub time: Option<Time>,
    pub data: Map<String, Value>,
    /// How a repetition of it is known.
    pub once: Option<Once>,
}

/// What is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// A JSON Pointer into the event as it was given.
    pub pointer: String,
    pub code: &'static str,
    pub message: String,
}

fn misfit(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Misfit {
    Misfit {
        pointer: pointer.into(),
        code,
        message: message.into(),
    }
}

/// Fits an event to the schema of its type.
pub fn judge(catalogue: &Catalogue, given: Given, now: Time) -> Result<CustomEvent, Vec<Misfit>> {
    let Some(spec) = catalogue.registered_type(&given.kind) else {
        let message = "No type of this name is registered: see /api/v1/admin/schemas.";
        return Err(vec![misfit("/type", "unknown_type", message)]);
    };
    let version = given.version.unwrap_or(spec.version);
    let Some(schema) = spec.schema_of(version) else {
        let message = format!("Its versions are 1 to {}.", spec.version);
        return Err(vec![misfit("/version", "unknown_version", message)]);
    };
    let mut wrong = Vec::new();
    for (pointer, text) in [("/key", &given.key), ("/subject", &given.subject)] {
        if text.as_deref().is_some_and(|text| !is_key(text)) {
            wrong.push(unusable_key(pointer.to_owned()));
        }
    }
    if given.time.is_some_and(|time| time > now + AHEAD) {
        wrong.push(misfit(
            "/time",
            "out_of_range",
            "It may not be more than five minutes ahead.",
        ));
    }
    let data = Value::Object(given.data);
    for found in misfits(&schema, &data, MAX_MISFITS) {
        let pointer = format!("/data{}", found.pointer);
        wrong.push(misfit(pointer, "schema", found.message));
    }
    let pointed = catalogue.order_key(spec.kind);
    let pointed = pointed.and_then(|pointer| Some((data.pointer(&pointer)?, pointer)));
    let pointed = pointed.and_then(|(value, pointer)| {
        key_text(value).unwrap_or_else(|()| {
            wrong.push(unusable_key(format!("/data{pointer}")));
            None
        })
    });
    if !wrong.is_empty() {
        wrong.truncate(MAX_MISFITS);
        return Err(wrong);
    }
    let key = given.key.or(pointed).or_else(|| given.subject.clone());
    let body = body(&schema, data).map_err(|error| {
        vec![misfit(
            "/data",
            "schema",
            format!("It cannot be stored: {error}."),
        )]
    })?;
    Ok(CustomEvent {
        meta: EventMeta {
            kind: spec.kind,
            version,
            name: spec.name,
            audit: spec.audit_action,
            aliases: &[],
        },
        key,
        subject: given.subject,
        time: given.time.unwrap_or(now),
        body,
        once: given.once,
    })
}

/// How a repetition of what a service hands over is known: by a name that it has there, of a kind, and by its content.
pub fn once(key: ApiKeyId, kind: &str, name: &str, content: &str) -> Once {
    let mut token = Sha256::new();
    token.update(key.0.as_bytes());
    token.update(kind.as_bytes());
    token.update([0]);
    token.update(name.as_bytes());
    Once {
        token: token.finalize().into(),
        content: Sha256::digest(content.as_bytes()).into(),
    }
}

fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}

fn unusable_key(pointer: String) -> Misfit {
    let message = format!("From 1 to {MAX_KEY_BYTES} bytes, without control characters.");
    misfit(pointer, "out_of_range", message)
}

/// A value as an order key; nothing where it is null.
fn key_text(value: &Value) -> Result<Option<String>, ()> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(_) | Value::Object(_) => return Err(()),
    };
    if is_key(&text) {
        Ok(Some(text))
    } else {
        Err(())
    }
}

/// The fields, those that the schema calls personal apart.
fn body(schema: &Value, data: Value) -> Result<Body, serde_json::Error> {
    let Value::Object(fields) = data else {
        return Ok(Body {
            open: b"{}".to_vec(),
            personal: None,
        });
    };
    let is_personal = |name: &str| schema["properties"][name]["x-personal"] == true;
    let has_personal = schema["properties"]
        .as_object()
        .is_some_and(|properties| properties.keys().any(|name| is_personal(name)));
    let (personal, open): (Map<_, _>, Map<_, _>) =
        fields.into_iter().partition(|(name, _)| is_personal(name));
    let personal = has_personal.then(|| serde_json::to_vec(&personal));
    Ok(Body {
        open: serde_json::to_vec(&open)?,
        personal: personal.transpose()?,
    })
}

/// Runs the workflow that registers a schema; then its type is known at once.
pub async fn register(
    kernel: &Arc<Kernel>,
    command: RegisterEventSchema,
    request: Request,
) -> Result<u32, Failure<Refusal>> {
    let kind = command.kind.clone();
    let version = kernel.execute(command, request).await?;
    let learnt = learn(kernel.families(), kernel.catalogue(), &kind).await;
    learnt.map_err(Failure::Fault)?;
    Ok(version)
}

/// Makes a registered type known as it is now.
pub(crate) async fn learn(
    families: &Families,
    catalogue: &Catalogue,
    kind: &str,
) -> Result<(), Fault> {
    let rows = families.event_schemas.of_type(kind).await?;
    make_known(catalogue, &rows);
    Ok(())
}

/// Makes every registered type known: at start, before anything reads events.
pub async fn load(schemas: &dyn EventSchemas, catalogue: &Catalogue) -> Result<(), Fault> {
    let all = schemas.all().await?;
    for rows in all.chunk_by(|one, next| one.kind == next.kind) {
        make_known(catalogue, rows);
    }
    Ok(())
}

/// The rows of one type, all of them, by version.
fn make_known(catalogue: &Catalogue, rows: &[crate::ports::EventSchema]) {
    if let Some(first) = rows.first() {
        let schemas: Vec<_> = rows.iter().map(|row| row.schema.clone()).collect();
        catalogue.register(&first.kind, &schemas, first.order_key.as_deref());
    }
}

/// Forgets how repetitions are known of what nobody repeats any more.
pub(crate) async fn forget_receipts(families: &Families, log: &dyn Log) -> Result<(), Fault> {
    let (receipts, now) = (&families.receipts, families.clock.now());
    forgetting::forget(
        log,
        || receipts.has_forgettable(now),
        || receipts.forget(now),
    )
    .await
}

#[cfg(test)]
mod tests;
