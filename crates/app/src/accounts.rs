//! What administrators do to an account's state. Each act is a workflow of its own; what they share is here.

pub mod erasure;
pub(crate) mod unverified;

use quivive_delivery::Fault;
use quivive_domain::{Account, AccountState, Permission};

use crate::kernel::{Commit, Cx};
use crate::step_up::{Denied, Proven};

/// The account that somebody acts on who may, with a commit that misses when they may not any more; or why not: it is not
/// there, or nobody with the right to it asks. Nothing is done to an administrator but by another one.
pub async fn acted_on<R: From<Denied>>(
    cx: &Cx,
    by: Proven,
    permission: Permission,
    absent: R,
) -> Result<Result<(Account, Commit), R>, Fault> {
    let actor = match by.permitted(cx, permission).await? {
        Ok(actor) => actor,
        Err(denied) => return Ok(Err(denied.into())),
    };
    Ok(match cx.account_of_subject().await? {
        None => Err(absent),
        Some(account) if account.is_admin() && !actor.is_admin() => Err(Denied::Forbidden.into()),
        Some(account) => Ok((account, cx.fenced(&actor))),
    })
}

/// Gives an account another state. Says whether that is so: not where it is the last active administrator's, who stays one.
/// Misses when anything has raised the account's security version since it was read, or when the other administrator went.
pub async fn into_state(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    state: AccountState,
) -> Result<bool, Fault> {
    commit.write(cx.accounts.set_state(account, state, cx.now()));
    spare_the_last(commit, cx, account).await
}

/// Adds the guard that another active administrator is left, where the account is one. Says whether there is one.
pub async fn spare_the_last(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
) -> Result<bool, Fault> {
    if !account.is_admin() || account.state != AccountState::Active {
        return Ok(true);
    }
    commit.write(cx.accounts.another_administrator(account.id, cx.now()));
    Ok(cx.accounts.administrators().await? > 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step_up::By;
    use crate::testing::{Scene, account, account_of, given};
    use crate::workflows::accounts::lock_user::{self, LockUser};
    use crate::workflows::accounts::unlock_user::{self, UnlockUser};
    use crate::workflows::sessions::revoke_all_sessions::{self, RevokeAllSessions};
    use quivive_domain::{Role, UserId};

    /// Somebody of support, Ada, who is locked, and an administrator who is, too.
    fn support() -> (Scene, Scene, Scene) {
        let help = given(
            account_of("help@example.org")
                .verified()
                .role(Role::Support),
        );
        let ada = help.clone().and(account().verified());
        let root = account_of("root@example.org").verified();
        let root = help.clone().and(root.role(Role::Admin));
        help.world.change(|s| {
            for user in [ada.user, root.user] {
                s.accounts.get_mut(&user).expect("there").state = AccountState::Locked;
            }
        });
        (help.by_owner(), ada, root)
    }

    #[tokio::test]
    async fn support_lets_people_in_and_ends_their_sessions_and_no_more() {
        let (help, ada, _) = support();
        let (user, by) = (ada.user, help.proven());
        help.when(UnlockUser { user, by }).await.succeeded();
        ada.signed_in().await;
        let end = RevokeAllSessions {
            user,
            by: By::Administrator(by),
            except: None,
        };
        help.when(end).await.succeeded();
        assert_eq!(ada.open_sessions(), 0);
        let told = help.when(LockUser { user, by }).await;
        told.refused(lock_user::Refusal::Forbidden).raised(&[]);
        assert_eq!(ada.account().state, AccountState::Active);
    }

    #[tokio::test]
    async fn to_an_administrator_support_does_nothing() {
        let (help, _, root) = support();
        let (user, by) = (root.user, help.proven());
        let told = help.when(UnlockUser { user, by }).await;
        told.refused(unlock_user::Refusal::Forbidden).raised(&[]);
        let end = |user: UserId| RevokeAllSessions {
            user,
            by: By::Administrator(by),
            except: None,
        };
        let told = help.when(end(user)).await;
        let refusal = revoke_all_sessions::Refusal::Forbidden;
        told.refused(refusal).raised(&[]);
    }

    #[tokio::test]
    async fn whose_role_is_taken_away_is_not_let_through_by_an_older_token() {
        let (help, ada, _) = support();
        help.world.change(|s| {
            s.accounts.get_mut(&help.user).expect("there").roles = vec![Role::User];
        });
        let (user, by) = (ada.user, help.proven());
        let told = help.when(UnlockUser { user, by }).await;
        told.refused(unlock_user::Refusal::Forbidden).raised(&[]);
    }
}
