//! What administrators do to an account: they bar it and let it in again, erase it, end its sessions, have its
//! owner choose a password.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use quivive_app::kernel::{Request, Workflow};
use quivive_app::step_up::By;
use quivive_app::workflows::accounts::deactivate_user::{self, DeactivateUser};
use quivive_app::workflows::accounts::erase_account::{Cause, EraseAccount};
use quivive_app::workflows::accounts::lock_user::{self, LockUser};
use quivive_app::workflows::accounts::reactivate_user::{self, ReactivateUser};
use quivive_app::workflows::accounts::unlock_user::{self, UnlockUser};
use quivive_app::workflows::passwords::change_password::{self, ChangePassword};
use quivive_domain::{Permission, UserId};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::account;
use crate::Web;
use crate::auth::SignedIn;
use crate::json::{Shaped, rationale};
use crate::limits::Family;
use crate::problem::{Code, Problem};
use crate::request::RequestContext;
use crate::routes::id::{Id, absent};
use crate::routes::me::not_erased;
use crate::routes::sessions::{SessionsEnded, end_all};
use crate::routes::{Authority, Routes};

const UNLOCK: Authority = Authority::May(Permission::UsersUnlock);
const END_SESSIONS: Authority = Authority::May(Permission::SessionsEnd);

pub(super) fn router() -> Routes {
    let write = Family::Write;
    Routes::new()
        .counted(Authority::Admin, write, || routes!(lock_user))
        .counted(UNLOCK, write, || routes!(unlock_user))
        .counted(Authority::Admin, write, || routes!(deactivate_user))
        .counted(Authority::Admin, write, || routes!(reactivate_user))
        .counted(Authority::Admin, write, || routes!(erase_user))
        .counted(END_SESSIONS, write, || routes!(end_sessions_of))
        .counted(Authority::Admin, write, || routes!(demand_reset))
}

/// Does one of them, of which there is nothing to say but that it is done.
async fn act<W: Workflow>(
    web: &Web,
    request: Request,
    command: W,
    refused: impl FnOnce(W::Refusal) -> Problem,
) -> Result<StatusCode, Problem> {
    let done = web.kernel.execute(command, request).await;
    done.map_err(|failure| Problem::of_failure(failure, refused))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lock an account.
///
/// Its sessions end and nobody signs in to it until it is unlocked; after the right password that is told.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/lock", tag = "users", params(
    ("id" = String, Path, description = "The user's id, a UUID."),
), responses(
    (status = 204, description = "It is locked."),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`: there is no such user"),
    (status = 409, description = "`wrong_state`: it is locked or deactivated, `last_administrator`"),
))]
async fn lock_user(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Id(user): Id<UserId>,
) -> Result<StatusCode, Problem> {
    use lock_user::Refusal;
    let command = LockUser {
        user,
        by: caller.proven(),
    };
    act(
        &web,
        context.request(caller.actor()),
        command,
        |refusal| match refusal {
            Refusal::UserNotFound => absent::<UserId>(),
            Refusal::AlreadyLocked | Refusal::AlreadyInactive => Problem::new(Code::WrongState),
            Refusal::LastAdministrator => Problem::new(Code::LastAdministrator),
            Refusal::Forbidden => Problem::new(Code::Forbidden),
            Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        },
    )
    .await
}

/// Unlock an account.
///
/// Whether an administrator locked it or wrong passwords did. That of an administrator is for administrators.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/unlock", tag = "users", params(
    ("id" = String, Path, description = "The user's id, a UUID."),
), responses(
    (status = 204, description = "It is unlocked."),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`: there is no such user"),
    (status = 409, description = "`wrong_state`: it is not locked"),
))]
async fn unlock_user(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Id(user): Id<UserId>,
) -> Result<StatusCode, Problem> {
    use unlock_user::Refusal;
    let command = UnlockUser {
        user,
        by: caller.proven(),
    };
    act(
        &web,
        context.request(caller.actor()),
        command,
        |refusal| match refusal {
            Refusal::UserNotFound => absent::<UserId>(),
            Refusal::NotLocked => Problem::new(Code::WrongState),
            Refusal::Forbidden => Problem::new(Code::Forbidden),
            Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        },
    )
    .await
}

/// Why it is done.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Because {
    /// Kept in the log as it is, for good, and seen by whoever reads the log: up to 500 characters, nothing personal.
    #[schema(example = "left the company")]
    reason: String,
}

