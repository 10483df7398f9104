//! Reactivate an account that was deactivated. Its owner signs in with the password it had; whatever else was given out stays
//! worth nothing.

use quivive_domain::{AccountState, Rationale};

use crate::accounts::{acted_on, into_state};
use crate::step_up::{Denied, Proven};
use crate::workflows::prelude::*;

pub struct ReactivateUser {
    pub user: UserId,
    pub by: Proven,
    /// In the administrator's words.
    pub reason: Rationale,
}

#[derive(Event)]
#[event(
    type = "user.reactivation.attempted",
    version = 1,
    name = "UserReactivationAttempted",
    audit = "USER_REACTIVATION_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "user.reactivation.succeeded",
    version = 1,
    name = "UserReactivated",
    audit = "USER_REACTIVATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub reason: String,
}

#[derive(Event)]
#[event(
    type = "user.reactivation.failed",
    version = 1,
    name = "UserReactivationFailed",
    audit = "USER_REACTIVATION_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    UserNotFound,
    NotInactive,
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

impl Workflow for ReactivateUser {
    const NAME: &'static str = "user_reactivation";
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
        if account.state != AccountState::Inactive {
            return refuse(Refusal::NotInactive);
        }
        // Who is inactive is no last administrator.
        into_state(&mut commit, cx, &account, AccountState::Active).await?;
        let succeeded = Succeeded {
            user_id: account.id,
            reason: self.reason.clone().into(),
        };
        succeed(commit, succeeded, ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Scene, account, given_to_administrators};

    fn reactivate(scene: &Scene, root: &Scene) -> ReactivateUser {
        ReactivateUser {
            user: scene.user,
            by: root.proven(),
            reason: Rationale::parse("came back").unwrap(),
        }
    }

    fn given_in(state: AccountState) -> (Scene, Scene) {
        given_to_administrators(account().verified().state(state))
    }

    #[tokio::test]
    async fn the_owner_signs_in_again() {
        let (scene, root) = given_in(AccountState::Inactive);
        let told = root.when(reactivate(&scene, &root)).await.succeeded();
        let told = told.raised(&[]);
        assert_eq!(
            told.open("user.reactivation.succeeded")["reason"],
            "came back"
        );
        assert_eq!(scene.account().security_version, 2);
        scene.signed_in().await;
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        for state in [AccountState::Active, AccountState::Locked] {
            let (scene, root) = given_in(state);
            let told = root.when(reactivate(&scene, &root)).await;
            told.refused(Refusal::NotInactive).raised(&[]);
        }
        let (scene, root) = given_in(AccountState::Inactive);
        let told = scene.when(reactivate(&scene, &scene)).await;
        told.refused(Refusal::Forbidden).raised(&[]);
        let nobody = ReactivateUser {
            user: UserId(uuid::Uuid::nil()),
            ..reactivate(&scene, &root)
        };
        root.when(nobody).await.refused(Refusal::UserNotFound);
        let late = reactivate(&scene, &root);
        let told = root.after(600).when(late).await;
        told.refused(Refusal::StepUpRequired).raised(&[]);
        assert_eq!(scene.account().state, AccountState::Inactive);
    }
}
