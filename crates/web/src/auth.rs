//! Who calls: bearer tokens in, access tokens and API keys, judged by [`quivive_app::access::Access`] alone.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quivive_app::Request;
use quivive_app::access::{Access, Caller, Service};
use quivive_app::kernel::Actor;
use quivive_app::step_up::Proven;
use quivive_delivery::Log;
use quivive_domain::api_key::{Presented, Scope};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::problem::{Code, Problem};
use crate::request::RequestContext;
use crate::routes::Authority;

/// Of an access token, in bytes. Ours have about 600.
const MAX_TOKEN_BYTES: usize = 4_096;

/// Who was let through: the edge put it there, after the list of routes.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    Person(Caller),
    Service(Service),
}

impl Known {
    /// As events name it.
    pub(crate) fn actor(&self) -> Actor {
        match self {
            Self::Person(caller) => caller.actor(),
            Self::Service(service) => service.actor(),
        }
    }

    /// The account's id or the key's.
    pub(crate) fn id(&self) -> Uuid {
        match self {
            Self::Person(caller) => caller.user.0,
            Self::Service(service) => service.key.0,
        }
    }

    /// What is personal may be seen and asked for by administrators, and by services whose key says so.
    pub(crate) fn must_see_personal(&self) -> Result<(), Problem> {
        let sees = match self {
            Self::Person(caller) => caller.is_admin(),
            Self::Service(service) => service.may(Scope::EventsReadPersonal),
        };
        if sees {
            return Ok(());
        }
        let need = "What is personal needs the role admin, or an API key with the scope events.read_personal.";
        Err(Problem::with_detail(Code::Forbidden, need))
    }
}

impl<S: Sync> FromRequestParts<S> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent where the list calls a route open and its handler does not agree.
        parts
            .extensions
            .remove::<Self>()
            .ok_or_else(|| Problem::new(Code::Internal))
    }
}

/// The caller of a route that needs a person.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn(pub Caller);

impl<S: Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Known::from_request_parts(parts, state).await? {
            Known::Person(caller) => Ok(Self(caller)),
            Known::Service(_) => Err(Problem::new(Code::Internal)),
        }
    }
}

/// What workflows are told of a request whose caller is a person, and that it is them.
pub(crate) struct AsCaller {
    pub request: Request,
    pub by: Proven,
}

impl<S: Sync> FromRequestParts<S> for AsCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let SignedIn(caller) = SignedIn::from_request_parts(parts, state).await?;
        let context = RequestContext::from_request_parts(parts, state).await?;
        Ok(Self {
            request: context.request(caller.actor()),
            by: caller.proven(),
        })
    }
}

/// The caller of a route that needs a service.
#[derive(Debug, Clone)]
pub(crate) struct Serving(pub Service);

impl<S: Sync> FromRequestParts<S> for Serving {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Known::from_request_parts(parts, state).await? {
            Known::Service(service) => Ok(Self(service)),
            Known::Person(_) => Err(Problem::new(Code::Internal)),
        }
    }
}

/// The caller, if the request carries a good access token.
pub(crate) async fn caller(
    access: &Access,
    headers: &HeaderMap,
) -> Result<Option<Caller>, Problem> {
    match bearer(headers) {
        Some(token) => Ok(access.authenticate(token).await?),
        None => Ok(None),
    }
}

/// Who calls, or why it may not go on: nobody, or not by this authority.
pub(crate) async fn permitted(
    access: &Access,
    log: &dyn Log,
    headers: &HeaderMap,
    authority: Authority,
) -> Result<Known, Problem> {
    let token = credential(headers, authority);
    let token = token.ok_or_else(|| Problem::new(Code::Unauthenticated))?;
    judge(access, log, &token, authority).await
}

/// Judges one bearer token. A key is looked at only where a key will do.
async fn judge(
    access: &Access,
    log: &dyn Log,
    token: &str,
    authority: Authority,
) -> Result<Known, Problem> {
    let scope = match authority {
        Authority::AdminOr(scope) | Authority::Service(scope) => Some(scope),
        _ => None,
    };
    let known = match scope {
        Some(_) if Presented::is_meant(token) => access
            .service(token, log)
            .await
            .map(|it| it.map(Known::Service)),
        _ => access
            .authenticate(token)
            .await
            .map(|it| it.map(Known::Person)),
    };
    let known = known?.ok_or_else(|| Problem::new(Code::Unauthenticated))?;
    let enough = match (&known, authority) {
        (Known::Service(service), _) => scope.is_some_and(|scope| service.may(scope)),
        (Known::Person(_), Authority::Service(_)) => false,
        (Known::Person(caller), _) => authority.permission().is_none_or(|it| caller.may(it)),
    };
    if enough {
        return Ok(known);
    }
    let needed = authority.needs().unwrap_or_default();
    Err(Problem::with_detail(
        Code::Forbidden,
        format!("This needs {needed}."),
    ))
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
    pub(crate) async fn holds(&self, access: &Access, log: &dyn Log) -> bool {
        let token = self.token.expose_secret();
        judge(access, log, token, self.authority).await.is_ok()
    }
}

/// What a request comes with. Services may send their key as OAuth clients send their secret (RFC 6749, 2.3.1).
fn credential(headers: &HeaderMap, authority: Authority) -> Option<Cow<'_, str>> {
    let bearer = bearer(headers).map(Cow::Borrowed);
    match authority {
        Authority::Service(_) => bearer.or_else(|| basic(headers).map(Cow::Owned)),
        _ => bearer,
    }
}

/// The one bearer token of a request. Two are none: what is in front might judge another one than we do.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    of_scheme("bearer", headers)
}

/// The password of the basic scheme (RFC 7617). The name before it says nothing that a key does not.
fn basic(headers: &HeaderMap) -> Option<String> {
    let bytes = STANDARD.decode(of_scheme("basic", headers)?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

fn of_scheme<'a>(wanted: &str, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (line, more) = (lines.next()?, lines.next());
    let (scheme, token) = line.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let good = more.is_none()
        && scheme.eq_ignore_ascii_case(wanted)
        && !token.is_empty()
        && token.len() <= MAX_TOKEN_BYTES;
    good.then_some(token)
}

#[cfg(test)]
mod tests {
    use quivive_domain::api_key::Scope;

    use super::*;

    #[test]
    fn a_key_may_come_as_the_secret_of_a_client_where_a_service_is_asked_for() {
        let service = Authority::Service(Scope::Introspect);
        for (line, want) in [
            // name:qk_a, name:qk:a, :qk_a
            ("Basic bmFtZTpxa19h", Some("qk_a")),
            ("basic bmFtZTpxazph", Some("qk:a")),
            ("Basic OnFrX2E=", Some("qk_a")),
            ("Bearer qk_a", Some("qk_a")),
            // Without a colon; and nothing that is base64.
            ("Basic cWtfYQ==", None),
            ("Basic qk_a", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(AUTHORIZATION, line.parse().unwrap());
            assert_eq!(credential(&headers, service).as_deref(), want, "{line}");
        }
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Basic bmFtZTpxa19h".parse().unwrap());
        for authority in [Authority::Bearer, Authority::AdminOr(Scope::EventsRead)] {
            assert_eq!(credential(&headers, authority), None);
        }
    }

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
