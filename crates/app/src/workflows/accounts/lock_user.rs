//! Lock an account: an administrator keeps its owner out. Its sessions end; signing in with the right password is told so.
//!
//! It also happens by itself, in another way: enough wrong passwords close the password path for a while, in the commit of
//! the failure that was one too many. That is no state of the account.

use quivive_delivery::Time;
use quivive_domain::AccountState;
use quivive_domain::session::InvalidatedBy;

use crate::accounts::{acted_on, into_state};
use crate::sessions::{Ending, end_all};
use crate::step_up::{Denied, Proven};
use crate::workflows::prelude::*;

pub struct LockUser {
    pub user: UserId,
    pub by: Proven,
}

#[derive(Event)]
#[event(
    type = "user.lock.attempted",
    version = 1,
    name = "UserLockAttempted",
    audit = "USER_LOCK_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "user.lock.succeeded",
    version = 1,
    name = "UserLocked",
    audit = "USER_LOCK_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub locked_until: Option<Time>,
    pub reason: Reason,
    pub automatic: bool,
    pub failed_attempts: u32,
}

#[derive(Event)]
#[event(
    type = "user.lock.failed",
    version = 1,
    name = "UserLockFailed",
    audit = "USER_LOCK_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    UserNotFound,
    AlreadyLocked,
    /// It is deactivated, which is more.
    AlreadyInactive,
    LastAdministrator,
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

impl Workflow for LockUser {
    const NAME: &'static str = "user_lock";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        cx.subject_of_user(self.user).await
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted { user_id: self.user }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            user_id: attempted.user_id,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let acted_on = acted_on(
            cx,
            self.by,
            Permission::Administration,
            Refusal::UserNotFound,
        )
        .await?;
        let (account, mut commit) = match acted_on {
            Ok(acted_on) => acted_on,
            Err(refusal) => return refuse(refusal),
        };
        match account.state {
            AccountState::Active => {}
            AccountState::Locked => return refuse(Refusal::AlreadyLocked),
            AccountState::Inactive => return refuse(Refusal::AlreadyInactive),
        }
        if !into_state(&mut commit, cx, &account, AccountState::Locked).await? {
            return refuse(Refusal::LastAdministrator);
        }
        let how = Ending::Invalidated(InvalidatedBy::Lock);
        end_all(&mut commit, cx, &account, None, how).await?;
        let succeeded = Succeeded {
            user_id: account.id,
            locked_until: None,
            reason: Reason::new("administrator"),
            automatic: false,
            failed_attempts: 0,
        };
        succeed(commit, succeeded, ())
    }
}

