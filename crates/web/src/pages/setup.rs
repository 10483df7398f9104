//! `/setup`: the first administrator, by the link of the first minute.
//!
//! The link's token is in the address once. From there it goes into a hidden field, and every answer to the form is either
//! the form at the clean address or a redirect to `/setup/done`. Nothing is kept by the browser, and the page tells no
//! other site where it came from.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use quivive_app::Failure;
use quivive_app::kernel::Actor;
use quivive_app::workflows::operators::bootstrap_administrator::{
    BootstrapAdministrator, Method, Refusal,
};
use quivive_domain::Password;
use serde::Deserialize;

use super::Shared;
use super::form::Posted;
use super::views;
use super::visit::{LinkToken, Visit};
use crate::problem::{Code, Problem};
use crate::request::RequestContext;

const DONE: &str = "/setup/done";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/setup", get(ask).post(create))
        .route(DONE, get(done))
}

async fn ask(visit: Visit, LinkToken(token): LinkToken) -> Result<Response, Problem> {
    if !visit.web.setup.admits(&token) {
        return not_admitted(&visit).await;
    }
    let attempt = Attempt {
        token: &token,
        email: "",
        email_error: None,
        password_error: None,
    };
    Ok(form(&visit, StatusCode::OK, &attempt))
}

#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    token: String,
    email: String,
    password: String,
}

async fn create(
    visit: Visit,
    context: RequestContext,
    Posted(given): Posted<Form>,
) -> Result<Response, Problem> {
    if !visit.web.setup.admits(&given.token) {
        return not_admitted(&visit).await;
    }
    let errors = &visit.t.errors;
    let mut again = Attempt {
        token: &given.token,
        email: &given.email,
        email_error: None,
        password_error: None,
    };
    let Ok(password) = Password::new(given.password) else {
        again.password_error = Some(errors.weak_password);
        return Ok(form(&visit, StatusCode::UNPROCESSABLE_ENTITY, &again));
    };
    let command = BootstrapAdministrator {
        email: given.email.clone(),
        password,
        method: Method::Link,
    };
    let refusal = match visit
        .web
        .kernel
        .execute(command, context.request(Actor::Anonymous))
        .await
    {
        Ok(_) => {
            visit.web.setup.done();
            return Ok(Redirect::to(DONE).into_response());
        }
        Err(Failure::Refused(refusal)) => refusal,
        Err(failure) => {
            return Err(Problem::of_failure(failure, |_| {
                Problem::new(Code::Internal)
            }));
        }
    };
    match refusal {
        Refusal::InvalidEmail => again.email_error = Some(errors.invalid_email),
        Refusal::WeakPassword => again.password_error = Some(errors.weak_password),
        Refusal::AlreadyDone | Refusal::TokenExpired => return not_admitted(&visit).await,
    }
    Ok(form(&visit, StatusCode::UNPROCESSABLE_ENTITY, &again))
}

/// What the form shows.
struct Attempt<'a> {
    token: &'a str,
    email: &'a str,
    email_error: Option<&'a str>,
    password_error: Option<&'a str>,
}

fn form(visit: &Visit, status: StatusCode, attempt: &Attempt<'_>) -> Response {
    let view = views::Setup {
        t: visit.t,
        product: visit.product(),
        token: attempt.token,
        email: attempt.email,
        password_chars_min: visit.password_chars_min(),
        email_error: attempt.email_error,
        password_error: attempt.password_error,
    };
    visit.show(status, &view)
}

/// Says whether the link came too late for its job or merely too late.
async fn not_admitted(visit: &Visit) -> Result<Response, Problem> {
    let administrators = visit.web.kernel.families().accounts.administrators().await;
    let there_is_one = administrators? > 0;
    let problems = &visit.t.problems;
    Ok(if there_is_one {
        visit.refuse(StatusCode::GONE, &problems.setup_closed, None)
    } else {
        visit.refuse(StatusCode::BAD_REQUEST, &problems.setup_link, None)
    })
}

async fn done(visit: Visit) -> Response {
    let view = views::SetupDone {
        t: visit.t,
        product: visit.product(),
    };
    visit.show(StatusCode::OK, &view)
}
