//! Signing in, staying signed in, and signing out. The list of one's sessions is in `listed`.

pub(super) mod listed;

pub(super) use listed::{SessionsEnded, end_all};

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use quivive_app::kernel::Actor;
use quivive_app::sessions::Tokens;
use quivive_app::workflows::sessions::log_in::{LogIn, Refusal};
use quivive_app::workflows::sessions::log_out::LogOut;
use quivive_app::workflows::sessions::refresh_tokens::RefreshTokens;
use quivive_domain::refresh::Presented;
use quivive_domain::{Password, SessionId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Authority, Routes};
use crate::even::settle;
use crate::json::{Body, DEVICE_TOKEN, EMAIL, Field, Fields, Json, PASSWORD, REFRESH_TOKEN};
use crate::limits::Family;
use crate::openapi::described;
use crate::problem::{Code, FieldError, Problem};
use crate::request::RequestContext;
use crate::{Web, auth};

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Open, Family::Login, || routes!(sign_in))
        .never_kept()
        .counted(Authority::Open, Family::Refresh, || routes!(refresh))
        .never_kept()
        // With a bearer token or a refresh token; without either there is nothing to end.
        .counted(Authority::Open, Family::Write, || routes!(sign_out))
        .merge(listed::router())
}

/// What a signed-in client holds.
#[derive(Serialize, ToSchema)]
#[schema(as = Tokens)]
pub(super) struct TokensAnswer {
    /// A JSON Web Token (RFC 9068), for `Authorization: Bearer …`.
    #[schema(value_type = String)]
    #[serde(serialize_with = "told")]
    access_token: SecretString,
    /// Works once; the answer to its use holds the next one.
    #[schema(value_type = String)]
    #[serde(serialize_with = "told")]
    refresh_token: SecretString,
    #[schema(example = "bearer")]
    token_type: &'static str,
    /// Seconds until the access token expires.
    expires_in: u64,
    #[schema(value_type = String, format = "uuid")]
    session_id: SessionId,
    /// Present when a device was registered: keep it and send it with the next sign-in.
    #[schema(value_type = Option<String>)]
    #[serde(
        serialize_with = "told_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    device_token: Option<SecretString>,
}

/// The one place where a secret of ours is written out: to whom it belongs.
fn told<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[expect(clippy::ref_option, reason = "serde hands over the field as it is")]
fn told_if_any<S: Serializer>(
    secret: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.as_ref().map_or("", |secret| secret.expose_secret()))
}

impl From<Tokens> for TokensAnswer {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            token_type: "bearer",
            expires_in: tokens.expires_in,
            session_id: tokens.session_id,
            device_token: tokens.device_token,
        }
    }
}

struct Credentials {
    email: String,
    password: Password,
    device_token: Option<SecretString>,
}

impl Body for Credentials {
    const FIELDS: &'static [Field] = &[EMAIL, PASSWORD, DEVICE_TOKEN];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            email: fields.text("email"),
            password: fields.password("password")?,
            device_token: fields.optional_secret("device_token"),
        })
    }
}

described!(Credentials);

/// Sign in.
///
/// An unknown address, a wrong password and an automatic lock are one answer. The state of an account is told only after
/// its right password.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "signing in", request_body = Credentials, responses(
    (status = 200, description = "Signed in.", body = TokensAnswer),
    (status = 401, description = "`invalid_credentials`"),
    (status = 403, description = "After the right password: `email_not_verified`, `account_locked`, `account_inactive`"),
))]
async fn sign_in(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    Json(body): Json<Credentials>,
) -> Result<axum::Json<TokensAnswer>, Problem> {
    let began = Instant::now();
    let command = LogIn {
        email: body.email,
        password: body.password,
        device_token: body.device_token,
    };
    match web
        .kernel
        .execute(command, context.request(Actor::Anonymous))
        .await
    {
        Ok(tokens) => Ok(axum::Json(tokens.into())),
        Err(failure) => {
            if !matches!(failure, quivive_app::Failure::NotAdmitted(_)) {
                settle(began).await;
            }
            Err(Problem::of_failure(failure, |refusal| {
                Problem::new(match refusal {
                    Refusal::InvalidCredentials | Refusal::UserNotFound => Code::InvalidCredentials,
                    Refusal::EmailNotVerified => Code::EmailNotVerified,
                    Refusal::AccountLocked => Code::AccountLocked,
                    Refusal::AccountInactive => Code::AccountInactive,
                })
            }))
        }
    }
}

struct Refresh {
    refresh_token: SecretString,
    device_token: Option<SecretString>,
}

impl Body for Refresh {
    const FIELDS: &'static [Field] = &[REFRESH_TOKEN, DEVICE_TOKEN];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            refresh_token: fields.secret("refresh_token"),
            device_token: fields.optional_secret("device_token"),
        })
    }
}

described!(Refresh as TokenRefresh);

/// Get new tokens for a refresh token.
///
/// It works once. Sent again within ten seconds by the same device, as parallel tabs do, it gets the same answer; later or
/// elsewhere it ends the session.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "signing in", request_body = Refresh, responses(
    (status = 200, description = "The next tokens.", body = TokensAnswer),
    (status = 401, description = "`invalid_token`"),
))]
async fn refresh(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    Json(body): Json<Refresh>,
) -> Result<axum::Json<TokensAnswer>, Problem> {
    let command = RefreshTokens {
        token: Presented::parse(body.refresh_token.expose_secret()),
        device_token: body.device_token,
    };
    match web
        .kernel
        .execute(command, context.request(Actor::Anonymous))
        .await
    {
        Ok(tokens) => Ok(axum::Json(tokens.into())),
        Err(failure) => Err(Problem::of_failure(failure, |_| {
            Problem::new(Code::InvalidToken).and_status(StatusCode::UNAUTHORIZED)
        })),
    }
}

struct SignOut {
    refresh_token: Option<SecretString>,
}

impl Body for SignOut {
    const FIELDS: &'static [Field] = &[Field {
        required: false,
        ..REFRESH_TOKEN
    }];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            refresh_token: fields.optional_secret("refresh_token"),
        })
    }
}

described!(SignOut);

/// Sign out.
///
/// Ends the session of the access token, or of the refresh token in the body. The answer is the same when there is none to
/// end.
#[utoipa::path(delete, path = "/api/v1/sessions/current", tag = "signing in", request_body = Option<SignOut>,
    security((), ("bearer" = [])), responses((status = 204, description = "That session is over.")))]
async fn sign_out(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    headers: HeaderMap,
    body: Option<Json<SignOut>>,
) -> Result<StatusCode, Problem> {
    let caller = auth::caller(&web.access, &headers).await?;
    let token = body.and_then(|Json(body)| body.refresh_token);
    let token = token.as_ref().map(SecretString::expose_secret);
    let command = LogOut::resolve(web.kernel.families(), caller.as_ref(), token)
        .await
        .map_err(|fault| Problem::of_fault(&fault))?;
    let Some(command) = command else {
        return Ok(StatusCode::NO_CONTENT);
    };
    let actor = caller.map_or(Actor::Anonymous, |caller| caller.actor());
    match web.kernel.execute(command, context.request(actor)).await {
        Ok(()) | Err(quivive_app::Failure::Refused(_)) => Ok(StatusCode::NO_CONTENT),
        Err(failure) => Err(Problem::of_failure(failure, |_| {
            Problem::new(Code::Internal)
        })),
    }
}
