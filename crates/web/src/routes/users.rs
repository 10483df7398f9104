//! Accounts, for administrators.

use std::sync::Arc;

use axum::extract::{Path, State};
use quivive_domain::UserId;
use utoipa_axum::routes;
use uuid::Uuid;

use super::sessions::{SessionsEnded, end_all};
use super::{Authority, Routes};
use crate::Web;
use crate::auth::SignedIn;
use crate::limits::Family;
use crate::problem::{Code, Problem};
use crate::request::RequestContext;

pub(super) fn router() -> Routes {
    Routes::new().counted(Authority::Admin, Family::Write, routes!(end_sessions_of))
}

/// End a person's sessions.
///
/// All of them. Nobody is kept from signing in again: lock the account for that.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/sessions", tag = "users", params(
    ("id" = String, Path, description = "The user's id, a UUID."),
), responses(
    (status = 200, description = "They are over.", body = SessionsEnded),
    (status = 404, description = "`not_found`: there is no such user"),
))]
async fn end_sessions_of(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Path(id): Path<String>,
) -> Result<axum::Json<SessionsEnded>, Problem> {
    let request = context.request(caller.actor());
    end_all(&web, request, user(&id)?, None).await
}

/// What is no UUID is nobody's id.
fn user(id: &str) -> Result<UserId, Problem> {
    let id = Uuid::try_parse(id).map_err(|_| no_user())?;
    Ok(UserId(id))
}

pub(super) fn no_user() -> Problem {
    Problem::with_detail(Code::NotFound, "There is no such user.")
}
