//! Deactivate an account: nobody signs in to it, and every credential and link of it that was given out is worth nothing.
//! Nothing of it goes; `reactivate_user` brings it back.

use quivive_domain::session::InvalidatedBy;
use quivive_domain::{AccountState, Rationale};

use crate::accounts::{acted_on, into_state};
use crate::sessions::end_everything;
use crate::step_up::{Denied, Proven};
use crate::workflows::prelude::*;

pub struct DeactivateUser {
    pub user: UserId,
    pub by: Proven,
    /// In the administrator's words.
    pub reason: Rationale,
}

#[derive(Event)]
#[event(
    type = "user.deactivation.attempted",
    version = 1,
    name = "UserDeactivationAttempted",
    audit = "USER_DEACTIVATION_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "user.deactivation.succeeded",
    version = 1,
    name = "UserDeactivated",
    audit = "USER_DEACTIVATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub reason: String,
}

#[derive(Event)]
#[event(
    type = "user.deactivation.failed",
    version = 1,
    name = "UserDeactivationFailed",
    audit = "USER_DEACTIVATION_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    UserNotFound,
    AlreadyInactive,
    LastAdministrator,
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

impl Workflow for DeactivateUser {
    const NAME: &'static str = "user_deactivation";
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
        if account.state == AccountState::Inactive {
            return refuse(Refusal::AlreadyInactive);
        }
        if !into_state(&mut commit, cx, &account, AccountState::Inactive).await? {
            return refuse(Refusal::LastAdministrator);
        }
        let why = InvalidatedBy::Deactivation;
        end_everything(&mut commit, cx, &account, None, why).await?;
        let succeeded = Succeeded {
            user_id: account.id,
            reason: self.reason.clone().into(),
        };
        succeed(commit, succeeded, ())
    }
}

#[cfg(test)]
mod tests {
    use quivive_domain::Role;
    use quivive_domain::one_time::Purpose;

    use super::*;
    use crate::testing::{
        NEW_PASSWORD, PASSWORD, Scene, account, given, given_to_administrators, password,
    };
    use crate::workflows::passwords::confirm_password_reset::{self, ConfirmPasswordReset};
    use crate::workflows::sessions::log_in::{self, LogIn};

    fn deactivate(scene: &Scene, root: &Scene) -> DeactivateUser {
        DeactivateUser {
            user: scene.user,
            by: root.proven(),
            reason: Rationale::parse("left the company").unwrap(),
        }
    }

    fn given_ada() -> (Scene, Scene) {
        given_to_administrators(account().verified().with_reset_token())
    }

    #[tokio::test]
    async fn what_was_given_out_is_worth_nothing() {
        let (scene, root) = given_ada();
        scene.signed_in().await;
        let link = scene.token(Purpose::ResetPassword);
        let told = root
            .when(deactivate(&scene, &root))
            .await
            .succeeded()
            .raised(&[
                "session.invalidated",
                "device.revocation.attempted",
                "device.revocation.succeeded",
            ]);
        assert_eq!(told.open("session.invalidated")["reason"], "deactivation");
        let said = told.open("user.deactivation.succeeded");
        assert_eq!(said["reason"], "left the company");
        let now = scene.account();
        assert_eq!(now.state, AccountState::Inactive);
        assert_eq!((now.credential_epoch, now.security_version), (2, 2));
        let log_in = |text| LogIn {
            email: "ada@example.org".to_owned(),
            password: password(text),
            device_token: None,
        };
        let told = scene.when(log_in(PASSWORD)).await;
        told.refused(log_in::Refusal::AccountInactive);
        let told = scene.when(log_in("wrong")).await;
        told.refused(log_in::Refusal::InvalidCredentials);
        let reset = ConfirmPasswordReset {
            token: link,
            new_password: password(NEW_PASSWORD),
        };
        let told = scene.when(reset).await;
        told.refused(confirm_password_reset::Refusal::TokenExpired);
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let (scene, root) = given_ada();
        let told = scene.when(deactivate(&scene, &scene)).await;
        told.refused(Refusal::Forbidden).raised(&[]);
        root.when(deactivate(&scene, &root)).await.succeeded();
        let told = root.when(deactivate(&scene, &root)).await;
        told.refused(Refusal::AlreadyInactive).raised(&[]);
        let nobody = DeactivateUser {
            user: UserId(uuid::Uuid::nil()),
            ..deactivate(&scene, &root)
        };
        root.when(nobody).await.refused(Refusal::UserNotFound);

        let late = deactivate(&scene, &root);
        let told = root.after(600).when(late).await;
        told.refused(Refusal::StepUpRequired).raised(&[]);

        let last = given(account().verified().role(Role::Admin)).by_administrator();
        let told = last.when(deactivate(&last, &last)).await;
        told.refused(Refusal::LastAdministrator).raised(&[]);
        assert_eq!(last.account().state, AccountState::Active);
    }

    #[tokio::test]
    async fn a_sign_in_under_way_gets_no_session() {
        let (scene, _) = given_ada();
        let user = scene.user;
        scene.world.meanwhile("user.login.succeeded", 1, move |s| {
            let account = s.accounts.get_mut(&user).unwrap();
            account.state = AccountState::Inactive;
            account.security_version += 1;
        });
        let log_in = LogIn {
            email: "ada@example.org".to_owned(),
            password: password(PASSWORD),
            device_token: None,
        };
        let told = scene.when(log_in).await;
        told.refused(log_in::Refusal::AccountInactive);
        assert_eq!(scene.open_sessions(), 0);
    }
}
