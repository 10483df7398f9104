//! The second address: what operators' machines collect, for whoever reaches it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use quivive_web::Operation;
use serde_json::{Value, json};

/// A collector or two, and somebody who looks.
pub(super) const MAX_CONNECTIONS: usize = 64;

type Doing = State<Arc<dyn Operation>>;

pub(super) fn router(operation: Arc<dyn Operation>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(operation)
}

async fn livez() -> Json<Value> {
    Json(json!({"status": "alive"}))
}

/// As on the first address with `?verbose`.
async fn readyz(
    State(operation): Doing,
) -> (StatusCode, [(HeaderName, &'static str); 1], Json<Value>) {
    let ready = operation.ready();
    let status = if ready.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut told = json!({
        "status": if ready.is_ok() { "ready" } else { "not_ready" },
        "subscriptions": operation.subscriptions(),
    });
    if let Err(reason) = ready {
        told["reason"] = reason.into();
    }
    (status, [(CACHE_CONTROL, "no-store")], Json(told))
}

async fn metrics(State(operation): Doing) -> ([(HeaderName, &'static str); 1], String) {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        operation.metrics(),
    )
}
