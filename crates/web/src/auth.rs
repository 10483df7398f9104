//! Who calls: bearer tokens in, judged by [`quivive_app::access::Access`] alone.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use quivive_app::access::{Access, Caller};

use crate::problem::{Code, Problem};

/// Of an access token, in bytes. Ours have about 600.
const MAX_TOKEN_BYTES: usize = 4_096;

/// The caller of a route that needs one. The edge put it there, after the list of routes.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn(pub Caller);

impl<S: Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent where the list calls a route open and its handler does not agree.
        parts
            .extensions
            .remove::<Self>()
            .ok_or_else(|| Problem::new(Code::Internal))
    }
}

/// The caller, if the request carries a good access token.
pub(crate) async fn caller(
    access: &Access,
    headers: &HeaderMap,
) -> Result<Option<Caller>, Problem> {
    match bearer(headers) {
        Some(token) => access
            .authenticate(token)
            .await
            .map_err(|fault| Problem::of_fault(&fault)),
        None => Ok(None),
    }
}

/// The caller, or 401.
pub(crate) async fn signed_in(access: &Access, headers: &HeaderMap) -> Result<SignedIn, Problem> {
    let caller = caller(access, headers).await?;
    caller
        .map(SignedIn)
        .ok_or_else(|| Problem::new(Code::Unauthenticated))
}

/// The one bearer token of a request. Two are none: what is in front might judge another one than we do.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (line, more) = (lines.next()?, lines.next());
    let (scheme, token) = line.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let good = more.is_none()
        && scheme.eq_ignore_ascii_case("bearer")
        && !token.is_empty()
        && token.len() <= MAX_TOKEN_BYTES;
    good.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bearer_token_of_bounded_length() {
        let long = format!("Bearer {}", "x".repeat(MAX_TOKEN_BYTES + 1));
        for (lines, want) in [
            (&["Bearer abc"][..], Some("abc")),
            (&["bearer  abc "], Some("abc")),
            (&["Basic abc"], None),
            (&["Bearer"], None),
            (&["Bearer "], None),
            (&["abc"], None),
            (&["Bearer abc", "Bearer abc"], None),
            (&[&long], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(AUTHORIZATION, line.parse().unwrap());
            }
            assert_eq!(bearer(&headers), want, "{lines:?}");
        }
    }
}
