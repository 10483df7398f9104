//! Calls from pages of other origins: none but those that the operator names, for the API alone, and never with cookies.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

/// The origins that may call.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// An origin that cannot be a header's value matches nothing.
    pub(crate) fn new(origins: &[String]) -> Self {
        Self {
            origins: origins
                .iter()
                .filter_map(|origin| origin.parse().ok())
                .collect(),
        }
    }

    /// The request's origin, if it may call this path.
    pub(crate) fn origin(&self, path: &str, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.origins.is_empty() || !path.starts_with("/api/") {
            return None;
        }
        let origin = headers.get(ORIGIN)?;
        self.origins.iter().find(|known| *known == origin).cloned()
    }
}

/// The answer to a browser that asks before it calls; `None` when this is the call itself.
pub(crate) fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response> {
    if method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let mut answer = StatusCode::NO_CONTENT.into_response();
    let out = answer.headers_mut();
    let fixed = HeaderValue::from_static;
    out.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        fixed("GET, POST, PUT, PATCH, DELETE"),
    );
    out.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        fixed("authorization, content-type, idempotency-key, last-event-id"),
    );
    out.insert(ACCESS_CONTROL_MAX_AGE, fixed("600"));
    Some(answer)
}

/// Lets the page of that origin read the answer.
pub(crate) fn expose(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("x-request-id, retry-after"),
    );
    headers.append(VARY, HeaderValue::from_static("origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_origins_and_only_the_api() {
        let cors = Cors::new(&["https://app.example".to_owned()]);
        for (path, origin, want) in [
            ("/api/v1/users", "https://app.example", true),
            ("/verify", "https://app.example", false),
            ("/api/v1/users", "https://app.example:8443", false),
            ("/api/v1/users", "http://app.example", false),
            ("/api/v1/users", "https://evil.app.example", false),
            ("/api/v1/users", "null", false),
        ] {
            let headers = HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap())]);
            assert_eq!(
                cors.origin(path, &headers).is_some(),
                want,
                "{path} {origin}"
            );
            assert!(Cors::new(&[]).origin(path, &headers).is_none());
        }
    }
}
