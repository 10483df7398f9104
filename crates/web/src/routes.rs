//! Every route of the API, once, with who may use it and how it is counted. The edge goes by this list: a route that is
//! not in it is served to nobody, and a test compares it with the OpenAPI document and asks each route without a token.

mod accounts;
mod discovery;
mod docs;
mod events;
mod me;
mod operation;
mod passwords;
mod sessions;

use std::sync::Arc;

use axum::http::Method;
use utoipa_axum::router::OpenApiRouter;

use crate::limits::Family;
use crate::{Web, openapi};

#[cfg(test)]
pub(crate) use docs::document;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Everybody; what it needs is in the body.
    Open,
    /// Everybody, under any host name, uncounted: whether the server lives.
    Probe,
    /// Whoever has a good access token.
    Bearer,
    /// Whoever has one and the role admin.
    Admin,
    /// This machine, through no proxy. To others it does not exist.
    Loopback,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub authority: Authority,
    /// `None`: not counted.
    pub family: Option<Family>,
}

const fn route(method: Method, path: &'static str, authority: Authority, family: Family) -> Route {
    Route {
        method,
        path,
        authority,
        family: Some(family),
    }
}

const fn uncounted(path: &'static str, authority: Authority) -> Route {
    Route {
        method: Method::GET,
        path,
        authority,
        family: None,
    }
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const DELETE: Method = Method::DELETE;

/// The list.
pub const ROUTES: &[Route] = &[
    route(POST, "/api/v1/users", Authority::Open, Family::Registration),
    route(
        POST,
        "/api/v1/email-verifications",
        Authority::Open,
        Family::Recovery,
    ),
    route(
        POST,
        "/api/v1/email-verification-requests",
        Authority::Open,
        Family::Recovery,
    ),
    route(POST, "/api/v1/sessions", Authority::Open, Family::Login),
    // With a bearer token or a refresh token; without either there is nothing to end.
    route(
        DELETE,
        "/api/v1/sessions/current",
        Authority::Open,
        Family::Write,
    ),
    route(POST, "/api/v1/tokens", Authority::Open, Family::Refresh),
    route(GET, "/api/v1/me", Authority::Bearer, Family::Read),
    route(PUT, "/api/v1/me/password", Authority::Bearer, Family::Login),
    route(
        POST,
        "/api/v1/password-reset-requests",
        Authority::Open,
        Family::Recovery,
    ),
    route(
        POST,
        "/api/v1/password-resets",
        Authority::Open,
        Family::Recovery,
    ),
    route(GET, "/api/v1/events", Authority::Admin, Family::Read),
    route(
        GET,
        "/api/v1/events/catalogue",
        Authority::Admin,
        Family::Read,
    ),
    route(GET, "/api/v1/events/{id}", Authority::Admin, Family::Read),
    route(GET, "/.well-known/jwks.json", Authority::Open, Family::Read),
    route(GET, "/api/openapi.json", Authority::Open, Family::Read),
    route(GET, "/api/docs", Authority::Open, Family::Read),
    route(GET, "/problems/{code}", Authority::Open, Family::Read),
    uncounted("/livez", Authority::Probe),
    uncounted("/readyz", Authority::Probe),
    uncounted("/metrics", Authority::Loopback),
];

/// The handlers, with their description.
pub(crate) fn api() -> OpenApiRouter<Arc<Web>> {
    OpenApiRouter::with_openapi(openapi::frame())
        .merge(accounts::router())
        .merge(sessions::router())
        .merge(passwords::router())
        .merge(me::router())
        .merge(events::router())
        .merge(discovery::router())
        .merge(operation::router())
        .merge(docs::router())
}

#[cfg(test)]
mod tests;
