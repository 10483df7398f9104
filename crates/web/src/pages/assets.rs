//! The files that pages need: parts of the program, named by their content, so that a browser may keep one for as long as
//! it likes.

use axum::Router;
use axum::extract::RawQuery;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Shared;

/// What every page looks like.
pub(crate) const STYLE: File = File::new(
    "text/css; charset=utf-8",
    include_str!("../../assets/style.css"),
);

/// What a browser shows beside the title.
pub(crate) const ICON: File = File::new("image/svg+xml", include_str!("../../assets/icon.svg"));

/// For the address that names this very content: a year.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// For any other address: keep it, but ask whether it changed.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("public, no-cache");

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(
            "/assets/style.css",
            get(async |query, headers| STYLE.answer(query, &headers)),
        )
        .route(
            "/assets/icon.svg",
            get(async |query, headers| ICON.answer(query, &headers)),
        )
}

/// One file.
pub(crate) struct File {
    kind: &'static str,
    text: &'static str,
    /// What pages ask for as `v`: changes with the text.
    pub(crate) version: u64,
}

impl File {
    const fn new(kind: &'static str, text: &'static str) -> Self {
        let version = fingerprint(text.as_bytes());
        Self {
            kind,
            text,
            version,
        }
    }

    fn answer(&self, RawQuery(query): RawQuery, headers: &HeaderMap) -> Response {
        let tag = format!("\"{}\"", self.version);
        let exact = query.is_some_and(|query| query == format!("v={}", self.version));
        let keep = if exact { FOR_GOOD } else { ASK_AGAIN };
        let known = headers
            .get(IF_NONE_MATCH)
            .and_then(|held| held.to_str().ok())
            .is_some_and(|held| {
                held.split(',')
                    .any(|one| one.trim().trim_start_matches("W/") == tag)
            });
        let named = [(CACHE_CONTROL, keep), (ETAG, value(&tag))];
        if known {
            return (StatusCode::NOT_MODIFIED, named).into_response();
        }
        let kind = [(CONTENT_TYPE, HeaderValue::from_static(self.kind))];
        (named, kind, self.text).into_response()
    }
}

/// Digits in quotes are always a header's value.
fn value(tag: &str) -> HeaderValue {
    HeaderValue::from_str(tag).unwrap_or(HeaderValue::from_static("\"\""))
}

/// FNV-1a, 64 bits: tells versions of one file apart, which nobody attacks.
const fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}
