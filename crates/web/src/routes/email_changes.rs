//! Another address for one's account: asked for, confirmed by the letter to the new one, taken back by the letter to the old.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use quivive_app::Failure;
use quivive_app::kernel::Actor;
use quivive_app::workflows::accounts::change_email::{self, ChangeEmail};
use quivive_app::workflows::accounts::confirm_email_change::ConfirmEmailChange;
use quivive_app::workflows::accounts::revert_email_change::RevertEmailChange;
use quivive_domain::one_time::Presented;
use quivive_domain::{Address, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::accounts::Sent;
use super::{Authority, Routes};
use crate::auth::SignedIn;
use crate::even::even;
use crate::json::{Body, EMAIL, Field, Fields, Json, TOKEN};
use crate::limits::Family;
use crate::openapi::described;
use crate::pages::email_change::{not_changed, not_reverted};
use crate::problem::{Code, FieldError, Problem};
use crate::request::RequestContext;
use crate::{Web, auth};

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Bearer, Family::Recovery, || {
            routes!(change_email)
        })
        .counted(Authority::Open, Family::Recovery, || {
            routes!(confirm_email_change)
        })
        .counted(Authority::Open, Family::Recovery, || {
            routes!(revert_email_change)
        })
}

struct NewEmail {
    new_email: String,
}

impl Body for NewEmail {
    const FIELDS: &'static [Field] = &[Field {
        name: "new_email",
        ..EMAIL
    }];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            new_email: fields.text("new_email"),
        })
    }
}

described!(NewEmail);

/// Change your address.
///
/// A letter with a link goes to the new address; nothing changes until it is confirmed, within an hour. The answer is the same
/// when the address is taken. A newer change cancels the older.
#[utoipa::path(post, path = "/api/v1/me/email-changes", tag = "accounts", request_body = NewEmail, responses(
    (status = 202, description = "A letter is on its way to the address, unless it is somebody's.", body = Sent),
    (status = 403, description = "`step_up_required`"),
    (status = 422, description = "`invalid_email`, `invalid_fields`"),
))]
async fn change_email(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Json(body): Json<NewEmail>,
) -> Result<(StatusCode, axum::Json<Sent>), Problem> {
    let new_email = Address::parse(&body.new_email).map_err(|_| no_address())?;
    let command = ChangeEmail {
        by: caller.proven(),
        new_email,
    };
    even(async {
        let request = context.request(caller.actor());
        match web.kernel.execute(command, request).await {
            Err(Failure::Refused(change_email::Refusal::StepUpRequired)) => {
                Err(Problem::new(Code::StepUpRequired))
            }
            Ok(()) | Err(Failure::Refused(_)) => {
                let status = "verification_sent";
                Ok((StatusCode::ACCEPTED, axum::Json(Sent { status })))
            }
            Err(failure) => Err(Problem::of_failure(failure, |_| {
                Problem::new(Code::Internal)
            })),
        }
    })
    .await
}

fn no_address() -> Problem {
    let meaning = Code::InvalidEmail.meaning();
    let error = FieldError {
        pointer: "/new_email".to_owned(),
        code: meaning.code,
        message: meaning.about.to_owned(),
    };
    Problem::of_field(Code::InvalidEmail, error)
}

struct LinkToken {
    token: SecretString,
}

impl Body for LinkToken {
    const FIELDS: &'static [Field] = &[TOKEN];

    fn from_fields(mut fields: Fields) -> Result<Self, FieldError> {
        Ok(Self {
            token: fields.secret("token"),
        })
    }
}

described!(LinkToken as EmailChangeToken);

impl LinkToken {
    fn presented(&self) -> Option<Presented> {
        Presented::parse(self.token.expose_secret())
    }
}

/// Whose address it is now.
#[derive(Serialize, ToSchema)]
struct Changed {
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
}

