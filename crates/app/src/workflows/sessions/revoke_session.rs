//! End one session: from the list of one's sessions, or because a service handed in a token of it (RFC 7009). Signing out is
//! `log_out`.

use quivive_domain::session::TerminatedBy;

use crate::access::Good;
use crate::facts::TokenRevoked;
use crate::sessions::{Ending, end};
use crate::workflows::prelude::*;

pub struct RevokeSession {
    user: UserId,
    session: SessionId,
    /// What was handed in, and its kind; `None`: the owner asks.
    token: Option<(TokenId, &'static str)>,
}

impl RevokeSession {
    /// One of that person's.
    pub fn of(user: UserId, session: SessionId) -> Self {
        Self {
            user,
            session,
            token: None,
        }
    }

    /// That of a token, with whatever else belongs to it.
    pub fn by(token: &Good) -> Self {
        Self {
            token: Some(token.name()),
            ..Self::of(token.user(), token.session())
        }
    }

    fn reason(&self) -> Reason {
        Reason::new(match self.token {
            None => "user_request",
            Some(_) => "service_request",
        })
    }
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
            reason: self.reason(),
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
        if let Some((token_id, kind)) = self.token {
            commit.fact(&TokenRevoked {
                token_id,
                user_id: self.user,
                token_type: Reason::new(kind),
                revoked_by: None,
                revocation_reason: self.reason(),
            });
        }
        let succeeded = Succeeded {
            session_id: self.session,
            user_id: self.user,
            reason: self.reason(),
        };
        succeed(commit, succeeded, ())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::access::Access;
    use crate::testing::{Scene, account, account_of, given};

    fn revoke(scene: &Scene, session: SessionId) -> RevokeSession {
        RevokeSession::of(scene.user, session)
    }

    #[tokio::test]
    async fn a_token_that_is_handed_in_takes_its_session_with_it() {
        let scene = given(account().verified().with_sessions(2));
        for kind in ["access", "refresh"] {
            let tokens = scene.signed_in().await;
            let token = match kind {
                "access" => &tokens.access_token,
                _ => &tokens.refresh_token,
            };
            let access = Access::new(Arc::clone(scene.kernel.families()));
            let good = access.introspect_any(token.expose_secret()).await;
            let good = good.expect("no fault").expect("good");
            let told = scene.when(RevokeSession::by(&good)).await.succeeded();
            let told = told.raised(&["session.terminated", "token.revoked"]);
            let revoked = told.open("token.revoked");
            assert_eq!(revoked["token_type"], kind);
            assert_eq!(revoked["revocation_reason"], "service_request");
            assert_eq!(revoked["token_id"], good.name().0.to_string());
            let left = access.introspect_any(token.expose_secret()).await;
            assert!(left.expect("no fault").is_none());
            assert_eq!(scene.open_sessions(), 2);
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
