//! `/verify`: the link in the letter opens a page with one button. Only the button uses the link: mail scanners open links.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use quivive_app::kernel::Actor;
use quivive_app::workflows::accounts::verify_email::{Refusal, VerifyEmail};
use quivive_domain::one_time::Presented;
use serde::Deserialize;

use super::Shared;
use super::form::Posted;
use super::views;
use super::visit::{LinkToken, Visit};
use crate::problem::{Code, Problem};
use crate::request::RequestContext;

const DONE: &str = "/verify/done";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/verify", get(ask).post(verify))
        .route(DONE, get(done))
}

/// Reads nothing and changes nothing; a link that was cut short is told at once.
async fn ask(visit: Visit, LinkToken(token): LinkToken) -> Result<Response, Problem> {
    if Presented::parse(&token).is_none() {
        return Err(Problem::new(Code::InvalidToken));
    }
    let view = views::Link {
        t: visit.t,
        product: visit.product(),
        page: &visit.t.verify,
        action: "/verify",
        token: &token,
    };
    Ok(visit.show(StatusCode::OK, &view))
}

#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    token: String,
}

async fn verify(
    visit: Visit,
    context: RequestContext,
    Posted(form): Posted<Form>,
) -> Result<Response, Problem> {
    let command = VerifyEmail {
        token: Presented::parse(&form.token),
    };
    let reply = visit
        .web
        .kernel
        .execute(command, context.request(Actor::Anonymous))
        .await;
    reply.map_err(|failure| Problem::of_failure(failure, refused))?;
    Ok(Redirect::to(DONE).into_response())
}

/// One answer for all: why a token does not work is in the event.
fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::TokenNotFound
        | Refusal::TokenExpired
        | Refusal::TokenAlreadyUsed
        | Refusal::UserNotFound => Problem::new(Code::InvalidToken),
    }
}

async fn done(visit: Visit) -> Response {
    let view = views::LinkDone {
        t: visit.t,
        product: visit.product(),
        notice: &visit.t.verified,
    };
    visit.show(StatusCode::OK, &view)
}
