//! For services that are called with our tokens: whether one is good (RFC 7662), its end (RFC 7009), and what somebody may.

use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use quivive_app::Failure;
use quivive_app::access::Good;
use quivive_app::workflows::sessions::revoke_session::RevokeSession;
use quivive_domain::api_key::Scope;
use quivive_domain::{Permission, Role, SessionId, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::{Authority, Routes};
use crate::auth::Serving;
use crate::json::Shaped;
use crate::limits::Family;
use crate::problem::{Code, Problem};
use crate::request::RequestContext;
use crate::{Web, form};

pub(super) const INTROSPECT: &str = "/api/v1/introspect";
pub(super) const REVOKE: &str = "/api/v1/revoke";

const AUTHORITY: Authority = Authority::Service(Scope::Introspect);

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(AUTHORITY, Family::Introspection, || routes!(introspect))
        .never_kept()
        .counted(AUTHORITY, Family::Write, || routes!(revoke))
        .never_kept()
        .counted(AUTHORITY, Family::Introspection, || {
            routes!(authorize_check)
        })
        .never_kept()
}

/// A token. Other parameters are ignored.
#[derive(Deserialize, ToSchema)]
struct HandedIn {
    #[schema(value_type = String)]
    #[serde(deserialize_with = "secret")]
    token: SecretString,
    /// `refresh_token` where it is one.
    token_type_hint: Option<String>,
}

impl HandedIn {
    fn is_refresh_token(&self) -> bool {
        self.token_type_hint.as_deref() == Some("refresh_token")
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

impl<S: Sync> FromRequest<S> for HandedIn {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        form::read(request).await
    }
}

/// What is told of a token: of one that is not good nothing else.
#[derive(Default, Serialize, ToSchema)]
struct Introspection {
    active: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    about: Option<About>,
}

/// Of a token that is good. Times are seconds since 1970.
#[derive(Serialize, ToSchema)]
#[schema(as = IntrospectedToken)]
struct About {
    /// `Bearer`, or `refresh_token`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    iss: String,
    #[schema(value_type = String, format = "uuid")]
    sub: UserId,
    /// The session.
    #[schema(value_type = String, format = "uuid")]
    sid: SessionId,
    #[schema(value_type = String, format = "uuid")]
    jti: Uuid,
    exp: i64,
    /// As they are now.
    #[schema(value_type = Vec<String>, example = json!(["user"]))]
    roles: Vec<Role>,
    /// When a factor was last proved.
    auth_time: i64,
    /// This and what follows: of an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<Vec<String>>,
}

impl About {
    fn of(good: Good, issuer: &str) -> Self {
        let (id, user, session) = (good.name().0.0, good.user(), good.session());
        let about = |token_type, exp, roles, auth_time| Self {
            token_type,
            iss: issuer.to_owned(),
            sub: user,
            sid: session,
            jti: id,
            exp,
            roles,
            auth_time,
            client_id: None,
            aud: None,
            iat: None,
            amr: None,
        };
        match good {
            Good::Access { claims, roles } => Self {
                iss: claims.iss.clone(),
                client_id: Some(claims.client_id.clone()),
                aud: Some(claims.aud.clone()),
                iat: Some(claims.iat),
                amr: Some(claims.amr.clone()),
                ..about("Bearer", claims.exp, roles, claims.auth_time)
            },
            Good::Refresh(token) => about(
                "refresh_token",
                token.expires_at.as_second(),
                token.account.roles,
                token.proved_at.as_second(),
            ),
        }
    }
}

/// Whether a token is good.
///
/// Token introspection (RFC 7662): send your key as `Authorization: Bearer …` or as the password of the basic scheme. What was
/// revoked is felt at once. Of what is unknown, expired or revoked it is not told which. Nor is a refresh token active unless
/// it is asked about as one: who lets callers in by this answer would let them in with what opens nothing by itself.
#[utoipa::path(post, path = INTROSPECT, tag = "for services",
    request_body(content = HandedIn, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, description = "What it is good for, or that it is not active.", body = Introspection),
))]
async fn introspect(
    State(web): State<Arc<Web>>,
    _: Serving,
    asked: HandedIn,
) -> Result<axum::Json<Introspection>, Problem> {
    let token = asked.token.expose_secret();
    let found = if asked.is_refresh_token() {
        web.access.introspect_refresh(token).await
    } else {
        web.access.introspect(token).await
    };
    let good = found.map_err(|fault| Problem::of_fault(&fault))?;
    Ok(axum::Json(Introspection {
        active: good.is_some(),
        about: good.map(|good| About::of(good, &web.settings.issuer)),
    }))
}

/// End the session of a token.
///
/// Token revocation (RFC 7009), for a token of either kind: with its session end all tokens of it. The answer is the same when
/// there was nothing to end.
#[utoipa::path(post, path = REVOKE, tag = "for services",
    request_body(content = HandedIn, content_type = "application/x-www-form-urlencoded"), responses(
    (status = 200, description = "It is good for nothing."),
))]
async fn revoke(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    Serving(service): Serving,
    asked: HandedIn,
) -> Result<StatusCode, Problem> {
    let token = asked.token.expose_secret();
    let found = web.access.introspect_any(token).await;
    let Some(good) = found.map_err(|fault| Problem::of_fault(&fault))? else {
        return Ok(StatusCode::OK);
    };
    let request = context.request(service.actor());
    match web.kernel.execute(RevokeSession::by(&good), request).await {
        // Refused: it ended meanwhile.
        Ok(()) | Err(Failure::Refused(_)) => Ok(StatusCode::OK),
        Err(failure) => Err(Problem::of_failure(failure, |_| {
            Problem::new(Code::Internal)
        })),
    }
}

/// Who is to do what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Question {
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    /// `users.read`, `users.unlock`, `sessions.end`, `administration`.
    #[schema(example = "users.read")]
    permission: String,
}

/// Whether they may.
#[derive(Serialize, ToSchema)]
struct Decision {
    /// `allow` or `deny`.
    #[schema(example = "allow")]
    decision: &'static str,
    /// What grants it, from the person on; empty where nothing does.
    #[schema(value_type = Vec<String>, example = json!(["role:support"]))]
    path: Vec<String>,
}

/// Whether somebody may do something.
///
/// By the roles they have now; nobody may anything whose account is locked, deactivated or gone. What is no permission is
/// granted to nobody.
#[utoipa::path(post, path = "/api/v1/authorize-check", tag = "for services", request_body = Question, responses(
    (status = 200, description = "The answer, with what it rests on.", body = Decision),
))]
async fn authorize_check(
    State(web): State<Arc<Web>>,
    _: Serving,
    Shaped(asked): Shaped<Question>,
) -> Result<axum::Json<Decision>, Problem> {
    let granting = match Permission::parse(&asked.permission) {
        Some(permission) => {
            let permitted = web.kernel.families().permitted(asked.user_id, permission);
            let account = permitted.await.map_err(|fault| Problem::of_fault(&fault))?;
            account.and_then(|account| permission.granted_by(&account.roles))
        }
        None => None,
    };
    Ok(axum::Json(Decision {
        decision: if granting.is_some() { "allow" } else { "deny" },
        path: granting
            .map(|role| format!("role:{}", role.as_str()))
            .into_iter()
            .collect(),
    }))
}

#[cfg(test)]
mod tests;