/// Confirm your new address.
///
/// With the token of the letter to it. Every session ends but that of the access token, if one is sent. The old address is sent
/// a link that takes the change back, for a week.
#[utoipa::path(post, path = "/api/v1/me/email-change-confirmations", tag = "accounts", request_body = LinkToken,
    security((), ("bearer" = [])), responses(
    (status = 200, description = "The account goes by the new address.", body = Changed),
    (status = 400, description = "`invalid_token`"),
))]
async fn confirm_email_change(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    headers: HeaderMap,
    Json(body): Json<LinkToken>,
) -> Result<axum::Json<Changed>, Problem> {
    let caller = auth::caller(&web.access, &headers).await?;
    let command = ConfirmEmailChange {
        token: body.presented(),
        session: caller.map(|caller| caller.session),
    };
    let request = context.request(Actor::Anonymous);
    let done = web.kernel.execute(command, request).await;
    let reply = done.map_err(|failure| Problem::of_failure(failure, not_changed))?;
    let user_id = reply.user_id;
    Ok(axum::Json(Changed { user_id }))
}

/// Take a change of your address back.
///
/// With the token of the letter to the old address. Every session ends, and every device is forgotten; choose a new password
/// next.
#[utoipa::path(post, path = "/api/v1/me/email-change-reversals", tag = "accounts", request_body = LinkToken, responses(
    (status = 200, description = "The account goes by the old address again.", body = Changed),
    (status = 400, description = "`invalid_token`"),
))]
async fn revert_email_change(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    Json(body): Json<LinkToken>,
) -> Result<axum::Json<Changed>, Problem> {
    let command = RevertEmailChange {
        token: body.presented(),
    };
    let request = context.request(Actor::Anonymous);
    let done = web.kernel.execute(command, request).await;
    let reply = done.map_err(|failure| Problem::of_failure(failure, not_reverted))?;
    let user_id = reply.user_id;
    Ok(axum::Json(Changed { user_id }))
}

#[cfg(test)]
mod tests {
    use quivive_app::testing::{account, account_of, given};
    use quivive_domain::one_time::Purpose;
    use serde_json::json;

    use crate::testing::{Server, post};

    const CHANGES: &str = "/api/v1/me/email-changes";
    const CONFIRMATIONS: &str = "/api/v1/me/email-change-confirmations";
    const REVERSALS: &str = "/api/v1/me/email-change-reversals";

    #[tokio::test]
    async fn an_address_is_changed_and_taken_back() {
        let server = Server::new(given(account().verified()));
        let other = server.access_token().await;
        let token = server.access_token().await;
        let body = json!({"new_email": "ada@new.example"});
        let asked = server.send(post(CHANGES, &body).token(&token)).await;
        assert_eq!(asked.status, 202, "{asked:?}");
        let body = json!({"token": server.letter(Purpose::ChangeEmail)});
        let confirm = || post(CONFIRMATIONS, &body).token(&token);
        let done = server.send(confirm()).await;
        assert_eq!(done.status, 200, "{done:?}");
        assert_eq!(done.json()["user_id"], server.scene.user.to_string());
        assert_eq!(server.scene.account().email.typed(), "ada@new.example");
        assert_eq!(server.scene.open_sessions(), 1, "the one it came from");
        let invalid = (400, "invalid_token".to_owned());
        assert_eq!(server.send(confirm()).await.problem(), invalid);
        drop(other);

        let body = json!({"token": server.letter(Purpose::RevertEmail)});
        let confirmed = server.send(post(CONFIRMATIONS, &body)).await;
        assert_eq!(confirmed.problem(), invalid, "of another purpose");
        let done = server.send(post(REVERSALS, &body)).await;
        assert_eq!(done.status, 200, "{done:?}");
        assert_eq!(server.scene.account().email.typed(), "ada@example.org");
        assert_eq!(server.scene.open_sessions(), 0);
        assert_eq!(server.send(post(REVERSALS, &body)).await.problem(), invalid);
    }

    #[tokio::test]
    async fn the_answer_does_not_say_whose_an_address_is() {
        let scene = given(account_of("eve@example.org"));
        let server = Server::new(scene.and(account().verified()));
        let token = server.access_token().await;
        let mut answers = Vec::new();
        for email in ["eve@example.org", "ada@example.org", "new@example.org"] {
            let body = json!({"new_email": email});
            let answer = server.send(post(CHANGES, &body).token(&token)).await;
            answers.push((answer.status, answer.body));
        }
        assert_eq!(answers[0].0, 202);
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        let body = json!({"new_email": "nonsense"});
        let answer = server.send(post(CHANGES, &body).token(&token)).await;
        assert_eq!(answer.problem(), (422, "invalid_email".to_owned()));
    }
}
