//! Passwords: changed by their owner, or set anew by who reads the letters.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use quivive_app::Failure;
use quivive_app::kernel::Actor;
use quivive_app::workflows::passwords::change_password::{self, ChangePassword};
use quivive_app::workflows::passwords::confirm_password_reset::{self, ConfirmPasswordReset};
use quivive_app::workflows::passwords::request_password_reset::RequestPasswordReset;
use quivive_app::workflows::sessions::step_up::{self, StepUp};
use quivive_domain::one_time::Presented;
use quivive_domain::{Address, Password, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::accounts::{Sent, Whose};
use super::me::account;
use super::sessions::TokensAnswer;
use super::{Authority, Routes};
use crate::Web;
use crate::auth::SignedIn;
use crate::even::even;
use crate::json::{Body, Field, Fields, Json, PASSWORD, TOKEN};
use crate::limits::Family;
use crate::openapi::described;
use crate::problem::{Code, FieldError, Problem};
use crate::request::RequestContext;

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Bearer, Family::Login, || {
            routes!(change_password)
        })
        .never_kept()
        .counted(Authority::Bearer, Family::Login, || routes!(step_up))
        .never_kept()
        .counted(Authority::Open, Family::Recovery, || {
            routes!(request_password_reset)
        })
        .counted(Authority::Open, Family::Recovery, || {
            routes!(reset_password)
        })
}

const NEW_PASSWORD: Field = PASSWORD.named(
    "new_password",
    "At least 12 characters unless configured otherwise, hard to guess, and none of the last ones.",
);

/// Says which rule a password breaks. Judging one takes milliseconds, so a thread of its own does it.
pub(super) async fn weak(
    web: &Web,
    pointer: &'static str,
    password: Password,
    address: Option<Address>,
) -> Problem {
    let policy = web.settings.passwords.clone();
    let judged =
        tokio::task::spawn_blocking(move || policy.check(&password, address.as_ref())).await;
    match judged {
        Ok(Err(weakness)) => Problem::of_field(
            Code::WeakPassword,
            FieldError::new(pointer, weakness.code(), weakness.to_string()),
        ),
        // The workflow knew more than we do, for example the address.
        Ok(Ok(())) | Err(_) => Problem::at(Code::WeakPassword, pointer),
    }
}

struct Change {
    current: Password,
    new: Password,
}

impl Body for Change {
    const FIELDS: &'static [Field] = &[
        PASSWORD.named("current_password", "The one that the account has now."),
        NEW_PASSWORD,
    ];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            current: fields.password("current_password")?,
            new: fields.password("new_password")?,
        })
    }
}

described!(Change as PasswordChange);

/// Change your password.
///
/// Every other session ends, and so does the trust in every other device; the answer holds new tokens for this one.
#[utoipa::path(put, path = "/api/v1/me/password", tag = "passwords", request_body = Change, responses(
    (status = 200, description = "Changed.", body = TokensAnswer),
    (status = 403, description = "`invalid_password`"),
    (status = 422, description = "`weak_password`, `password_reused`, `invalid_fields`"),
))]
async fn change_password(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Json(body): Json<Change>,
) -> Result<axum::Json<TokensAnswer>, Problem> {
    let new = body.new.clone();
    let command = ChangePassword {
        user: caller.user,
        change: change_password::Change::Own {
            session: caller.session,
            current: body.current,
            new: body.new,
        },
    };
    match web
        .kernel
        .execute(command, context.request(caller.actor()))
        .await
    {
        Ok(Some(tokens)) => Ok(axum::Json(tokens.into())),
        Ok(None) => Err(Problem::new(Code::Internal)),
        Err(Failure::Refused(change_password::Refusal::WeakPassword)) => {
            let address = account(&web, &caller).await?.email;
            Err(weak(&web, "/new_password", new, Some(address)).await)
        }
        Err(failure) => Err(Problem::of_failure(failure, |refusal| match refusal {
            change_password::Refusal::UserNotFound => Problem::new(Code::Unauthenticated),
            change_password::Refusal::InvalidPassword => {
                Problem::at(Code::InvalidPassword, "/current_password")
            }
            change_password::Refusal::WeakPassword => {
                Problem::at(Code::WeakPassword, "/new_password")
            }
            change_password::Refusal::PasswordReused => {
                Problem::at(Code::PasswordReused, "/new_password")
            }
            // Of what administrators demand.
            change_password::Refusal::Forbidden | change_password::Refusal::StepUpRequired => {
                Problem::new(Code::Internal)
            }
        })),
    }
}

struct Proof {
    password: Password,
}