/// Deactivate an account.
///
/// Its sessions end, its devices are forgotten, links that were sent are worth nothing, and nobody signs in to it. Nothing of
/// it is deleted.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/deactivate", tag = "users", params(
    ("id" = String, Path, description = "The user's id, a UUID."),
), request_body = Because, responses(
    (status = 204, description = "It is deactivated."),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`: there is no such user"),
    (status = 409, description = "`wrong_state`: it is deactivated, `last_administrator`"),
    (status = 422, description = "`invalid_fields`"),
))]
async fn deactivate_user(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Id(user): Id<UserId>,
    Shaped(body): Shaped<Because>,
) -> Result<StatusCode, Problem> {
    use deactivate_user::Refusal;
    let reason = rationale(&body.reason)?;
    let command = DeactivateUser {
        user,
        by: caller.proven(),
        reason,
    };
    act(
        &web,
        context.request(caller.actor()),
        command,
        |refusal| match refusal {
            Refusal::UserNotFound => absent::<UserId>(),
            Refusal::AlreadyInactive => Problem::new(Code::WrongState),
            Refusal::LastAdministrator => Problem::new(Code::LastAdministrator),
            Refusal::Forbidden => Problem::new(Code::Forbidden),
            Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        },
    )
    .await
}

/// Reactivate an account.
///
/// Its owner signs in with the password it had.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/reactivate", tag = "users", params(
    ("id" = String, Path, description = "The user's id, a UUID."),
), request_body = Because, responses(
    (status = 204, description = "It is active again."),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`: there is no such user"),
    (status = 409, description = "`wrong_state`: it is not deactivated"),
    (status = 422, description = "`invalid_fields`"),
))]
async fn reactivate_user(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Id(user): Id<UserId>,
    Shaped(body): Shaped<Because>,
) -> Result<StatusCode, Problem> {
    use reactivate_user::Refusal;
    let reason = rationale(&body.reason)?;
    let command = ReactivateUser {
        user,
        by: caller.proven(),
        reason,
    };
    act(
        &web,
        context.request(caller.actor()),
        command,
        |refusal| match refusal {
            Refusal::UserNotFound => absent::<UserId>(),
            Refusal::NotInactive => Problem::new(Code::WrongState),
            Refusal::Forbidden => Problem::new(Code::Forbidden),
            Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
        },
    )
    .await
}

/// Erase an account.
///
/// At once and for good: its sessions end, nobody signs in to it, and what is personal can be read nowhere any more, the log
/// included. Its address can be registered anew.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}", tag = "users", params(
    ("id" = String, Path, description = "The user's id, a UUID."),
), responses(
    (status = 204, description = "It is gone."),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`: there is no such user"),
    (status = 409, description = "`last_administrator`"),
))]
async fn erase_user(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Id(user): Id<UserId>,
) -> Result<StatusCode, Problem> {
    let user = account(&web, user).await?.id;
    let command = EraseAccount {
        user,
        cause: Cause::Asked(caller.proven()),
    };
    let request = context.request(caller.actor());
    act(&web, request, command, not_erased).await
}

/// Have a person choose a new password.
///
/// The one they have opens nothing any more, and neither does what it opened: sessions end and devices are forgotten. They are
/// sent the letter with the link; nobody else chooses or sees the new one. Somebody who is locked or deactivated is sent none:
/// they ask for it when they are let in again.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/password-reset-requests", tag = "users", params(
    ("id" = String, Path, description = "The user's id, a UUID."),
), responses(
    (status = 202, description = "The letter is on its way."),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`: there is no such user"),
))]
async fn demand_reset(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Id(user): Id<UserId>,
) -> Result<StatusCode, Problem> {
    use change_password::Refusal;
    let command = ChangePassword {
        user,
        change: change_password::Change::Demanded(caller.proven()),
    };
    act(
        &web,
        context.request(caller.actor()),
        command,
        |refusal| match refusal {
            Refusal::UserNotFound => absent::<UserId>(),
            Refusal::Forbidden => Problem::new(Code::Forbidden),
            Refusal::StepUpRequired => Problem::new(Code::StepUpRequired),
            // Of what owners do.
            Refusal::InvalidPassword | Refusal::WeakPassword | Refusal::PasswordReused => {
                Problem::new(Code::Internal)
            }
        },
    )
    .await?;
    Ok(StatusCode::ACCEPTED)
}

