//! What other services need to check our tokens by themselves.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Authority, Routes, services};
use crate::Web;
use crate::limits::Family;

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Open, Family::Read, || routes!(jwks))
        .counted(Authority::Open, Family::Read, || routes!(metadata))
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
    let families = web.kernel.families();
    (
        FOR_A_WHILE,
        axum::Json(families.access_tokens.jwks(families.clock.now())),
    )
}

/// How services send their key.
const AUTH_METHODS: [&str; 1] = ["client_secret_basic"];

/// What clients made by others read first (RFC 8414).
#[derive(Serialize, ToSchema)]
struct ServerMetadata {
    /// As access tokens have it.
    issuer: String,
    jwks_uri: String,
    /// Must be named; it takes JSON.
    token_endpoint: String,
    /// None: people sign in over the API and the pages of this server.
    grant_types_supported: [&'static str; 0],
    response_types_supported: [&'static str; 1],
    introspection_endpoint: String,
    introspection_endpoint_auth_methods_supported: [&'static str; 1],
    revocation_endpoint: String,
    revocation_endpoint_auth_methods_supported: [&'static str; 1],
    service_documentation: String,
}

/// Where everything is.
///
/// The metadata of an authorization server (RFC 8414), as far as there is anything to say: no grant of OAuth is served.
#[utoipa::path(get, path = "/.well-known/oauth-authorization-server", tag = "for services", responses(
    (status = 200, description = "Keep it for five minutes.", body = ServerMetadata),
))]
async fn metadata(
    State(web): State<Arc<Web>>,
) -> ([(HeaderName, HeaderValue); 1], axum::Json<ServerMetadata>) {
    let issuer = &web.settings.issuer;
    let at = |path: &str| format!("{issuer}{path}");
    let metadata = ServerMetadata {
        issuer: issuer.clone(),
        jwks_uri: at("/.well-known/jwks.json"),
        token_endpoint: at("/api/v1/tokens"),
        grant_types_supported: [],
        // There must be one.
        response_types_supported: ["none"],
        introspection_endpoint: at(services::INTROSPECT),
        introspection_endpoint_auth_methods_supported: AUTH_METHODS,
        revocation_endpoint: at(services::REVOKE),
        revocation_endpoint_auth_methods_supported: AUTH_METHODS,
        service_documentation: at("/api/docs"),
    };
    (FOR_A_WHILE, axum::Json(metadata))
}
