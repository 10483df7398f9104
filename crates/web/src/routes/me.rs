//! The caller's own account.

use quivive_delivery::Time;
use quivive_domain::{Role, UserId};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Authority, Routes};
use crate::auth::SignedIn;
use crate::limits::Family;

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
async fn me(SignedIn(caller): SignedIn) -> axum::Json<Me> {
    let account = caller.account();
    axum::Json(Me {
        user_id: account.id,
        email: account.email.typed().to_owned(),
        email_verified: account.verified_at.is_some(),
        display_name: account.display_name.clone(),
        locale: account.locale.clone(),
        roles: account.roles.clone(),
        created_at: account.created_at,
    })
}
