//! Access tokens in: who calls, if the token is good and its session still is. The one place that decides it.
//!
//! A bounded cache spares the database; the `sessions` subscriber evicts what changed, and no entry serves longer than
//! [`FRESH`], so a revocation reaches access tokens within that bound even if every signal were lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use quivive_delivery::Fault;
use quivive_domain::{Account, AccountState, Role, SessionId, UserId};

use crate::kernel::{Actor, Families};
use crate::ports::SessionView;

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
        let Some(view) = self.families.sessions.view(id).await? else {
            return Ok(None);
        };
        let view = Arc::new(view);
        self.cache.insert(id, (since, Arc::clone(&view)));
        Ok(Some(view))
    }
}
