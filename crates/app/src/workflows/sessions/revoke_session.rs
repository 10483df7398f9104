//! End one session from the list of one's sessions. Signing out is `log_out`.

use quivive_domain::session::TerminatedBy;

use crate::sessions::{Ending, end};
use crate::workflows::prelude::*;

pub struct RevokeSession {
    /// Whose list it is.
    pub user: UserId,
    pub session: SessionId,
}

#[derive(Event)]
#[event(
    type = "session.revocation.attempted",
    version = 1,
    name = "SessionRevocationAttempted",
    audit = "SESSION_REVOCATION_ATTEMPTED"
)]
pub struct Attempted {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Event)]
#[event(
    type = "session.revocation.succeeded",
    version = 1,
    name = "SessionRevocationSucceeded",
    audit = "SESSION_REVOCATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Event)]
#[event(
    type = "session.revocation.failed",
    version = 1,
    name = "SessionRevocationFailed",
    audit = "SESSION_REVOCATION_FAILED"
)]
pub struct Failed {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    SessionNotFound,
    NotSessionOwner,
    SessionAlreadyEnded,
}

impl Workflow for RevokeSession {
    const NAME: &'static str = "session_revocation";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::Account(self.user))
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            session_id: self.session,
            user_id: self.user,
            reason: asked_for(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            session_id: attempted.session_id,
            user_id: attempted.user_id,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let Some(view) = cx.sessions.view(self.session, cx.now()).await? else {
            return refuse(Refusal::SessionNotFound);
        };
        if view.session.account != self.user {
            return refuse(Refusal::NotSessionOwner);
        }
        if view.session.ended_at.is_some() {
            return refuse(Refusal::SessionAlreadyEnded);
        }
        let mut commit = Commit::default();
        let how = Ending::Terminated(TerminatedBy::Revocation);
        end(&mut commit, cx, (self.session, self.user), how);
        let succeeded = Succeeded {
            session_id: self.session,
            user_id: self.user,
            reason: asked_for(),
        };
        succeed(commit, succeeded, ())
    }
}

/// What ends a session for another reason is another workflow.
fn asked_for() -> Reason {
    Reason::new("user_request")
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::testing::{Scene, account, account_of, given};

    fn revoke(scene: &Scene, session: SessionId) -> RevokeSession {
        RevokeSession {
            user: scene.user,
            session,
        }
    }

    #[tokio::test]
    async fn the_one_that_is_named_ends_and_the_others_stay() {
        let scene = given(account().verified().with_sessions(2)).by_owner();
        let session = scene.signed_in().await.session_id;
        let told = scene.when(revoke(&scene, session)).await.succeeded();
        let told = told.raised(&["session.terminated"]);
        let ended = told.open("session.terminated");
        assert_eq!(ended["session_id"], session.to_string());
        assert_eq!(ended["reason"], "revocation");
        assert_eq!(scene.open_sessions(), 2);
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let scene = given(account_of("eve@example.org").verified());
        let of_eve = scene.signed_in().await.session_id;
        let scene = scene.and(account().verified()).by_owner();
        let own = scene.signed_in().await.session_id;
        let unknown = SessionId(uuid::Uuid::nil());
        scene.when(revoke(&scene, own)).await.succeeded();
        for (session, refusal) in [
            (unknown, Refusal::SessionNotFound),
            (of_eve, Refusal::NotSessionOwner),
            (own, Refusal::SessionAlreadyEnded),
        ] {
            let told = scene.when(revoke(&scene, session)).await;
            told.refused(refusal).raised(&[]);
        }
        let open = |s: &crate::testing::State| s.sessions[&of_eve].ended_at.is_none();
        assert!(scene.world.see(open));
    }

    #[tokio::test]
    async fn of_fifty_at_once_one_ends_it() {
        let scene = given(account().verified()).by_owner();
        let session = scene.signed_in().await.session_id;
        let told = join_all((0..50).map(|_| scene.when(revoke(&scene, session)))).await;
        let (won, lost): (Vec<_>, Vec<_>) = told.into_iter().partition(|t| t.answer.is_ok());
        assert_eq!((won.len(), lost.len()), (1, 49));
        for told in lost {
            told.refused(Refusal::SessionAlreadyEnded).raised(&[]);
        }
        assert_eq!(scene.world.missed(), ["session end"; 49]);
    }
}
