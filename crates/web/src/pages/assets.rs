//! The stylesheet: part of the program, named by its content, so that a browser may keep it for as long as it likes.

use axum::extract::RawQuery;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

const STYLE: &str = include_str!("../../assets/style.css");

/// What pages ask for as `v`: changes with the stylesheet.
pub(crate) const STYLE_VERSION: u64 = fingerprint(STYLE.as_bytes());

/// For the address that names this very content: a year, the longest that RFC 9111 caches are expected to honour.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// For any other address: keep it, but ask whether it changed.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("public, no-cache");

/// `GET /assets/style.css`
pub(super) async fn style(RawQuery(wanted): RawQuery, headers: HeaderMap) -> Response {
    let tag = format!("\"{STYLE_VERSION}\"");
    let exact = wanted.is_some_and(|wanted| wanted == format!("v={STYLE_VERSION}"));
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
    let kind = [(
        CONTENT_TYPE,
        HeaderValue::from_static("text/css; charset=utf-8"),
    )];
    (named, kind, STYLE).into_response()
}

/// Digits in quotes are always a header value.
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
