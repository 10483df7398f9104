//! Reactivate an account that was deactivated. Its owner signs in with the password it had; whatever else was given out stays
//! worth nothing.

use quivive_domain::{AccountState, Rationale};

use crate::accounts::{acted_on, into_state};
use crate::workflows::prelude::*;

pub struct ReactivateUser {
    pub user: UserId,
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
}

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
        let account = match acted_on(cx, Refusal::UserNotFound, Refusal::Forbidden).await? {
            Ok(account) => account,
            Err(refusal) => return refuse(refusal),
        };
        let commit = match account.state {
            AccountState::Inactive => into_state(cx, &account, AccountState::Active).await?,
            AccountState::Active | AccountState::Locked => None,
        };
        let Some(commit) = commit else {
            return refuse(Refusal::NotInactive);
        };
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
    use crate::kernel::Actor;
    use crate::testing::{Scene, account, given};

    fn reactivate(scene: &Scene) -> ReactivateUser {
        ReactivateUser {
            user: scene.user,
            reason: Rationale::parse("came back").unwrap(),
        }
    }

    fn by_an_administrator(state: AccountState) -> Scene {
        let mut scene = given(account().verified().state(state));
        scene.request.actor = Actor::Admin(UserId(uuid::Uuid::nil()));
        scene
    }

    #[tokio::test]
    async fn the_owner_signs_in_again() {
        let scene = by_an_administrator(AccountState::Inactive);
        let told = scene.when(reactivate(&scene)).await.succeeded();
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
        let locked = by_an_administrator(AccountState::Locked);
        for scene in [by_an_administrator(AccountState::Active), locked] {
            let told = scene.when(reactivate(&scene)).await;
            told.refused(Refusal::NotInactive).raised(&[]);
        }
        let scene = by_an_administrator(AccountState::Inactive);
        let told = scene.by_owner().when(reactivate(&scene)).await;
        told.refused(Refusal::Forbidden).raised(&[]);
        let nobody = ReactivateUser {
            user: UserId(uuid::Uuid::nil()),
            reason: Rationale::parse("x").unwrap(),
        };
        scene.when(nobody).await.refused(Refusal::UserNotFound);
        assert_eq!(scene.account().state, AccountState::Inactive);
    }
}
