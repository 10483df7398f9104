//! Unlock an account: an administrator lets its owner in again, whoever locked it. It also happens by itself: a reset opens
//! the password path that wrong passwords had closed.

use quivive_domain::AccountState;
use quivive_domain::guess::Admission;

use crate::accounts::{acted_on, into_state};
use crate::ports::Path;
use crate::step_up::{Denied, Proven};
use crate::workflows::prelude::*;

pub struct UnlockUser {
    pub user: UserId,
    pub by: Proven,
}

#[derive(Event)]
#[event(
    type = "user.unlock.attempted",
    version = 1,
    name = "UserUnlockAttempted",
    audit = "USER_UNLOCK_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "user.unlock.succeeded",
    version = 1,
    name = "UserUnlocked",
    audit = "USER_UNLOCK_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub reason: Reason,
    pub automatic: bool,
}

#[derive(Event)]
#[event(
    type = "user.unlock.failed",
    version = 1,
    name = "UserUnlockFailed",
    audit = "USER_UNLOCK_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    UserNotFound,
    NotLocked,
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

impl Workflow for UnlockUser {
    const NAME: &'static str = "user_unlock";
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
        let acted_on =
            acted_on(cx, self.by, Permission::UsersUnlock, Refusal::UserNotFound).await?;
        let (account, mut commit) = match acted_on {
            Ok(acted_on) => acted_on,
            Err(refusal) => return refuse(refusal),
        };
        match account.state {
            AccountState::Locked => {
                into_state(&mut commit, cx, &account, AccountState::Active).await?;
            }
            AccountState::Active if guesses_are_closed(cx, &account).await? => {
                commit.write(cx.accounts.fence(&account, cx.now()));
            }
            AccountState::Active | AccountState::Inactive => return refuse(Refusal::NotLocked),
        }
        commit.write(cx.guesses.unlock(account.id, cx.now()));
        let succeeded = Succeeded {
            user_id: account.id,
            reason: Reason::new("administrator"),
            automatic: false,
        };
        succeed(commit, succeeded, ())
    }
}

/// Whether wrong passwords have closed the path on which a stranger would try.
async fn guesses_are_closed(cx: &Cx, account: &Account) -> Result<bool, Fault> {
    let counters = cx.guesses.counters(Path::Account(account.id)).await?;
    let policy = &cx.settings.guesses;
    let closed = |counters| policy.admission(&counters, cx.now()) == Admission::Closed;
    Ok(counters.is_some_and(closed))
}

/// Adds the triple of an automatic unlock to the commit that causes it.
pub fn automatically(commit: &mut Commit, user_id: UserId, reason: &'static str) {
    commit.also(
        &Attempted { user_id },
        &Succeeded {
            user_id,
            reason: Reason::new(reason),
            automatic: true,
        },
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quivive_domain::one_time::Purpose;

    use super::*;
    use crate::testing::{NEW_PASSWORD, Scene, account, given, given_to_administrators, password};
    use crate::workflows::passwords::confirm_password_reset::ConfirmPasswordReset;
    use crate::workflows::sessions::log_in::LogIn;

    fn unlock(scene: &Scene, root: &Scene) -> UnlockUser {
        UnlockUser {
            user: scene.user,
            by: root.proven(),
        }
    }

    #[tokio::test]
    async fn an_administrator_undoes_what_administrators_and_wrong_passwords_did() {
        let (scene, root) =
            given_to_administrators(account().verified().state(AccountState::Locked));
        let told = root
            .when(unlock(&scene, &root))
            .await
            .succeeded()
            .raised(&[]);
        let said = told.open("user.unlock.succeeded");
        assert_eq!(
            (&said["automatic"], &said["reason"]),
            (&false.into(), &"administrator".into())
        );
        assert_eq!(scene.account().state, AccountState::Active);
        scene.signed_in().await;

        let (scene, root) = given_to_administrators(account().verified());
        for _ in 0..5 {
            let wrong = LogIn {
                email: "ada@example.org".to_owned(),
                password: password("wrong"),
                device_token: None,
            };
            assert!(scene.when(wrong).await.answer.is_err());
        }
        root.when(unlock(&scene, &root))
            .await
            .succeeded()
            .raised(&[]);
        scene.signed_in().await;
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let (scene, root) = given_to_administrators(account().verified());
        let told = root.when(unlock(&scene, &root)).await;
        told.refused(Refusal::NotLocked).raised(&[]);
        let (scene, root) =
            given_to_administrators(account().verified().state(AccountState::Inactive));
        let told = root.when(unlock(&scene, &root)).await;
        told.refused(Refusal::NotLocked).raised(&[]);
        let nobody = UnlockUser {
            user: UserId(uuid::Uuid::nil()),
            ..unlock(&scene, &root)
        };
        root.when(nobody).await.refused(Refusal::UserNotFound);
        let (scene, root) =
            given_to_administrators(account().verified().state(AccountState::Locked));
        let told = scene.when(unlock(&scene, &scene)).await;
        told.refused(Refusal::Forbidden).raised(&[]);
        let late = unlock(&scene, &root);
        let told = root.after(600).when(late).await;
        told.refused(Refusal::StepUpRequired).raised(&[]);
        assert_eq!(scene.account().state, AccountState::Locked);
    }

    #[tokio::test]
    async fn only_a_path_that_is_locked_now_is_said_to_be_unlocked() {
        for (locked_for, raised) in [
            (
                1,
                ["user.unlock.attempted", "user.unlock.succeeded"].as_slice(),
            ),
            (0, [].as_slice()),
        ] {
            let scene = given(account().verified().with_reset_token());
            let until = scene.world.now() + Duration::from_secs(locked_for);
            scene.world.change(|s| {
                s.guesses
                    .values_mut()
                    .for_each(|g| g.locked_until = Some(until));
            });
            let reset = ConfirmPasswordReset {
                token: scene.token(Purpose::ResetPassword),
                new_password: password(NEW_PASSWORD),
            };
            let told = scene.when(reset).await.succeeded().raised(raised);
            assert!(
                told.events
                    .iter()
                    .skip(2)
                    .all(|event| event.envelope.actor.kind == "system")
            );
        }
    }
}
