//! The caller's own account.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use quivive_app::access::Caller;
use quivive_app::workflows::accounts::erase_account::{Cause, EraseAccount, Refusal};
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
use crate::request::RequestContext;

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Bearer, Family::Read, || routes!(me))
        .counted(Authority::Bearer, Family::Write, || routes!(erase_me))
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

/// Erase your account.
///
/// At once and for good: sessions end, nobody signs in to it, and what is personal can be read nowhere any more, the log
/// included. It can be registered anew.
#[utoipa::path(delete, path = "/api/v1/me", tag = "accounts", responses(
    (status = 204, description = "It is gone."),
    (status = 403, description = "`step_up_required`"),
    (status = 409, description = "`last_administrator`"),
))]
async fn erase_me(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
) -> Result<StatusCode, Problem> {
    let command = EraseAccount {
        user: caller.user,
        cause: Cause::Asked(caller.proven()),
    };
    let request = context.request(caller.actor());
    let erased = web.kernel.execute(command, request).await;
    erased.map_err(|failure| Problem::of_failure(failure, not_erased))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why an account stays.
pub(super) fn not_erased(refusal: Refusal) -> Problem {
    Problem::new(match refusal {
        Refusal::StepUpRequired => Code::StepUpRequired,
        Refusal::LastAdministrator => Code::LastAdministrator,
        Refusal::Forbidden => Code::Forbidden,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::Method;
    use quivive_app::testing::{account, given};
    use quivive_domain::Role;

    use crate::testing::{Server, ask, get};

    const ME: &str = "/api/v1/me";

    #[tokio::test]
    async fn who_has_just_shown_that_it_is_them_is_erased() {
        let server = Server::new(given(account().verified()));
        let stale = server.access_token().await;
        server.scene.world.pass(Duration::from_mins(10));
        let refused = server.send(ask(&Method::DELETE, ME).token(&stale)).await;
        assert_eq!(refused.problem(), (403, "step_up_required".to_owned()));
        let token = server.access_token().await;
        let gone = server.send(ask(&Method::DELETE, ME).token(&token)).await;
        assert_eq!(gone.status, 204, "{gone:?}");
        // What is remembered of a token for a moment, no subscriber forgets at once here.
        server.scene.world.pass(Duration::from_secs(2));
        for token in [stale, token] {
            let me = server.send(get(ME).token(&token)).await;
            assert_eq!(me.problem(), (401, "unauthenticated".to_owned()));
        }
    }

    #[tokio::test]
    async fn the_last_administrator_stays() {
        let server = Server::new(given(account().verified().role(Role::Admin)));
        let token = server.access_token().await;
        let refused = server.send(ask(&Method::DELETE, ME).token(&token)).await;
        assert_eq!(refused.problem(), (409, "last_administrator".to_owned()));
    }
}
