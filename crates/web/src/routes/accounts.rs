//! Accounts: registration, and proof of the address.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use quivive_app::Failure;
use quivive_app::kernel::Actor;
use quivive_app::workflows::accounts::register_user::{self, RegisterUser};
use quivive_app::workflows::accounts::request_email_verification::RequestEmailVerification;
use quivive_app::workflows::accounts::verify_email::VerifyEmail;
use quivive_domain::one_time::Presented;
use quivive_domain::{Address, Password, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::passwords::weak;
use super::{Authority, Routes};
use crate::Web;
use crate::even::even;
use crate::json::{Body, EMAIL, Field, Fields, Json, PASSWORD, TOKEN, Text};
use crate::limits::Family;
use crate::openapi::described;
use crate::problem::{Code, FieldError, Problem};
use crate::request::RequestContext;

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Open, Family::Registration, || {
            routes!(register_user)
        })
        .counted(Authority::Open, Family::Recovery, || routes!(verify_email))
        .counted(Authority::Open, Family::Recovery, || {
            routes!(request_email_verification)
        })
}

/// What is said, whether or not there is such an account.
#[derive(Serialize, ToSchema)]
pub(super) struct Sent {
    #[schema(example = "verification_sent")]
    pub status: &'static str,
}

const VERIFICATION_SENT: (StatusCode, axum::Json<Sent>) = (
    StatusCode::ACCEPTED,
    axum::Json(Sent {
        status: "verification_sent",
    }),
);

struct Registration {
    email: String,
    password: Password,
    display_name: Option<String>,
    locale: Option<String>,
}

impl Body for Registration {
    const FIELDS: &'static [Field] = &[
        EMAIL,
        PASSWORD,
        Field {
            name: "display_name",
            text: Text::Line { max_chars: 100 },
            required: false,
            about: "What to call the person.",
        },
        Field {
            name: "locale",
            text: Text::Line { max_chars: 35 },
            required: false,
            about: "The language of letters (BCP 47); the nearest one we have is used.",
        },
    ];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            email: fields.text("email"),
            password: fields.password("password")?,
            display_name: fields.optional("display_name"),
            locale: fields.optional("locale"),
        })
    }
}

described!(Registration);

/// Register an account.
///
/// A letter with a link follows. A taken address is answered in the same way and in the same time; its owner gets a letter
/// that says so.
#[utoipa::path(post, path = "/api/v1/users", tag = "accounts", request_body = Registration, responses(
    (status = 202, description = "A letter is on its way to the address.", body = Sent),
    (status = 403, description = "`registration_closed`"),
    (status = 422, description = "`invalid_email`, `weak_password`, `invalid_fields`"),
))]
async fn register_user(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    Json(body): Json<Registration>,
) -> Result<(StatusCode, axum::Json<Sent>), Problem> {
    even(async {
        let (password, address) = (body.password.clone(), Address::parse(&body.email));
        let command = RegisterUser {
            email: body.email,
            password: body.password,
            display_name: body.display_name,
            locale: body.locale,
        };
        match web
            .kernel
            .execute(command, context.request(Actor::Anonymous))
            .await
        {
            // A veto is about a free address: told apart, it would tell which are taken.
            Ok(())
            | Err(
                Failure::Refused(register_user::Refusal::DuplicateEmail) | Failure::Vetoed(_),
            ) => Ok(VERIFICATION_SENT),
            Err(Failure::Refused(register_user::Refusal::WeakPassword)) => {
                Err(weak(&web, "/password", password, address.ok()).await)
            }
            Err(failure) => Err(Problem::of_failure(failure, |refusal| match refusal {
                register_user::Refusal::InvalidEmail => invalid_email(&address),
                register_user::Refusal::RegistrationClosed => {
                    Problem::new(Code::RegistrationClosed)
                }
                // Answered above.
                register_user::Refusal::DuplicateEmail | register_user::Refusal::WeakPassword => {
                    Problem::new(Code::Internal)
                }
            })),
        }
    })
    .await
}

fn invalid_email(address: &Result<Address, quivive_domain::address::AddressError>) -> Problem {
    match address {
        Ok(_) => Problem::new(Code::InvalidEmail),
        Err(error) => Problem::of_field(
            Code::InvalidEmail,
            FieldError::new("/email", error.code(), error.to_string()),
        ),
    }
}

struct Verification {
    token: SecretString,
}

impl Body for Verification {
    const FIELDS: &'static [Field] = &[TOKEN];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            token: fields.secret("token"),
        })
    }
}

described!(Verification as EmailVerification);

/// An account whose address is confirmed now.
#[derive(Serialize, ToSchema)]
struct Verified {
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
}

/// Confirm an address.
///
/// With the token of the link in the letter; it works once.
#[utoipa::path(post, path = "/api/v1/email-verifications", tag = "accounts", request_body = Verification, responses(
    (status = 200, description = "The address is confirmed, the account may sign in.", body = Verified),
    (status = 400, description = "`invalid_token`, `malformed_json`"),
))]
async fn verify_email(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    Json(body): Json<Verification>,
) -> Result<axum::Json<Verified>, Problem> {
    let command = VerifyEmail {
        token: Presented::parse(body.token.expose_secret()),
    };
    let reply = web
        .kernel
        .execute(command, context.request(Actor::Anonymous))
        .await;
    let reply = reply
        .map_err(|failure| Problem::of_failure(failure, |_| Problem::new(Code::InvalidToken)))?;
    Ok(axum::Json(Verified {
        user_id: reply.user_id,
    }))
}

/// Just an address.
pub(super) struct Whose {
    pub email: String,
}

impl Body for Whose {
    const FIELDS: &'static [Field] = &[EMAIL];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            email: fields.text("email"),
        })
    }
}

described!(Whose as AccountAddress);

/// Ask for another letter of confirmation.
///
/// The answer is the same, and takes the same time, whether or not there is such an account and whatever its state.
#[utoipa::path(post, path = "/api/v1/email-verification-requests", tag = "accounts", request_body = Whose, responses(
    (status = 202, description = "If there is an unconfirmed account, a letter is on its way.", body = Sent),
))]
async fn request_email_verification(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    Json(body): Json<Whose>,
) -> Result<(StatusCode, axum::Json<Sent>), Problem> {
    even(async {
        let command = RequestEmailVerification { email: body.email };
        match web
            .kernel
            .execute(command, context.request(Actor::Anonymous))
            .await
        {
            Ok(()) | Err(Failure::Refused(_) | Failure::Vetoed(_)) => Ok(VERIFICATION_SENT),
            Err(failure) => Err(Problem::of_failure(failure, |_| {
                Problem::new(Code::Internal)
            })),
        }
    })
    .await
}
