//! End all sessions of a person, or all but one: by the person from their list, or by an administrator. Devices stay known.

use quivive_domain::session::TerminatedBy;

use crate::accounts::acted_on;
use crate::sessions::{Ending, count, end_all};
use crate::step_up::{By, Denied};
use crate::workflows::prelude::*;

pub struct RevokeAllSessions {
    pub user: UserId,
    pub by: By,
    /// The one that goes on.
    pub except: Option<SessionId>,
}

#[derive(Event)]
#[event(
    type = "session.all_revocation.attempted",
    version = 1,
    name = "AllSessionsRevocationAttempted",
    audit = "ALL_SESSIONS_REVOCATION_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
    pub except_session_id: Option<SessionId>,
}

#[derive(Event)]
#[event(
    type = "session.all_revocation.succeeded",
    version = 1,
    name = "AllSessionsRevocationSucceeded",
    audit = "ALL_SESSIONS_REVOCATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub session_count: u32,
    pub except_session_id: Option<SessionId>,
}

#[derive(Event)]
#[event(
    type = "session.all_revocation.failed",
    version = 1,
    name = "AllSessionsRevocationFailed",
    audit = "ALL_SESSIONS_REVOCATION_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    UserNotFound,
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

/// What became of it.
#[derive(Debug)]
pub struct Reply {
    pub sessions_ended: u32,
}

impl Workflow for RevokeAllSessions {
    const NAME: &'static str = "all_sessions_revocation";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        cx.subject_of_user(self.user).await
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            user_id: self.user,
            except_session_id: self.except,
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            user_id: attempted.user_id,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let whose = match self.by {
            By::Administrator(proven) => {
                acted_on(cx, proven, Permission::SessionsEnd, Refusal::UserNotFound).await?
            }
            By::Owner | By::System => {
                let account = cx.account_of_subject().await?;
                let account = account.ok_or(Refusal::UserNotFound);
                account.map(|account| (account, Commit::default()))
            }
        };
        let (account, mut commit) = match whose {
            Ok(whose) => whose,
            Err(refusal) => return refuse(refusal),
        };
        // In turn with sign-ins, which would make it miss.
        cx.take_turn(&mut commit, account.id.0).await;
        let how = Ending::Terminated(TerminatedBy::Revocation);
        let ended = end_all(&mut commit, cx, &account, self.except, how).await?;
        let sessions_ended = count(&ended);
        let succeeded = Succeeded {
            user_id: self.user,
            session_count: sessions_ended,
            except_session_id: self.except,
        };
        succeed(commit, succeeded, Reply { sessions_ended })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use quivive_domain::Role;

    use super::*;
    use crate::testing::{Scene, account, account_of, given};

    fn revoke(scene: &Scene, except: Option<SessionId>) -> RevokeAllSessions {
        RevokeAllSessions {
            user: scene.user,
            by: By::Owner,
            except,
        }
    }

    #[tokio::test]
    async fn all_end_but_the_one_that_is_kept() {
        let scene = given(account_of("eve@example.org").verified().with_sessions(1));
        let scene = scene.and(account().verified().with_sessions(2)).by_owner();
        let kept = scene.signed_in().await.session_id;
        let told = scene.when(revoke(&scene, Some(kept))).await.succeeded();
        let told = told.raised(&["session.terminated"; 2]);
        assert_eq!(told.open("session.terminated")["reason"], "revocation");
        assert_eq!(told.reply().sessions_ended, 2);
        assert_eq!(scene.open_sessions(), 1);

        let told = scene.when(revoke(&scene, None)).await.succeeded();
        let told = told.raised(&["session.terminated"]);
        assert_eq!(told.reply().sessions_ended, 1);
        assert_eq!(scene.open_sessions(), 0);
        let open = |s: &crate::testing::State| {
            let open = s.sessions.values().filter(|x| x.ended_at.is_none());
            open.count()
        };
        assert_eq!(scene.world.see(open), 1, "somebody else's");
        let told = scene.when(revoke(&scene, None)).await.succeeded();
        assert_eq!(told.raised(&[]).reply().sessions_ended, 0);
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let root = given(account_of("root@example.org").verified().role(Role::Admin));
        let eve = root.clone().and(account_of("eve@example.org").verified());
        let scene = root.clone().and(account().verified().with_sessions(1));
        let by = |scene: &Scene, whose: &Scene| RevokeAllSessions {
            by: By::Administrator(scene.proven()),
            ..revoke(whose, None)
        };
        let told = eve.when(by(&eve, &scene)).await;
        told.refused(Refusal::Forbidden).raised(&[]);
        let late = by(&root, &scene);
        let told = root.after(600).when(late).await;
        told.refused(Refusal::StepUpRequired).raised(&[]);
        assert_eq!(scene.open_sessions(), 1);

        root.when(by(&root, &scene)).await.succeeded();
        let nobody = RevokeAllSessions {
            user: UserId(uuid::Uuid::nil()),
            ..by(&root, &scene)
        };
        root.when(nobody).await.refused(Refusal::UserNotFound);
    }

    #[tokio::test]
    async fn a_sign_in_that_races_it_is_ended_or_comes_after() {
        let scene = given(account().verified().with_sessions(3)).by_owner();
        let sign_ins = join_all((0..5).map(|_| scene.signed_in()));
        let enders = join_all((0..50).map(|_| scene.when(revoke(&scene, None))));
        let (_, told) = tokio::join!(sign_ins, enders);
        let mut ended = 0;
        for told in told {
            ended += told.succeeded().reply().sessions_ended;
        }
        assert_eq!(ended as usize + scene.open_sessions(), 8);
        scene.when(revoke(&scene, None)).await.succeeded();
        assert_eq!(scene.open_sessions(), 0);
    }
}
