//! Access tokens in, and API keys (`service`): who calls, if the token is good and its session still is. The one place that decides it.
//!
//! A bounded cache spares the database; the `sessions` subscriber evicts what changed, and no entry serves longer than
//! a second, so a revocation reaches access tokens within that bound even if every signal were lost.

mod service;

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use quivive_delivery::{Fault, Time};
use quivive_domain::{Account, AccountState, Role, SessionId, UserId};
use tokio::time::Instant;

use crate::kernel::{Actor, Families};
use crate::ports::SessionView;
use crate::step_up::Proven;

pub use service::Service;
pub(crate) use service::mint;

/// The bound within which a revocation reaches access tokens.
const FRESH: Duration = Duration::from_secs(1);

/// Sessions kept in memory: about 1 KiB each.
const CACHED_SESSIONS: usize = 4_096;

/// Somebody with a good access token.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: UserId,
    pub session: SessionId,
    pub roles: Vec<Role>,
    /// When they last proved a factor, as their token has it.
    pub proved_at: Time,
    view: Arc<SessionView>,
}

impl Caller {
    /// The account as of at most a second ago.
    pub fn account(&self) -> &Account {
        &self.view.account
    }

    pub fn is_admin(&self) -> bool {
        self.roles.contains(&Role::Admin)
    }

    /// As a workflow asks for who needs a fresh proof.
    pub fn proven(&self) -> Proven {
        Proven {
            user: self.user,
            at: self.proved_at,
        }
    }

    /// As events name it.
    pub fn actor(&self) -> Actor {
        if self.is_admin() {
            Actor::Admin(self.user)
        } else {
            Actor::User(self.user)
        }
    }
}

/// Judges access tokens.
pub struct Access {
    families: Arc<Families>,
    cache: Cache<SessionId, (Instant, Arc<SessionView>)>,
}

impl Access {
    pub fn new(families: Arc<Families>) -> Self {
        Self {
            families,
            cache: Cache::new(CACHED_SESSIONS),
        }
    }

    /// Who holds this access token. `None`: it is not one of ours, its time is over, or its session, account or version is.
    pub async fn authenticate(&self, bearer: &str) -> Result<Option<Caller>, Fault> {
        let now = self.families.clock.now();
        let Some(claims) = self.families.access_tokens.verify(bearer, now) else {
            return Ok(None);
        };
        let Some(view) = self.view(claims.sid).await? else {
            return Ok(None);
        };
        let good = view.session.is_live(now)
            && view.account.id == claims.sub
            && view.account.state == AccountState::Active
            && claims.uv >= view.account.token_version
            && claims.gv >= view.global.floor;
        Ok(good.then(|| Caller {
            user: claims.sub,
            session: claims.sid,
            roles: view.account.roles.clone(),
            proved_at: Time::from_second(claims.auth_time).unwrap_or(Time::UNIX_EPOCH),
            view,
        }))
    }

    /// Forgets a session, because something was said of it.
    pub fn forget(&self, session: SessionId) {
        self.cache.remove(&session);
    }

    /// Forgets every session of an account.
    pub fn forget_account(&self, account: UserId) {
        self.cache.retain(|_, (_, view)| view.account.id != account);
    }

