//! Sign out: a session ends with all its tokens. The caller is told 204 whatever became of it. Source: document 000.

use quivive_domain::refresh::{Presented, RefreshToken};
use quivive_domain::session::TerminatedBy;

use crate::access::Caller;
use crate::facts::TokenRevoked;
use crate::kernel::Families;
use crate::sessions::{self, Ending, end};
use crate::workflows::prelude::*;

pub struct LogOut {
    user: UserId,
    session: SessionId,
    /// The refresh token that was handed in with it, if it still serves.
    token: Option<TokenId>,
    /// The refresh token that came with the access token is somebody else's, or nobody's.
    mismatch: Option<Refusal>,
}

#[derive(Event)]
#[event(
    type = "user.logout.attempted",
    version = 1,
    name = "UserLogoutAttempted",
    audit = "USER_LOGOUT_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "user.logout.succeeded",
    version = 1,
    name = "UserLogoutSucceeded",
    audit = "USER_LOGGED_OUT"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub session_id: Option<SessionId>,
}

#[derive(Event)]
#[event(
    type = "user.logout.failed",
    version = 1,
    name = "UserLogoutFailed",
    audit = "USER_LOGOUT_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    TokenNotFound,
    TokenUserMismatch,
    SessionAlreadyEnded,
}

impl LogOut {
    /// Whose session is to end: the caller's, or that of the refresh token. `None` when the request names nobody.
    pub async fn resolve(
        families: &Families,
        caller: Option<&Caller>,
        refresh_token: Option<&str>,
    ) -> Result<Option<Self>, Fault> {
        let presented = refresh_token.and_then(Presented::parse);
        let token = match &presented {
            Some(presented) => sessions::find(families, presented).await?,
            None => None,
        };
        Ok(match (caller, token) {
            (None, None) => None,
            (None, Some(token)) => Some(Self {
                user: token.account.id,
                session: token.session.id,
                token: unused(&token),
                mismatch: None,
            }),
            (Some(caller), token) => Some(Self {
                user: caller.user,
                session: caller.session,
                token: token
                    .as_ref()
                    .filter(|token| token.session.id == caller.session)
                    .and_then(unused),
                mismatch: match token {
                    Some(token) if token.account.id != caller.user => {
                        Some(Refusal::TokenUserMismatch)
                    }
                    Some(_) => None,
                    None => refresh_token.map(|_| Refusal::TokenNotFound),
                },
            }),
        })
    }
}

impl Workflow for LogOut {
    const NAME: &'static str = "user_logout";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::Account(self.user))
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
        if let Some(refusal) = self.mismatch {
            return refuse(refusal);
        }
        let view = cx.sessions.view(self.session, cx.now()).await?;
        if view.is_none_or(|view| view.session.ended_at.is_some()) {
            return refuse(Refusal::SessionAlreadyEnded);
        }
        let mut commit = Commit::default();
        let how = Ending::Terminated(TerminatedBy::Logout);
        end(&mut commit, cx, (self.session, self.user), how);
        if let Some(token_id) = self.token {
            commit.fact(&TokenRevoked {
                token_id,
                user_id: self.user,
                token_type: Reason::new("refresh"),
                revoked_by: Some(self.user),
                revocation_reason: Reason::new("logout"),
            });
        }
        commit.acted_by(self.user);
        let succeeded = Succeeded {
            user_id: self.user,
            session_id: Some(self.session),
        };
        succeed(commit, succeeded, ())
    }
}

fn unused(token: &RefreshToken) -> Option<TokenId> {
    token.used.is_none().then_some(token.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Access;
    use crate::sessions::Tokens;
    use crate::testing::{Scene, account, account_of, given};
    use secrecy::ExposeSecret as _;

    async fn caller(scene: &Scene, tokens: &Tokens) -> Caller {
        let access = Access::new(std::sync::Arc::clone(scene.kernel.families()));
        let caller = access
            .authenticate(tokens.access_token.expose_secret())
            .await;
        caller.expect("no fault").expect("a good token")
    }

    async fn resolve(
        scene: &Scene,
        caller: Option<&Caller>,
        refresh: Option<&Tokens>,
    ) -> Option<LogOut> {
        let refresh = refresh.map(|tokens| tokens.refresh_token.expose_secret());
        LogOut::resolve(scene.kernel.families(), caller, refresh)
            .await
            .expect("no fault")
    }

    #[tokio::test]
    async fn one_session_ends_and_the_others_stay() {
        let scene = given(account().verified().with_sessions(2));
        for by_bearer in [true, false] {
            let tokens = scene.signed_in().await;
            let caller = caller(&scene, &tokens).await;
            let log_out = if by_bearer {
                resolve(&scene, Some(&caller), None).await
            } else {
                resolve(&scene, None, Some(&tokens)).await
            };
            let told = scene.when(log_out.unwrap()).await.succeeded();
            let facts = ["session.terminated", "token.revoked"];
            let told = told.raised(&facts[..if by_bearer { 1 } else { 2 }]);
            assert_eq!(
                told.open("session.terminated")["session_id"],
                tokens.session_id.to_string()
            );
            assert_eq!(told.events[1].envelope.actor.id, Some(scene.user.0));
            assert_eq!(scene.open_sessions(), 2);
        }
    }

    #[tokio::test]
    async fn a_token_of_somebody_else_ends_nothing() {
        let scene = given(account_of("eve@example.org").verified());
        let eve = scene.signed_in().await;
        let scene = scene.and(account().verified());
        let ada = scene.signed_in().await;
        let caller = caller(&scene, &ada).await;
        let log_out = resolve(&scene, Some(&caller), Some(&eve)).await.unwrap();
        scene
            .when(log_out)
            .await
            .refused(Refusal::TokenUserMismatch)
            .raised(&[]);
        let log_out = LogOut::resolve(scene.kernel.families(), Some(&caller), Some("nonsense"))
            .await
            .unwrap();
        scene
            .when(log_out.unwrap())
            .await
            .refused(Refusal::TokenNotFound)
            .raised(&[]);
        assert!(scene.world.see(|s| {
            s.sessions
                .values()
                .all(|session| session.ended_at.is_none())
        }));
    }

    #[tokio::test]
    async fn a_request_that_names_nobody_is_no_workflow() {
        let scene = given(account().verified());
        let tokens = scene.signed_in().await;
        assert!(resolve(&scene, None, None).await.is_none());
        let presented = Presented::parse(tokens.refresh_token.expose_secret()).unwrap();
        let forged = Presented::new(presented.id, [7; 32]).text();
        assert!(
            LogOut::resolve(scene.kernel.families(), None, Some(&forged))
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test]
    async fn of_two_at_once_one_ends_it() {
        let scene = given(account().verified());
        let tokens = scene.signed_in().await;
        let (one, two) = (
            resolve(&scene, None, Some(&tokens)).await,
            resolve(&scene, None, Some(&tokens)).await,
        );
        let (one, two) = tokio::join!(scene.when(one.unwrap()), scene.when(two.unwrap()));
        let (won, lost) = if one.answer.is_ok() {
            (one, two)
        } else {
            (two, one)
        };
        won.succeeded();
        lost.refused(Refusal::SessionAlreadyEnded).raised(&[]);
        assert_eq!(scene.world.missed(), ["session end"]);
    }
}
