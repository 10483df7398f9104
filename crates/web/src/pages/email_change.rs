//! `/email-change` and `/email-revert`: an account goes by another address, or by the old one again. Like `/verify`, only the
//! button uses the link.

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use quivive_app::kernel::Actor;
use quivive_app::workflows::accounts::confirm_email_change::{self, ConfirmEmailChange};
use quivive_app::workflows::accounts::revert_email_change::{self, RevertEmailChange};
use quivive_domain::one_time::Presented;
use serde::Deserialize;

use super::Shared;
use super::form::Posted;
use super::texts::{Notice, Page};
use super::views;
use super::visit::{LinkToken, Visit};
use crate::problem::{Code, Problem};
use crate::request::RequestContext;

const CHANGE: &str = "/email-change";
const CHANGED: &str = "/email-change/done";
const REVERT: &str = "/email-revert";
const REVERTED: &str = "/email-revert/done";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route(CHANGE, get(ask_change).post(change))
        .route(CHANGED, get(changed))
        .route(REVERT, get(ask_revert).post(revert))
        .route(REVERTED, get(reverted))
}

async fn ask_change(visit: Visit, token: LinkToken) -> Result<Response, Problem> {
    ask(&visit, &visit.t.email_change, CHANGE, &token)
}

async fn ask_revert(visit: Visit, token: LinkToken) -> Result<Response, Problem> {
    ask(&visit, &visit.t.email_revert, REVERT, &token)
}

/// Reads nothing and changes nothing; a link that was cut short is told at once.
fn ask(
    visit: &Visit,
    page: &'static Page,
    action: &'static str,
    LinkToken(token): &LinkToken,
) -> Result<Response, Problem> {
    if Presented::parse(token).is_none() {
        return Err(Problem::new(Code::InvalidToken));
    }
    let view = views::Link {
        t: visit.t,
        product: visit.product(),
        page,
        action,
        token,
    };
    Ok(visit.show(StatusCode::OK, &view))
}

#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    token: String,
}

async fn change(
    visit: Visit,
    context: RequestContext,
    Posted(form): Posted<Form>,
) -> Result<Response, Problem> {
    let command = ConfirmEmailChange {
        token: Presented::parse(&form.token),
        session: None,
    };
    let request = context.request(Actor::Anonymous);
    let done = visit.web.kernel.execute(command, request).await;
    done.map_err(|failure| Problem::of_failure(failure, not_changed))?;
    Ok(Redirect::to(CHANGED).into_response())
}

async fn revert(
    visit: Visit,
    context: RequestContext,
    Posted(form): Posted<Form>,
) -> Result<Response, Problem> {
    let command = RevertEmailChange {
        token: Presented::parse(&form.token),
    };
    let request = context.request(Actor::Anonymous);
    let done = visit.web.kernel.execute(command, request).await;
    done.map_err(|failure| Problem::of_failure(failure, not_reverted))?;
    Ok(Redirect::to(REVERTED).into_response())
}

/// One answer for all: why a token does not work is in the event.
pub(crate) fn not_changed(refusal: confirm_email_change::Refusal) -> Problem {
    use confirm_email_change::Refusal;
    match refusal {
        Refusal::TokenNotFound
        | Refusal::TokenExpired
        | Refusal::TokenAlreadyUsed
        | Refusal::UserNotFound
        | Refusal::AccountInactive
        | Refusal::DuplicateEmail => Problem::new(Code::InvalidToken),
    }
}

/// Likewise.
pub(crate) fn not_reverted(refusal: revert_email_change::Refusal) -> Problem {
    use revert_email_change::Refusal;
    match refusal {
        Refusal::TokenNotFound
        | Refusal::TokenExpired
        | Refusal::TokenAlreadyUsed
        | Refusal::UserNotFound
        | Refusal::DuplicateEmail => Problem::new(Code::InvalidToken),
    }
}

async fn changed(visit: Visit) -> Response {
    done(&visit, &visit.t.email_changed)
}

async fn reverted(visit: Visit) -> Response {
    done(&visit, &visit.t.email_reverted)
}

fn done(visit: &Visit, notice: &'static Notice) -> Response {
    let view = views::LinkDone {
        t: visit.t,
        product: visit.product(),
        notice,
    };
    visit.show(StatusCode::OK, &view)
}
