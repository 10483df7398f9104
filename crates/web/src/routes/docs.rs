//! The documentation: the OpenAPI document, a page made from it, and a page for each code of a problem.

mod page;

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use utoipa_axum::routes;

use super::{Authority, Routes};
use crate::limits::Family;
use crate::problem::{Code, Problem};
use crate::{html, openapi};

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Open, Family::Read, routes!(openapi_json))
        .counted(Authority::Open, Family::Read, routes!(docs))
        .counted(Authority::Open, Family::Read, routes!(problem))
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
