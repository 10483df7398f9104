//! Events that services append, of types that were registered.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use quivive_app::access::Service;
use quivive_app::custom_events::{Given, judge, once};
use quivive_app::kernel::{CustomEvent, NotRaised, Once, Raised};
use quivive_delivery::{Catalogue, Time};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::Web;
use crate::auth::Serving;
use crate::edge::idempotency;
use crate::json::{Shaped, Strict};
use crate::problem::{Code, FieldError, Problem};
use crate::request::RequestContext;

/// Events in one request, and so in one commit.
const MAX_BATCH: usize = 100;

/// Errors that one answer names.
const MAX_ERRORS: usize = 16;

/// An event to append.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEvent {
    /// Yours: the same event given again with the same id is not appended again. The event gets an id of ours.
    #[schema(value_type = Option<String>, format = "uuid")]
    id: Option<Uuid>,
    /// A registered one.
    #[serde(rename = "type")]
    #[schema(example = "custom.order_placed")]
    kind: String,
    /// Of the schema; the newest unless it is said.
    version: Option<u32>,
    /// What it is ordered by: events with the same key reach every subscriber in the order in which they were appended.
    /// Otherwise what the type's own key points at, or else the subject. Not personal: it is never sealed.
    key: Option<String>,
    /// Whom or what it is about. Not personal, unless it is a user's id.
    subject: Option<String>,
    /// When it happened; now unless it is said.
    #[schema(value_type = Option<String>, format = "date-time")]
    time: Option<Time>,
    /// As its schema says.
    #[schema(value_type = Object)]
    data: Strict,
}

/// One event, or a list of them.
pub(super) struct Batch {
    events: Vec<NewEvent>,
    is_list: bool,
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Batch;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an event or a list of events")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Batch, A::Error> {
        let event = NewEvent::deserialize(MapAccessDeserializer::new(members))?;
        Ok(Batch {
            events: vec![event],
            is_list: false,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Batch, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = items.next_element()? {
            events.push(event);
        }
        Ok(Batch {
            events,
            is_list: true,
        })
    }
}

impl PartialSchema for Batch {
    fn schema() -> RefOr<Schema> {
        let one = Ref::from_schema_name("NewEvent");
        let list = ArrayBuilder::new()
            .items(one.clone())
            .min_items(Some(1))
            .max_items(Some(MAX_BATCH));
        RefOr::T(OneOfBuilder::new().item(one).item(list).into())
    }
}

impl ToSchema for Batch {
    fn name() -> std::borrow::Cow<'static, str> {
        "NewEvents".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push(("NewEvent".to_owned(), NewEvent::schema()));
    }
}

/// What was appended.
#[derive(Serialize, ToSchema)]
pub(super) struct Appended {
    /// In the order of the request.
    data: Vec<AppendedEvent>,
}

/// An event that is in the log.
#[derive(Serialize, ToSchema)]
struct AppendedEvent {
    /// As the feed shows it.
    #[schema(value_type = String, format = "uuid")]
    id: Uuid,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u32,
}

impl From<Raised> for AppendedEvent {
    fn from(raised: Raised) -> Self {
        Self {
            id: raised.id,
            kind: raised.kind,
            version: raised.version,
        }
    }
}

/// Append events of your own.
///
/// One, or up to 100 in an array: all of them in one commit, or none. Their types are those that an administrator
/// registered, `custom.…`, and their data are as the schema says. They are in the feed, and reach subscribers and webhooks
/// as all others do.
///
/// Send an `id` with each, or the header `Idempotency-Key` with the request: the same given again within seven days by the
/// same key gets the same answer, and nothing is appended twice. With other content it is refused.
#[utoipa::path(post, path = "/api/v1/events", tag = "events", request_body = Batch, params(
    ("Idempotency-Key" = Option<String>, Header, description = "Up to 255 visible characters, of your choice."),
), responses(
    (status = 201, description = "They are in the log.", body = Appended),
    (status = 422, description = "`invalid_fields`: the errors say which event and which field; `idempotency_mismatch`"),
))]
pub(super) async fn append_events(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    Serving(service): Serving,
    headers: HeaderMap,
    Shaped(batch): Shaped<Batch>,
) -> Result<(StatusCode, axum::Json<Appended>), Problem> {
    let names = Names::of(&service, &headers, &batch)?;
    let now = web.kernel.families().clock.now();
    let events = fitting(batch, &names, web.kernel.catalogue(), now)?;
    let request = context.request(service.actor());
    let raised = web
        .kernel
        .raise(events, request)
        .await
        .map_err(|why| match why {
            NotRaised::Other(index) => Problem::with_detail(
                Code::IdempotencyMismatch,
                format!("Event {index} of the request was given before with other content."),
            ),
            NotRaised::Conflict => Problem::new(Code::Conflict).and_retry_after(1),
            NotRaised::Fault(fault) => fault.into(),
        })?;
    let data = raised.into_iter().map(AppendedEvent::from).collect();
    Ok((StatusCode::CREATED, axum::Json(Appended { data })))
}

