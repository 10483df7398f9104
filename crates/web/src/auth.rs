//! Who calls: bearer tokens in, judged by [`quivive_app::access::Access`] alone.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use quivive_app::access::{Access, Caller};
use secrecy::{ExposeSecret as _, SecretString};

use crate::problem::{Code, Problem};
use crate::routes::Authority;

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

/// The caller, or why it may not go on: nobody, or not by this authority.
pub(crate) async fn permitted(
    access: &Access,
    headers: &HeaderMap,
    authority: Authority,
) -> Result<SignedIn, Problem> {
    let caller = caller(access, headers).await?;
    let caller = caller.ok_or_else(|| Problem::new(Code::Unauthenticated))?;
    if is_enough(&caller, authority) {
        return Ok(SignedIn(caller));
    }
    Err(Problem::with_detail(
        Code::Forbidden,
        "This needs the role admin.",
    ))
}

fn is_enough(caller: &Caller, authority: Authority) -> bool {
    authority != Authority::Admin || caller.is_admin()
}

/// What an answer that goes on keeps of its request: the right to it, which may end before.
#[derive(Clone)]
pub(crate) struct Pass {
    token: SecretString,
    authority: Authority,
}

impl Pass {
    /// Of a request that was let through.
    pub(crate) fn of(headers: &HeaderMap, authority: Authority) -> Result<Self, Problem> {
        let token = bearer(headers).ok_or_else(|| Problem::new(Code::Unauthenticated))?;
        Ok(Self {
            token: token.into(),
            authority,
        })
    }

    /// Whether it would be let through again. Not when nobody can tell.
    pub(crate) async fn holds(&self, access: &Access) -> bool {
        let judged = access.authenticate(self.token.expose_secret()).await;
        judged.is_ok_and(|caller| caller.is_some_and(|caller| is_enough(&caller, self.authority)))
    }
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