impl Body for Proof {
    const FIELDS: &'static [Field] = &[PASSWORD];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            password: fields.password("password")?,
        })
    }
}

described!(Proof as StepUp);

/// Show again that it is you.
///
/// What is dangerous asks for it with `step_up_required`; the access token of the answer serves for that, ten minutes unless
/// configured otherwise. A sign-in serves as long.
#[utoipa::path(post, path = "/api/v1/me/step-up", tag = "signing in", request_body = Proof, responses(
    (status = 200, description = "Tokens of the same session.", body = TokensAnswer),
    (status = 403, description = "`invalid_password`"),
))]
async fn step_up(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Json(body): Json<Proof>,
) -> Result<axum::Json<TokensAnswer>, Problem> {
    use step_up::Refusal;
    let command = StepUp {
        user: caller.user,
        session: caller.session,
        password: body.password,
    };
    let request = context.request(caller.actor());
    let proved = web.kernel.execute(command, request).await;
    proved
        .map(|tokens| axum::Json(tokens.into()))
        .map_err(|failure| {
            Problem::of_failure(failure, |refusal| match refusal {
                Refusal::InvalidPassword | Refusal::TooManyAttempts => {
                    Problem::at(Code::InvalidPassword, "/password")
                }
                Refusal::SessionEnded => Problem::new(Code::Unauthenticated),
            })
        })
}

/// Ask for a letter with which to set a new password.
///
/// The answer is the same, and takes the same time, whether or not there is such an account and whatever its state.
#[utoipa::path(post, path = "/api/v1/password-reset-requests", tag = "passwords", request_body = Whose, responses(
    (status = 202, description = "If there is such an account, a letter is on its way.", body = Sent),
))]
async fn request_password_reset(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    Json(body): Json<Whose>,
) -> Result<(StatusCode, axum::Json<Sent>), Problem> {
    const SENT: Sent = Sent {
        status: "reset_sent",
    };
    even(async {
        let command = RequestPasswordReset { email: body.email };
        match web
            .kernel
            .execute(command, context.request(Actor::Anonymous))
            .await
        {
            Ok(_) | Err(Failure::Refused(_) | Failure::Vetoed(_)) => {
                Ok((StatusCode::ACCEPTED, axum::Json(SENT)))
            }
            Err(failure) => Err(Problem::of_failure(failure, |_| {
                Problem::new(Code::Internal)
            })),
        }
    })
    .await
}

struct Reset {
    token: SecretString,
    new_password: Password,
}

impl Body for Reset {
    const FIELDS: &'static [Field] = &[TOKEN, NEW_PASSWORD];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            token: fields.secret("token"),
            new_password: fields.password("new_password")?,
        })
    }
}

described!(Reset as PasswordReset);

/// An account that has a new password now.
#[derive(Serialize, ToSchema)]
#[schema(as = PasswordResetConfirmResponse)]
struct WasReset {
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    /// For people.
    message: &'static str,
}

/// Set a new password.
///
/// With the token of the link in the letter; it works once. Every session of the account ends.
#[utoipa::path(post, path = "/api/v1/password-resets", tag = "passwords", request_body = Reset, responses(
    (status = 200, description = "The password is the new one.", body = WasReset),
    (status = 400, description = "`invalid_token`, `malformed_json`"),
    (status = 422, description = "`weak_password`, `password_reused`, `invalid_fields`"),
))]
async fn reset_password(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    Json(body): Json<Reset>,
) -> Result<axum::Json<WasReset>, Problem> {
    use confirm_password_reset::Refusal;
    let new = body.new_password.clone();
    let command = ConfirmPasswordReset {
        token: Presented::parse(body.token.expose_secret()),
        new_password: body.new_password,
    };
    match web
        .kernel
        .execute(command, context.request(Actor::Anonymous))
        .await
    {
        Ok(reply) => Ok(axum::Json(WasReset {
            user_id: reply.user_id,
            message: "The password was changed. Every session has ended; sign in with the new password.",
        })),
        Err(Failure::Refused(Refusal::WeakPassword)) => {
            Err(weak(&web, "/new_password", new, None).await)
        }
        Err(failure) => Err(Problem::of_failure(failure, |refusal| match refusal {
            Refusal::TokenNotFound
            | Refusal::TokenExpired
            | Refusal::TokenAlreadyUsed
            | Refusal::UserNotFound
            | Refusal::AccountInactive => Problem::new(Code::InvalidToken),
            Refusal::WeakPassword => Problem::at(Code::WeakPassword, "/new_password"),
            Refusal::PasswordReused => Problem::at(Code::PasswordReused, "/new_password"),
        })),
    }
}