/// How repetitions of the events of a request are known, each by its place.
struct Names(Vec<Option<Once>>);

impl Names {
    fn of(service: &Service, headers: &HeaderMap, batch: &Batch) -> Result<Self, Problem> {
        if !(1..=MAX_BATCH).contains(&batch.events.len()) {
            let message = format!("From 1 to {MAX_BATCH} events.");
            return Err(invalid(vec![FieldError::new("", "out_of_range", message)]));
        }
        let ids: Vec<_> = batch.events.iter().filter_map(|event| event.id).collect();
        let twice = |(index, event): (usize, &NewEvent)| {
            let earlier = &batch.events[..index];
            let seen = event.id.is_some() && earlier.iter().any(|it| it.id == event.id);
            seen.then_some(index)
        };
        if !ids.is_empty()
            && let Some(index) = batch.events.iter().enumerate().find_map(twice)
        {
            let message = "Given more than once in this request.".to_owned();
            return Err(invalid(vec![FieldError::new(
                format!("/{index}/id"),
                "duplicate_id",
                message,
            )]));
        }
        let header = idempotency::key(headers)?;
        let contents: Vec<_> = batch.events.iter().map(content).collect();
        let whole = contents.concat();
        let name = |(index, event): (usize, &NewEvent)| match (event.id, &header) {
            (Some(id), _) => Some(once(
                service.key,
                "event",
                &id.to_string(),
                &contents[index],
            )),
            (None, Some(header)) => Some(once(
                service.key,
                "request",
                &format!("{index} {header}"),
                &whole,
            )),
            (None, None) => None,
        };
        Ok(Self(batch.events.iter().enumerate().map(name).collect()))
    }
}

/// All that must be the same in a repetition.
fn content(event: &NewEvent) -> String {
    json!([
        event.kind,
        event.version,
        event.key,
        event.subject,
        event.time,
        event.data.0
    ])
    .to_string()
}

/// Fits all events to their schemas, or says what does not fit.
fn fitting(
    batch: Batch,
    names: &Names,
    catalogue: &Catalogue,
    now: Time,
) -> Result<Vec<CustomEvent>, Problem> {
    let (mut events, mut errors) = (Vec::with_capacity(batch.events.len()), Vec::new());
    for ((index, event), once) in batch.events.into_iter().enumerate().zip(&names.0) {
        let at = if batch.is_list {
            format!("/{index}")
        } else {
            String::new()
        };
        let Value::Object(data) = event.data.0 else {
            errors.push(FieldError::new(
                format!("{at}/data"),
                "wrong_type",
                "Must be an object.".to_owned(),
            ));
            continue;
        };
        let given = Given {
            kind: event.kind,
            version: event.version,
            key: event.key,
            subject: event.subject,
            time: event.time,
            data,
            once: *once,
        };
        match judge(catalogue, given, now) {
            Ok(event) => events.push(event),
            Err(misfits) => errors.extend(
                misfits
                    .into_iter()
                    .map(|it| FieldError::new(format!("{at}{}", it.pointer), it.code, it.message)),
            ),
        }
    }
    if errors.is_empty() {
        Ok(events)
    } else {
        Err(invalid(errors))
    }
}

fn invalid(mut errors: Vec<FieldError>) -> Problem {
    errors.truncate(MAX_ERRORS);
    Problem::of_invalid_fields(errors)
}
