//! Access tokens in, and API keys (`service`): who calls, if the token is good and its session still is. The one place that decides it.
//!
//! A token is judged by what it says and by what is remembered against it ([`Revocations`]), without a read. What memory does
//! not cover is looked up, and remembered for a second at most: a revocation reaches access tokens within that bound even
//! if nobody followed the log. When it cannot be looked up either, nobody gets in.

mod forwarders;
mod introspection;
mod revocations;
mod service;
mod verified;

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use quivive_delivery::{Fault, Log, Time};
use quivive_domain::{Account, AccountState, Permission, Role, SessionId, UserId};
use tokio::time::Instant;

use crate::kernel::{Actor, Families};
use crate::ports::{AccessClaims, SessionView};
use crate::step_up::Proven;
use forwarders::Forwarders;
use revocations::{FRESH, Verdict};
use verified::Verified;

pub use introspection::Good;
pub use revocations::Revocations;
pub(crate) use revocations::Said;
pub use service::Service;
pub(crate) use service::mint;

/// Sessions kept in memory: about 1 KiB each.
const CACHED_SESSIONS: usize = 4_096;

/// How often it is looked how far the log was followed: several times within the bound.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Somebody with a good access token.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: UserId,
    pub session: SessionId,
    pub roles: Vec<Role>,
    /// When they last proved a factor, as their token has it.
    pub proved_at: Time,
}

impl Caller {
    pub fn is_admin(&self) -> bool {
        self.may(Permission::Administration)
    }

    pub fn may(&self, permission: Permission) -> bool {
        permission.granted_by(&self.roles).is_some()
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

/// What was read of a session, and when the reading began.
#[derive(Clone)]
struct Seen {
    since: Instant,
    at: Time,
    view: Arc<SessionView>,
}

/// Judges access tokens.
pub struct Access {
    families: Arc<Families>,
    verified: Verified,
    seen: Cache<SessionId, Seen>,
    forwarders: Forwarders,
}

impl Access {
    pub fn new(families: Arc<Families>) -> Self {
        Self {
            verified: Verified::new(families.settings.verified_tokens),
            families,
            seen: Cache::new(CACHED_SESSIONS),
            forwarders: Forwarders::new(),
        }
    }

    /// Who holds this access token. `None`: it is not one of ours, its time is over, or its session, account or version is.
    pub async fn authenticate(&self, bearer: &str) -> Result<Option<Caller>, Fault> {
        let judged = self.judge(bearer).await?;
        Ok(judged.map(|(claims, roles)| Caller {
            user: claims.sub,
            session: claims.sid,
            roles,
            proved_at: Time::from_second(claims.auth_time).unwrap_or(Time::UNIX_EPOCH),
        }))
    }

    /// What a good access token says, and the roles of its holder as they are now.
    async fn judge(&self, bearer: &str) -> Result<Option<(Arc<AccessClaims>, Vec<Role>)>, Fault> {
        let now = self.families.clock.now();
        let tokens = self.families.access_tokens.as_ref();
        let Some(claims) = self.verified.claims(tokens, bearer, now) else {
            return Ok(None);
        };
        let roles = match self.families.revocations.judge(&claims, now) {
            Verdict::Good => claims.roles.clone(),
            Verdict::Bad => return Ok(None),
            Verdict::LookUp { after } => match self.view(claims.sid, after).await? {
                Some(view) if is_good(&claims, &view, now) => view.account.roles.clone(),
                _ => return Ok(None),
            },
        };
        Ok(Some((claims, roles)))
    }

    /// The caller's account, as of at most a second ago and of what was said of it last. `None`: it or the session has gone since.
    pub async fn account(&self, caller: &Caller) -> Result<Option<Account>, Fault> {
        let after = self.families.revocations.changed_at(caller.user);
        let view = self.view(caller.session, after).await?;
        Ok(view.map(|view| view.account.clone()))
    }

    /// Keeps an eye on how far the log was followed: `reached` says up to where everything was noted. Until the server stops.
    /// While the log's head is not known for certain it counts as not followed.
    pub async fn follow(&self, log: &dyn Log, reached: impl Fn() -> u64) {
        let Families {
            sessions,
            clock,
            revocations,
            skew,
            ..
        } = self.families.as_ref();
        loop {
            let now = clock.now();
            match sessions.global_version(now).await {
                // Tokens of a server whose clock is ahead bear a later time than what was said of them before.
                Ok(version) => break revocations.begin(version.current, now + *skew),
                Err(fault) => {
                    tracing::warn!(%fault, "access tokens are looked up until this can be read");
                }
            }
            tokio::time::sleep(FRESH).await;
        }
        let (head, mut failing) = (log.head(), false);
        loop {
            let asked = Instant::now();
            if let Err(fault) = log.confirmed().await {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%fault, "access tokens are looked up until the log can be followed again");
                }
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            failing = false;
            let upto = head.borrow().position;
            while reached() < upto {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            revocations.followed(asked);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A session as of at most a second ago, and read after that time, if one is given.
    async fn view(
        &self,
        id: SessionId,
        after: Option<Time>,
    ) -> Result<Option<Arc<SessionView>>, Fault> {
        if let Some(seen) = self.seen.get(&id)
            && seen.since.elapsed() < FRESH
            && after.is_none_or(|after| seen.at > after)
        {
            return Ok(Some(seen.view));
        }
        let (since, at) = (Instant::now(), self.families.clock.now());
        let Some(view) = self.families.sessions.view(id, at).await? else {
            return Ok(None);
        };
        let view = Arc::new(view);
        let seen = Seen {
            since,
            at,
            view: Arc::clone(&view),
        };
        self.seen.insert(id, seen);
        Ok(Some(view))
    }
}

/// By what the database has of it.
fn is_good(claims: &AccessClaims, view: &SessionView, now: Time) -> bool {
    view.session.is_live(now)
        && view.account.id == claims.sub
        && view.account.state == AccountState::Active
        && claims.uv >= view.account.token_version
        && claims.gv >= view.global.floor
}

#[cfg(test)]
mod tests;
