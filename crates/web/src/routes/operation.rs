//! For who runs the server: does it live, is it ready, what does it count.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Authority, Routes};
use crate::problem::{Code, Problem};
use crate::request::RequestContext;
use crate::{Web, host};

pub(super) fn router() -> Routes {
    Routes::new()
        .uncounted(Authority::Probe, || routes!(livez))
        .uncounted(Authority::Probe, || routes!(readyz))
        .uncounted(Authority::Loopback, || routes!(metrics))
}

/// How the server is.
#[derive(Serialize, ToSchema)]
struct Health {
    #[schema(example = "ready")]
    status: &'static str,
    /// What it waits for. To this machine only, with `?verbose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// One object for each subscription. To this machine only, with `?verbose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    subscriptions: Option<Vec<serde_json::Value>>,
}

/// Whether the process answers.
#[utoipa::path(get, path = "/livez", tag = "operation", responses(
    (status = 200, description = "It does.", body = Health),
))]
async fn livez() -> axum::Json<Health> {
    axum::Json(Health {
        status: "alive",
        reason: None,
        subscriptions: None,
    })
}

/// Whether it serves.
///
/// With `?verbose`, and to this machine only: what it waits for, and how each subscription is doing. One that is `stuck` is
/// behind and has not moved for 45 seconds.
#[utoipa::path(get, path = "/readyz", tag = "operation", params(
    ("verbose" = Option<String>, Query, description = "Say more. Without a value."),
), responses(
    (status = 200, description = "It does.", body = Health),
    (status = 503, description = "Not yet, or not any more.", body = Health),
))]
async fn readyz(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    uri: Uri,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, axum::Json<Health>), Problem> {
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|part| part.split('=').next() == Some("verbose"))
    });
    if verbose && !(context.is_local() && host::is_for_loopback(&uri, &headers)) {
        return Err(Problem::new(Code::NotFound));
    }
    let ready = web.operation.ready();
    let (status, word) = match &ready {
        Ok(()) => (StatusCode::OK, "ready"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    let health = Health {
        status: word,
        reason: ready.err().filter(|_| verbose),
        subscriptions: verbose.then(|| web.operation.subscriptions()),
    };
    Ok((status, axum::Json(health)))
}

/// What the server counts, for Prometheus.
///
/// To this machine only. No label is personal.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, description = "Text exposition format 0.0.4.", body = String, content_type = "text/plain"),
))]
async fn metrics(State(web): State<Arc<Web>>) -> ([(HeaderName, HeaderValue); 1], String) {
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(CONTENT_TYPE, text)], web.operation.metrics())
}
