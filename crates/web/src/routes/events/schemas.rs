//! The JSON Schemas of all versions of all event types.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::Web;
use crate::problem::{Code, Problem};

const JSON_SCHEMA: [(HeaderName, HeaderValue); 1] = [(
    CONTENT_TYPE,
    HeaderValue::from_static("application/schema+json"),
)];

/// A version of an event type.
#[derive(Serialize, ToSchema)]
pub(super) struct EventVersion {
    #[serde(rename = "type")]
    #[schema(example = "user.login.succeeded")]
    kind: &'static str,
    version: u32,
    /// Whether events are raised with it. Those of the others are shown as of the current one.
    current: bool,
    /// Where its schema is.
    #[schema(format = "uri")]
    schema: String,
}

/// Every version of every event type.
///
/// A version that was published stays as it is, but for fields that may be missing and new values of codes.
#[utoipa::path(get, path = "/api/v1/events/schemas", tag = "events", responses(
    (status = 200, description = "In reading order.", body = Vec<EventVersion>),
))]
pub(super) async fn list_schemas(State(web): State<Arc<Web>>) -> axum::Json<Vec<EventVersion>> {
    let catalogue = web.kernel.catalogue();
    let types = catalogue.all().iter().chain(catalogue.registered());
    let versions = types.flat_map(|spec| spec.versions().map(move |version| (spec, version)));
    let listed = versions.map(|(spec, version)| EventVersion {
        kind: spec.kind,
        version,
        current: version == spec.version,
        schema: format!(
            "{}/api/v1/events/schemas/{}/{version}",
            web.options.public_url, spec.kind
        ),
    });
    axum::Json(listed.collect())
}

/// The JSON Schema of one version of an event type: of `data`.
///
/// Personal fields have `x-personal`; they are null wherever they are not opened.
#[utoipa::path(get, path = "/api/v1/events/schemas/{type}/{version}", tag = "events", params(
    ("type" = String, Path, description = "A type; its other names do not serve here."),
    ("version" = u32, Path, description = "From 1."),
), responses(
    (status = 200, description = "JSON Schema, draft 2020-12.", body = Object, content_type = "application/schema+json"),
    (status = 404, description = "`not_found`"),
))]
pub(super) async fn read_schema(
    State(web): State<Arc<Web>>,
    Path((kind, version)): Path<(String, String)>,
) -> Result<([(HeaderName, HeaderValue); 1], axum::Json<Value>), Problem> {
    let spec = web.kernel.catalogue().spec(&kind);
    let schema = spec.and_then(|spec| spec.schema_of(version.parse().ok()?));
    let schema = schema.ok_or_else(|| {
        Problem::with_detail(Code::NotFound, "There is no such version of such a type.")
    })?;
    Ok((JSON_SCHEMA, axum::Json(schema.into_owned())))
}
