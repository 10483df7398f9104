//! The caller's own account.

use std::sync::Arc;

use axum::extract::State;
use quivive_app::access::Caller;
use quivive_delivery::Time;
use quivive_domain::{Account, Role, UserId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Authority, Routes};
use crate::Web;
use crate::auth::SignedIn;
use crate::limits::Family;
use crate::problem::{Code, Problem};

pub(super) fn router() -> Routes {
    Routes::new().counted(Authority::Bearer, Family::Read, routes!(me))
}

/// An account, as its owner sees it.
#[derive(Serialize, ToSchema)]
struct Me {
    #[schema(value_type = String, format = "uuid")]
    user_id: UserId,
    /// As typed.
    #[schema(format = "email")]
    email: String,
    email_verified: bool,
    #[schema(required)]
    display_name: Option<String>,
    /// The language of letters.
    #[schema(example = "en")]
    locale: String,
    #[schema(value_type = Vec<String>, example = json!(["user"]))]
    roles: Vec<Role>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Time,
}

/// Your account.
#[utoipa::path(get, path = "/api/v1/me", tag = "accounts", responses(
    (status = 200, description = "As of at most a second ago.", body = Me),
))]
async fn me(
    State(web): State<Arc<Web>>,
    SignedIn(caller): SignedIn,
) -> Result<axum::Json<Me>, Problem> {
    let account = account(&web, &caller).await?;
    Ok(axum::Json(Me {
        user_id: account.id,
        email: account.email.typed().to_owned(),
        email_verified: account.verified_at.is_some(),
        display_name: account.display_name,
        locale: account.locale,
        roles: account.roles,
        created_at: account.created_at,
    }))
}

/// The caller's account; one that has gone since signs in nobody.
pub(super) async fn account(web: &Web, caller: &Caller) -> Result<Account, Problem> {
    let account = web.access.account(caller).await;
    let account = account.map_err(|fault| Problem::of_fault(&fault))?;
    account.ok_or_else(|| Problem::new(Code::Unauthenticated))
}