/// Adds the triple of an automatic lock to the commit that causes it.
pub fn automatically(commit: &mut Commit, user_id: UserId, until: Time, failed_attempts: u32) {
    commit.also(
        &Attempted { user_id },
        &Succeeded {
            user_id,
            locked_until: Some(until),
            reason: Reason::new("too_many_attempts"),
            automatic: true,
            failed_attempts,
        },
    );
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use quivive_domain::Role;
    use quivive_domain::refresh::Presented;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::testing::{
        PASSWORD, Scene, account, account_of, given, given_to_administrators, password,
    };
    use crate::workflows::sessions::log_in::{self, LogIn};
    use crate::workflows::sessions::refresh_tokens::{self, RefreshTokens};

    #[tokio::test]
    async fn the_system_locks_in_the_commit_of_the_failure_that_caused_it() {
        let scene = given(account().verified());
        let wrong = || LogIn {
            email: "ada@example.org".to_owned(),
            password: password("wrong"),
            device_token: None,
        };
        for _ in 0..4 {
            scene
                .when(wrong())
                .await
                .refused(log_in::Refusal::InvalidCredentials)
                .raised(&[]);
        }
        let told = scene
            .when(wrong())
            .await
            .refused(log_in::Refusal::InvalidCredentials);
        let [_, failed, attempted, locked] = told.events.as_slice() else {
            panic!("{:?}", told.kinds());
        };
        for event in [attempted, locked] {
            assert_eq!(event.envelope.actor.kind, "system");
            assert_eq!(event.envelope.causation_id, Some(failed.envelope.id));
            assert_eq!(event.envelope.key, failed.envelope.key);
        }
        assert_eq!(
            told.open("user.lock.succeeded")["reason"],
            "too_many_attempts"
        );
    }

    fn lock(user: UserId, by: &Scene) -> LockUser {
        let by = by.proven();
        LockUser { user, by }
    }

    #[tokio::test]
    async fn an_administrator_keeps_the_owner_out() {
        let scene = given(account_of("root@example.org").verified().role(Role::Admin));
        let root = scene.by_administrator();
        let scene = scene.and(account().verified().with_sessions(2));
        let tokens = scene.signed_in().await;
        let told = root.when(lock(scene.user, &root)).await.succeeded();
        let told = told.raised(&["session.invalidated"; 3]);
        assert_eq!(told.open("session.invalidated")["reason"], "lock");
        let said = told.open("user.lock.succeeded");
        assert_eq!(
            (&said["automatic"], &said["reason"]),
            (&false.into(), &"administrator".into())
        );
        assert_eq!(told.events[1].envelope.actor.id, Some(root.user.0));
        assert_eq!(scene.account().security_version, 2);
        let sign_in = |text| LogIn {
            email: "ada@example.org".to_owned(),
            password: password(text),
            device_token: None,
        };
        let told = scene.when(sign_in(PASSWORD)).await;
        told.refused(log_in::Refusal::AccountLocked);
        let told = scene.when(sign_in("wrong")).await;
        told.refused(log_in::Refusal::InvalidCredentials);
        let refresh = RefreshTokens {
            token: Presented::parse(tokens.refresh_token.expose_secret()),
            device_token: None,
        };
        let told = scene.when(refresh).await;
        told.refused(refresh_tokens::Refusal::SessionEnded);
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let nobody = UserId(uuid::Uuid::nil());
        for (state, refusal) in [
            (AccountState::Locked, Refusal::AlreadyLocked),
            (AccountState::Inactive, Refusal::AlreadyInactive),
        ] {
            let (scene, root) = given_to_administrators(account().verified().state(state));
            let told = root.when(lock(scene.user, &root)).await;
            told.refused(refusal).raised(&[]);
            let told = root.when(lock(nobody, &root)).await;
            told.refused(Refusal::UserNotFound).raised(&[]);
            let told = scene.when(lock(root.user, &scene)).await;
            told.refused(Refusal::Forbidden).raised(&[]);
            let late = lock(scene.user, &root);
            let told = root.after(600).when(late).await;
            told.refused(Refusal::StepUpRequired).raised(&[]);
        }
        let last = given(account().verified().role(Role::Admin)).by_administrator();
        let told = last.when(lock(last.user, &last)).await;
        told.refused(Refusal::LastAdministrator).raised(&[]);
    }

    #[tokio::test]
    async fn who_is_no_administrator_any_more_locks_nobody() {
        let root = given(account_of("root@example.org").verified().role(Role::Admin));
        let barred = account_of("barred@example.org").role(Role::Admin);
        let barred = root.clone().and(barred.state(AccountState::Locked));
        let scene = root.clone().and(account().verified());
        let told = barred.when(lock(scene.user, &barred)).await;
        told.refused(Refusal::Forbidden).raised(&[]);
        // Barred between the decision and the commit.
        let user = root.user;
        scene.world.meanwhile("user.lock.succeeded", 1, move |s| {
            let root = s.accounts.get_mut(&user).unwrap();
            root.state = AccountState::Locked;
            root.security_version += 1;
        });
        let told = root.when(lock(scene.user, &root)).await;
        told.refused(Refusal::Forbidden).raised(&[]);
        assert_eq!(scene.account().state, AccountState::Active);
    }

    /// Each of two administrators locks the other fifty times over: one is left, and nobody is locked twice.
    #[tokio::test]
    async fn of_two_administrators_at_each_other_one_survives() {
        for first in [0, 1] {
            let scene = given(account_of("root@example.org").verified().role(Role::Admin));
            let root = scene.by_administrator();
            let scene = scene.and(account().verified().role(Role::Admin));
            let ada = scene.by_administrator();
            let locks = (0..100).map(|n| {
                if n % 2 == first {
                    root.when(lock(ada.user, &root))
                } else {
                    ada.when(lock(root.user, &ada))
                }
            });
            let told = join_all(locks).await;
            let won = told.iter().filter(|told| told.answer.is_ok()).count();
            assert_eq!(won, 1);
            let active = [root.account(), ada.account()];
            let active = active.iter().filter(|a| a.state == AccountState::Active);
            assert_eq!(active.count(), 1);
        }
    }
}