    async fn view(&self, id: SessionId) -> Result<Option<Arc<SessionView>>, Fault> {
        if let Some((since, view)) = self.cache.get(&id)
            && since.elapsed() < FRESH
        {
            return Ok(Some(view));
        }
        let since = Instant::now();
        let Some(view) = self
            .families
            .sessions
            .view(id, self.families.clock.now())
            .await?
        else {
            return Ok(None);
        };
        let view = Arc::new(view);
        self.cache.insert(id, (since, Arc::clone(&view)));
        Ok(Some(view))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::sessions::Tokens;
    use crate::testing::{Scene, State, account, account_of, given};

    async fn signed_in() -> (Scene, Access, Tokens) {
        let scene = given(account().verified());
        let tokens = scene.signed_in().await;
        let access = Access::new(Arc::clone(scene.kernel.families()));
        (scene, access, tokens)
    }

    async fn caller(access: &Access, tokens: &Tokens) -> Option<Caller> {
        access
            .authenticate(tokens.access_token.expose_secret())
            .await
            .expect("no fault")
    }

    #[tokio::test]
    async fn a_good_token_says_who_calls() {
        let (scene, access, tokens) = signed_in().await;
        let who = caller(&access, &tokens).await.expect("good");
        assert_eq!(
            (who.user, who.session, who.account().id),
            (scene.user, tokens.session_id, scene.user)
        );
        assert_eq!(
            (who.is_admin(), who.actor()),
            (false, Actor::User(scene.user))
        );

        let scene = given(account().verified().role(Role::Admin));
        let tokens = scene.signed_in().await;
        let access = Access::new(Arc::clone(scene.kernel.families()));
        assert_eq!(
            caller(&access, &tokens).await.expect("good").actor(),
            Actor::Admin(scene.user)
        );
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        type Change = fn(&mut State);
        let changes: [(&str, Change); 7] = [
            ("the session is gone", |s| s.sessions.clear()),
            ("the session was ended", |s| {
                s.sessions
                    .values_mut()
                    .for_each(|session| session.ended_at = Some(session.created_at));
            }),
            ("the session was idle", |s| {
                s.sessions
                    .values_mut()
                    .for_each(|session| session.idle_until = session.created_at);
            }),
            ("the account is inactive", |s| {
                s.accounts
                    .values_mut()
                    .for_each(|account| account.state = AccountState::Inactive);
            }),
            ("the account is locked", |s| {
                s.accounts
                    .values_mut()
                    .for_each(|account| account.state = AccountState::Locked);
            }),
            ("the user's version was raised", |s| {
                s.accounts
                    .values_mut()
                    .for_each(|account| account.token_version = 2);
            }),
            ("the global floor was raised", |s| {
                s.rotations.insert(2, Time::UNIX_EPOCH);
            }),
        ];
        for (why, change) in changes {
            let (scene, access, tokens) = signed_in().await;
            scene.world.change(change);
            assert!(caller(&access, &tokens).await.is_none(), "{why}");
        }
        let (scene, access, tokens) = signed_in().await;
        assert!(access.authenticate("nonsense").await.unwrap().is_none());
        scene.world.pass(Duration::from_mins(15));
        assert!(caller(&access, &tokens).await.is_none(), "its time is over");
    }

    #[tokio::test]
    async fn a_token_serves_its_own_account_alone() {
        let (scene, access, tokens) = signed_in().await;
        let scene = scene.and(account_of("eve@example.org").verified());
        let mut claims: serde_json::Value =
            serde_json::from_str(tokens.access_token.expose_secret()).unwrap();
        claims["sub"] = scene.user.to_string().into();
        assert!(
            access
                .authenticate(&claims.to_string())
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_revocation_is_felt_at_once_when_it_is_said_and_within_a_second_when_not() {
        let end = |scene: &Scene| {
            let now = scene.world.now();
            scene.world.change(|s| {
                s.sessions
                    .values_mut()
                    .for_each(|session| session.ended_at = Some(now));
            });
        };
        let (scene, access, tokens) = signed_in().await;
        assert!(caller(&access, &tokens).await.is_some());
        end(&scene);
        assert!(caller(&access, &tokens).await.is_some(), "it is remembered");
        access.forget(tokens.session_id);
        assert!(caller(&access, &tokens).await.is_none());

        let (scene, access, tokens) = signed_in().await;
        assert!(caller(&access, &tokens).await.is_some());
        end(&scene);
        access.forget_account(UserId(uuid::Uuid::nil()));
        assert!(
            caller(&access, &tokens).await.is_some(),
            "somebody else was meant"
        );
        access.forget_account(scene.user);
        assert!(caller(&access, &tokens).await.is_none());

        let (scene, access, tokens) = signed_in().await;
        assert!(caller(&access, &tokens).await.is_some());
        end(&scene);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(caller(&access, &tokens).await.is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(caller(&access, &tokens).await.is_none());
    }
}