/// End a person's sessions.
///
/// All of them. Nobody is kept from signing in again: lock the account for that. Those of an administrator are for
/// administrators.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/sessions", tag = "users", params(
    ("id" = String, Path, description = "The user's id, a UUID."),
), responses(
    (status = 200, description = "They are over.", body = SessionsEnded),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`: there is no such user"),
))]
async fn end_sessions_of(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    SignedIn(caller): SignedIn,
    Id(user): Id<UserId>,
) -> Result<axum::Json<SessionsEnded>, Problem> {
    let request = context.request(caller.actor());
    end_all(
        &web,
        request,
        user,
        By::Administrator(caller.proven()),
        None,
    )
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::Method;
    use quivive_app::testing::{Scene, account_of};
    use quivive_domain::AccountState;
    use serde_json::{Value, json};

    use super::super::tests::{USERS, server};
    use crate::testing::{Answer, Server, ask, post};

    fn path(ada: &Scene, act: &str) -> String {
        format!("{USERS}/{}/{act}", ada.user)
    }

    async fn done(server: &Server, token: &str, path: &str, body: Option<Value>) -> Answer {
        let ask = match &body {
            Some(body) => post(path, body),
            None => ask(&Method::POST, path),
        };
        server.send(ask.token(token)).await
    }

    #[tokio::test]
    async fn an_account_is_barred_and_let_in_again() {
        let (server, token, ada) = server().await;
        let because = || Some(json!({"reason": "left"}));
        for (act, body, state) in [
            ("lock", None, AccountState::Locked),
            ("unlock", None, AccountState::Active),
            ("deactivate", because(), AccountState::Inactive),
            ("reactivate", because(), AccountState::Active),
        ] {
            let path = path(&ada, act);
            let answer = done(&server, &token, &path, body.clone()).await;
            assert_eq!(answer.status, 204, "{act}: {answer:?}");
            assert_eq!(ada.account().state, state);
            let again = done(&server, &token, &path, body.clone()).await;
            assert_eq!(again.problem(), (409, "wrong_state".to_owned()), "{act}");
            for nobody in [uuid::Uuid::nil().to_string(), "7".to_owned()] {
                let path = format!("{USERS}/{nobody}/{act}");
                let answer = done(&server, &token, &path, body.clone()).await;
                assert_eq!(answer.problem(), (404, "not_found".to_owned()), "{act}");
            }
        }
        for reason in ["", "a\nb", &"x".repeat(501)] {
            let body = Some(json!({"reason": reason}));
            let answer = done(&server, &token, &path(&ada, "deactivate"), body).await;
            assert_eq!(answer.problem(), (422, "invalid_fields".to_owned()));
        }
    }

    #[tokio::test]
    async fn the_last_administrator_stays() {
        let (server, token, _) = server().await;
        for (act, body) in [("lock", None), ("deactivate", Some(json!({"reason": "x"})))] {
            let path = path(&server.scene, act);
            let answer = done(&server, &token, &path, body).await;
            assert_eq!(answer.problem(), (409, "last_administrator".to_owned()));
        }
    }

    #[tokio::test]
    async fn an_account_is_erased() {
        let (server, token, ada) = server().await;
        let erase = async |user: String, token: &str| {
            let path = format!("{USERS}/{user}");
            server.send(ask(&Method::DELETE, &path).token(token)).await
        };
        let root = server.scene.user.to_string();
        let answer = erase(root, &token).await;
        assert_eq!(answer.problem(), (409, "last_administrator".to_owned()));
        assert_eq!(erase(ada.user.to_string(), &token).await.status, 204);
        for nobody in [ada.user.to_string(), "7".to_owned()] {
            let answer = erase(nobody, &token).await;
            assert_eq!(answer.problem(), (404, "not_found".to_owned()));
        }
        server.scene.world.pass(Duration::from_mins(10));
        let eve = server.scene.clone().and(account_of("eve@example.org"));
        let answer = erase(eve.user.to_string(), &token).await;
        assert_eq!(answer.problem(), (403, "step_up_required".to_owned()));
    }

    #[tokio::test]
    async fn a_person_is_made_to_choose_a_new_password() {
        let (server, token, ada) = server().await;
        let path = path(&ada, "password-reset-requests");
        assert_eq!(done(&server, &token, &path, None).await.status, 202);
        assert_eq!(ada.account().password, None);
        let kinds = server.scene.world.kinds();
        let asked = |kind: &&String| *kind == "user.password_reset_request.succeeded";
        assert_eq!(kinds.iter().filter(asked).count(), 1);
        let nobody = format!("{USERS}/{}/password-reset-requests", uuid::Uuid::nil());
        let answer = done(&server, &token, &nobody, None).await;
        assert_eq!(answer.problem(), (404, "not_found".to_owned()));
    }
}
