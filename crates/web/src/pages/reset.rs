//! `/reset`: a link from a letter and a new password in, a changed password out. Opening the link changes nothing.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use quivive_app::Failure;
use quivive_app::kernel::Actor;
use quivive_app::workflows::passwords::confirm_password_reset::{ConfirmPasswordReset, Refusal};
use quivive_domain::Password;
use quivive_domain::one_time::Presented;
use serde::Deserialize;

use super::Shared;
use super::form::Posted;
use super::views;
use super::visit::{LinkToken, Visit};
use crate::problem::{Code, Problem};
use crate::request::RequestContext;

const DONE: &str = "/reset/done";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/reset", get(ask).post(reset))
        .route(DONE, get(done))
}

/// Reads nothing and changes nothing; a link that was cut short is told before somebody thinks of a password.
async fn ask(visit: Visit, LinkToken(token): LinkToken) -> Response {
    match Presented::parse(&token) {
        Some(_) => form(&visit, &token, None),
        None => dead_link(&visit),
    }
}

#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    token: String,
    new_password: String,
}

async fn reset(
    visit: Visit,
    context: RequestContext,
    Posted(given): Posted<Form>,
) -> Result<Response, Problem> {
    let Form {
        token,
        new_password,
    } = given;
    let t = visit.t;
    let Ok(new_password) = Password::new(new_password) else {
        return Ok(form(&visit, &token, Some(t.errors.weak_password)));
    };
    let command = ConfirmPasswordReset {
        token: Presented::parse(&token),
        new_password,
    };
    let refusal = match visit
        .web
        .kernel
        .execute(command, context.request(Actor::Anonymous))
        .await
    {
        Ok(_) => return Ok(Redirect::to(DONE).into_response()),
        Err(Failure::Refused(refusal)) => refusal,
        Err(failure) => {
            return Err(Problem::of_failure(failure, |_| {
                Problem::new(Code::InvalidToken)
            }));
        }
    };
    Ok(match refusal {
        Refusal::WeakPassword => form(&visit, &token, Some(t.errors.weak_password)),
        Refusal::PasswordReused => form(&visit, &token, Some(t.errors.password_reused)),
        // One answer for all: why a token does not work is in the event.
        Refusal::TokenNotFound
        | Refusal::TokenExpired
        | Refusal::TokenAlreadyUsed
        | Refusal::UserNotFound
        | Refusal::AccountInactive => dead_link(&visit),
    })
}

/// The form; with an error it is the answer to a refused one. The password never comes back.
fn form(visit: &Visit, token: &str, error: Option<&str>) -> Response {
    let status = error.map_or(StatusCode::OK, |_| StatusCode::UNPROCESSABLE_ENTITY);
    let view = views::Reset {
        t: visit.t,
        product: visit.product(),
        token,
        password_chars_min: visit.password_chars_min(),
        error,
    };
    visit.show(status, &view)
}

fn dead_link(visit: &Visit) -> Response {
    let forgot = ("/forgot", visit.t.forgot.title);
    visit.refuse(
        StatusCode::BAD_REQUEST,
        &visit.t.problems.link,
        Some(forgot),
    )
}

async fn done(visit: Visit) -> Response {
    let view = views::ResetDone {
        t: visit.t,
        product: visit.product(),
    };
    visit.show(StatusCode::OK, &view)
}
