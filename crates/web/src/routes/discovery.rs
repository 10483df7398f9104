//! What other services need to check our tokens by themselves.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, HeaderValue};
use utoipa_axum::routes;

use super::{Authority, Routes};
use crate::Web;
use crate::limits::Family;

pub(super) fn router() -> Routes {
    Routes::new().counted(Authority::Open, Family::Read, routes!(jwks))
}

/// Long enough to spare us, short enough for a new key to be known before it matters.
const FOR_A_WHILE: [(HeaderName, HeaderValue); 1] = [(
    CACHE_CONTROL,
    HeaderValue::from_static("public, max-age=300"),
)];

/// The keys that sign access tokens.
///
/// A JSON Web Key Set (RFC 7517). Keys that were replaced stay until nothing they signed can matter.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "for services", responses(
    (status = 200, description = "The key set; keep it for five minutes.", body = serde_json::Value),
))]
async fn jwks(
    State(web): State<Arc<Web>>,
) -> (
    [(HeaderName, HeaderValue); 1],
    axum::Json<serde_json::Value>,
) {
    (
        FOR_A_WHILE,
        axum::Json(web.kernel.families().access_tokens.jwks()),
    )
}
