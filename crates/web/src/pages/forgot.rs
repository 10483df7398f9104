//! `/forgot`: ask for a reset link. Whatever the address, the answer is the same and takes the same time.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use quivive_app::Failure;
use quivive_app::kernel::Actor;
use quivive_app::workflows::passwords::request_password_reset::{Refusal, RequestPasswordReset};
use quivive_domain::Address;
use serde::Deserialize;

use super::Shared;
use super::form::Posted;
use super::views;
use super::visit::Visit;
use crate::even::even;
use crate::problem::{Code, Problem};
use crate::request::RequestContext;

const SENT: &str = "/email-sent";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/forgot", get(ask).post(request))
        .route(SENT, get(sent))
        .route("/.well-known/change-password", get(change_password))
}

async fn ask(visit: Visit) -> Response {
    form(&visit, "", None)
}

#[derive(Deserialize)]
struct Form {
    email: String,
}

/// A text that is no address is told: that says nothing of any account. Everything else gets one answer.
async fn request(
    visit: Visit,
    context: RequestContext,
    Posted(given): Posted<Form>,
) -> Result<Response, Problem> {
    if Address::parse(&given.email).is_err() {
        return Ok(form(
            &visit,
            &given.email,
            Some(visit.t.errors.invalid_email),
        ));
    }
    let command = RequestPasswordReset { email: given.email };
    even(async {
        let request = context.request(Actor::Anonymous);
        match visit.web.kernel.execute(command, request).await {
            Ok(_)
            | Err(
                Failure::Refused(
                    Refusal::UserNotFound | Refusal::AccountInactive | Refusal::RateLimited,
                )
                | Failure::Vetoed(_),
            ) => Ok(Redirect::to(SENT).into_response()),
            Err(failure) => Err(Problem::of_failure(failure, |_| {
                Problem::new(Code::Internal)
            })),
        }
    })
    .await
}

fn form(visit: &Visit, email: &str, error: Option<&str>) -> Response {
    let status = error.map_or(StatusCode::OK, |_| StatusCode::UNPROCESSABLE_ENTITY);
    let view = views::Forgot {
        t: visit.t,
        product: visit.product(),
        email,
        error,
    };
    visit.show(status, &view)
}

async fn sent(visit: Visit) -> Response {
    let view = views::EmailSent {
        t: visit.t,
        product: visit.product(),
    };
    visit.show(StatusCode::OK, &view)
}

/// Password managers look here for the page that changes a password (W3C, "A Well-Known URL for Changing Passwords").
async fn change_password() -> Redirect {
    Redirect::to("/forgot")
}
