//! Schemas of events that services append, for administrators.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use quivive_app::custom_events::register;
use quivive_app::ports::EventSchema;
use quivive_app::workflows::operators::register_event_schema::{Refusal, RegisterEventSchema};
use quivive_delivery::Time;
use quivive_delivery::catalogue::is_custom_name;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Authority, Routes};
use crate::Web;
use crate::auth::SignedIn;
use crate::json::{Shaped, Strict};
use crate::limits::Family;
use crate::problem::{Code, FieldError, Problem};
use crate::request::RequestContext;

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Admin, Family::Write, || routes!(register_schema))
        .counted(Authority::Admin, Family::Read, || {
            routes!(list_registered_schemas)
        })
}

/// A version of a type of events to come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSchema {
    /// `custom.` and words in lower case with dots between them.
    #[serde(rename = "type")]
    #[schema(example = "custom.order_placed")]
    kind: String,
    /// From 1, one after the other.
    #[schema(minimum = 1)]
    version: u32,
    /// JSON Schema of the data, in the part of draft 2020-12 that is checked here: `type`, `properties`, `required`,
    /// `items`, `enum`, `format`, `minimum`, `maximum`, `minLength`, `maxLength`, `minItems`, `maxItems`,
    /// `additionalProperties` as a boolean, and words for people. A field with `x-personal` is sealed.
    #[schema(value_type = Object)]
    schema: Strict,
    /// A JSON Pointer to the field that events are ordered by, the same in every version.
    #[schema(example = "/order_id")]
    key: Option<String>,
}

/// A registered version.
#[derive(Serialize, ToSchema)]
struct RegisteredSchema {
    #[serde(rename = "type")]
    #[schema(example = "custom.order_placed")]
    kind: String,
    version: u32,
    #[schema(required)]
    key: Option<String>,
    #[schema(value_type = Object)]
    schema: Value,
    #[schema(value_type = String, format = "date-time")]
    created_at: Time,
}

impl From<EventSchema> for RegisteredSchema {
    fn from(row: EventSchema) -> Self {
        Self {
            kind: row.kind,
            version: row.version,
            key: row.order_key,
            schema: row.schema,
            created_at: row.created_at,
        }
    }
}

/// All of them.
#[derive(Serialize, ToSchema)]
struct RegisteredSchemas {
    /// By type and version.
    data: Vec<RegisteredSchema>,
}

/// Register a schema.
///
/// Then keys with `events.write` may append events of that version. A version that is registered stays as it is; the next
/// one may only add to it: fields that may be missing, and values. To register the same again changes nothing.
#[utoipa::path(post, path = "/api/v1/admin/schemas", tag = "schemas", request_body = NewSchema, responses(
    (status = 201, description = "Registered.", body = RegisteredSchema),
    (status = 403, description = "`step_up_required`"),
    (status = 409, description = "`schema_conflict`: what is registered stands against it, and the error says what to do"),
    (status = 422, description = "`unsupported_schema`, `invalid_fields`"),
))]
async fn register_schema(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Shaped(body): Shaped<NewSchema>,
) -> Result<(StatusCode, axum::Json<RegisteredSchema>), Problem> {
    // What could be no name is not even attempted: it would be in an event.
    if !is_custom_name(&body.kind) {
        let message =
            "`custom.` and words in lower case with dots between them, of at most 100 bytes.";
        return Err(Problem::of_invalid("/type", "invalid_type", message));
    }
    let schemas = &web.kernel.families().event_schemas;
    let command = || RegisterEventSchema {
        by: caller.proven(),
        kind: body.kind.clone(),
        version: body.version,
        schema: body.schema.0.clone(),
        order_key: body.key.clone(),
        catalogue: Arc::clone(web.kernel.catalogue()),
    };
    let request = context.request(caller.actor());
    let registered = register(&web.kernel, command(), request).await;
    let all = schemas.all().await?;
    let known: Vec<_> = all
        .iter()
        .filter(|row| row.kind == body.kind)
        .cloned()
        .collect();
    registered.map_err(|failure| {
        // The workflow says which refusal it was, and the rule, asked again, where and why.
        let told = command().judge(&known, all.len()).err();
        Problem::of_failure(failure, |refusal| refused(refusal, told))
    })?;
    let row = known.into_iter().find(|row| row.version == body.version);
    let row = row.ok_or_else(|| Problem::new(Code::Internal))?;
    Ok((StatusCode::CREATED, axum::Json(row.into())))
}

fn refused(
    refusal: Refusal,
    told: Option<(Refusal, quivive_app::custom_events::Misfit)>,
) -> Problem {
    let code = match refusal {
        Refusal::Forbidden => return Problem::new(Code::Forbidden),
        Refusal::StepUpRequired => return Problem::new(Code::StepUpRequired),
        Refusal::InvalidType => Code::InvalidFields,
        Refusal::UnsupportedSchema => Code::UnsupportedSchema,
        Refusal::VersionFrozen
        | Refusal::VersionSkipped
        | Refusal::IncompatibleSchema
        | Refusal::TooManySchemas => Code::SchemaConflict,
    };
    match told {
        Some((_, it)) => Problem::of_field(code, FieldError::new(it.pointer, it.code, it.message)),
        None => Problem::new(code),
    }
}

/// The registered schemas.
#[utoipa::path(get, path = "/api/v1/admin/schemas", tag = "schemas", responses(
    (status = 200, description = "By type and version.", body = RegisteredSchemas),
))]
async fn list_registered_schemas(
    State(web): State<Arc<Web>>,
) -> Result<axum::Json<RegisteredSchemas>, Problem> {
    let all = web.kernel.families().event_schemas.all().await?;
    let data = all.into_iter().map(RegisteredSchema::from).collect();
    Ok(axum::Json(RegisteredSchemas { data }))
}
