//! What every answer says to browsers and caches, unless its route says otherwise.

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers hold tokens and what they open: nobody keeps them, nobody guesses at their type, nothing is loaded by them.
const DEFAULTS: [(HeaderName, HeaderValue); 4] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
];

/// Adds what is missing, and the request's id.
pub(crate) fn complete(headers: &mut HeaderMap, request_id: &Uuid) {
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(value);
    }
    let mut buffer = [0; Hyphenated::LENGTH];
    let text = request_id.as_hyphenated().encode_lower(&mut buffer);
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(X_REQUEST_ID, value);
    }
}
