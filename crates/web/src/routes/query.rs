//! Query strings. Strict: a parameter that is misspelt would otherwise be a filter that is not there.

use axum::http::Uri;

use crate::problem::{Code, FieldError, Problem};

/// How much a page has.
pub(super) const DEFAULT_LIMIT: u32 = 50;
pub(super) const MAX_LIMIT: u32 = 250;

/// Of an unknown parameter's name, in characters, when it is named.
const MAX_NAMED_CHARS: usize = 64;

/// Names and values; each name once.
pub(super) fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    let axum::extract::Query(pairs) =
        axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::new(Code::InvalidQuery))?;
    for (at, (name, _)) in pairs.iter().enumerate() {
        if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(wrong(name, "duplicate_parameter", "Given more than once."));
        }
    }
    Ok(pairs)
}

/// How much is asked for.
pub(super) fn limit(name: &str, value: &str) -> Result<u32, Problem> {
    number(value)
        .and_then(|limit| u32::try_from(limit).ok())
        .filter(|limit| (1..=MAX_LIMIT).contains(limit))
        .ok_or_else(|| {
            let message = format!("A number from 1 to {MAX_LIMIT}.");
            wrong(name, "out_of_range", &message)
        })
}

/// Digits alone: neither a sign nor nothing.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

pub(super) fn unknown(name: &str) -> Problem {
    wrong(
        name,
        "unknown_parameter",
        "There is no such parameter here.",
    )
}

pub(super) fn wrong(name: &str, code: &'static str, message: &str) -> Problem {
    let shown: String = name.chars().take(MAX_NAMED_CHARS).collect();
    let error = FieldError::new(format!("?{shown}"), code, message);
    Problem::of_field(Code::InvalidQuery, error)
}
