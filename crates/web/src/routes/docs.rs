//! The documentation: the OpenAPI document, a page made from it, a page for each code of a problem, and the AsyncAPI
//! document of the events.

mod page;

use std::sync::{Arc, LazyLock};

use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use utoipa_axum::routes;

use super::{Authority, Routes};
use crate::limits::Family;
use crate::problem::{Code, Problem};
use crate::{Web, asyncapi, html, openapi};

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Open, Family::Read, || routes!(openapi_json))
        .counted(Authority::Open, Family::Read, || routes!(asyncapi_json))
        .counted(Authority::Open, Family::Read, || routes!(docs))
        .counted(Authority::Open, Family::Read, || routes!(problem))
}

/// The document as text, as it is committed.
pub(crate) fn document() -> String {
    let mut text = openapi::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

const JSON: [(HeaderName, HeaderValue); 1] =
    [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "documentation", responses(
    (status = 200, description = "OpenAPI 3.1.", body = serde_json::Value),
))]
async fn openapi_json() -> Response {
    static DOCUMENT: LazyLock<String> = LazyLock::new(document);
    (JSON, DOCUMENT.as_str()).into_response()
}

/// Every event, as a message.
#[utoipa::path(get, path = "/api/asyncapi.json", tag = "documentation", responses(
    (status = 200, description = "`AsyncAPI` 3.", body = serde_json::Value),
))]
async fn asyncapi_json(State(web): State<Arc<Web>>) -> axum::Json<serde_json::Value> {
    axum::Json(asyncapi(web.kernel.catalogue()))
}

/// This document, for people.
#[utoipa::path(get, path = "/api/docs", tag = "documentation", responses(
    (status = 200, description = "A page.", body = String, content_type = "text/html"),
))]
async fn docs() -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| page::render(&openapi::openapi()));
    html::show(PAGE.clone())
}

/// What the code of a problem means.
#[utoipa::path(get, path = "/problems/{code}", tag = "documentation", params(
    ("code" = String, Path, description = "As in `code`."),
), responses(
    (status = 200, description = "A page.", body = String, content_type = "text/html"),
    (status = 404, description = "`not_found`"),
))]
async fn problem(Path(code): Path<String>) -> Result<Response, Problem> {
    let meaning = Code::find(&code)
        .ok_or_else(|| Problem::new(Code::NotFound))?
        .meaning();
    let main = format!(
        "<p>{}</p>\n<p><code>{}</code> · usual status {}</p>\n<p><a href=\"/api/docs#problems\">All problems</a></p>\n",
        html::marked(meaning.about),
        meaning.code,
        meaning.status.as_u16(),
    );
    Ok(html::show(html::page(meaning.title, &main)))
}
