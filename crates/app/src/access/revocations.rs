//! What has been said of late against access tokens: sessions that ended, accounts that changed, rotations of all tokens.
//!
//! **Cast.** The kernel tells it of each commit before anybody is answered; the `sessions` subscriber, which follows the log,
//! of what others committed. A token is judged from memory if this knows everything that was said since it was issued;
//! else it is looked up.
//!
//! **Guarantees.** A revocation is remembered, or else every token that it could mean is looked up: those that were issued
//! before `complete_since`. Memory is bounded: the oldest goes first, and `complete_since` moves on. When the log was not
//! followed to its head within the last second, everything is looked up. What is noted twice, by both, does no harm.
//!
//! **Not guaranteed.** That a token which is looked up is refused: an account changes for many reasons.

use std::collections::{HashMap, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use quivive_delivery::{Envelope, Event as _, Phase, Time};
use quivive_domain::{SessionId, UserId};
use serde::Deserialize;
use tokio::time::Instant;

use crate::facts::{SessionEvicted, SessionExpired, SessionInvalidated, SessionTerminated};
use crate::kernel::Subject;
use crate::ports::AccessClaims;
use crate::workflows::operators::bootstrap_administrator;
use crate::workflows::rotations::rotate_all_tokens;

/// The bound within which a revocation reaches access tokens.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// Remembered at once: some 10 MB. They go when the tokens they mean have ended.
const MAX_REMEMBERED: usize = 100_000;

/// Outcomes and facts of accounts that take nothing from a token that was issued before. Whatever else is said of an account,
/// also by workflows to come, has its tokens looked up.
const HARMLESS: &[&str] = &[
    "user.registration.succeeded",
    "user.email_verification.succeeded",
    "user.email_verification_request.succeeded",
    "user.password_reset_request.succeeded",
    "user.login.succeeded",
    "user.logout.succeeded",
    "user.step_up.succeeded",
    "token.issued",
    "token.refresh.succeeded",
    "token.rejected_due_to_rotation",
    // Their session ends, and says so.
    "token.reuse_detected",
    "token.family_revoked",
];

/// One thing that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    /// The session is over.
    Ended(SessionId),
    /// Something about the account is different.
    Changed(UserId),
    /// From that time on no lower version is accepted.
    Rotated { version: u32, cut_off_at: Time },
    /// Whom it means cannot be told: it could be everybody.
    Anything,
}

/// What is known of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing was said against it.
    Good,
    Bad,
    /// The database knows; what was read of it at that time or before does not tell, if there is one.
    LookUp {
        after: Option<Time>,
    },
}

#[derive(Deserialize)]
struct Ended {
    session_id: SessionId,
}

#[derive(Deserialize)]
struct Rotated {
    new_version: u32,
    grace_period_seconds: u64,
}

#[derive(Deserialize)]
struct Made {
    user_id: UserId,
}

impl Said {
    /// Whether an event of this type says anything.
    pub(crate) fn concerns(kind: &str) -> bool {
        ends_a_session(kind)
            || kind == rotate_all_tokens::Succeeded::META.kind
            || kind == bootstrap_administrator::Succeeded::META.kind
            || changes_an_account(kind)
    }

    /// What an event says, by the open fields of its body.
    pub(crate) fn by(envelope: &Envelope, body: &[u8]) -> Option<Self> {
        let kind = envelope.kind.as_str();
        Self::concerns(kind).then(|| Self::read(envelope, body).unwrap_or(Self::Anything))
    }

    fn read(envelope: &Envelope, body: &[u8]) -> serde_json::Result<Self> {
        let kind = envelope.kind.as_str();
        if ends_a_session(kind) {
            let Ended { session_id } = serde_json::from_slice(body)?;
            return Ok(Self::Ended(session_id));
        }
        if kind == rotate_all_tokens::Succeeded::META.kind {
            let rotated: Rotated = serde_json::from_slice(body)?;
            let grace = Duration::from_secs(rotated.grace_period_seconds);
            return Ok(Self::Rotated {
                version: rotated.new_version,
                cut_off_at: envelope.time + grace,
            });
        }
        if kind == bootstrap_administrator::Succeeded::META.kind {
            // All bootstraps share a key, so its key names nobody.
            let Made { user_id } = serde_json::from_slice(body)?;
            return Ok(Self::Changed(user_id));
        }
        let account = Subject::of_key(&envelope.key).account();
        Ok(account.map_or(Self::Anything, Self::Changed))
    }
}

fn ends_a_session(kind: &str) -> bool {
    let facts = [
        SessionTerminated::META.kind,
        SessionInvalidated::META.kind,
        SessionEvicted::META.kind,
        SessionExpired::META.kind,
    ];
    facts.contains(&kind)
}

fn changes_an_account(kind: &str) -> bool {
    let family = kind.split('.').next().unwrap_or_default();
    ["user", "token", "role", "permission"].contains(&family)
        && matches!(Phase::of(kind), Phase::Succeeded | Phase::Fact)
        && !HARMLESS.contains(&kind)
}

/// Whom an entry is about: by which it is found, and let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whom {
    Session(SessionId),
    Account(UserId),
}

struct Remembered {
    /// When it was said of whom, at the latest.
    said: HashMap<Whom, Time>,
    /// The same by time.
    order: VecDeque<(Time, Whom)>,
    /// Everything said of tokens that were issued in a later second than this one is here. They tell the second alone.
    complete_since: Time,
    /// Versions with the time from which no lower one is accepted; both rise.
    rotations: Vec<(u32, Time)>,
    /// The version of the start: the deadlines of lower ones are not here.
    known_from: u32,
    /// Everything that was in the log then is here. `None`: nobody follows it.
    followed_at: Option<Instant>,
}

/// What is remembered of it; nothing yet.
pub struct Revocations {
    remembered: RwLock<Remembered>,
    max: usize,
}

impl Default for Revocations {
    fn default() -> Self {
        Self::bounded(MAX_REMEMBERED)
    }
}

impl Revocations {
    fn bounded(max: usize) -> Self {
        Self {
            remembered: RwLock::new(Remembered {
                said: HashMap::new(),
                order: VecDeque::new(),
                complete_since: Time::MAX,
                rotations: Vec::new(),
                known_from: u32::MAX,
                followed_at: None,
            }),
            max,
        }
    }

    /// Remembers what was said in a commit of before `now`: no token that it means is issued any more. Nothing is remembered
    /// for longer than such tokens live.
    pub(crate) fn note(&self, said: Said, now: Time, lifetime: Duration) {
        if crate::mutants::on("deaf_to_ends") && matches!(said, Said::Ended(_)) {
            return;
        }
        let mut remembered = self.write();
        match said {
            Said::Ended(session) => remembered.insert(Whom::Session(session), now),
            Said::Changed(account) => remembered.insert(Whom::Account(account), now),
            Said::Rotated {
                version,
                cut_off_at,
            } => remembered.rotate(version, cut_off_at, now),
            Said::Anything => remembered.complete_since = remembered.complete_since.max(now),
        }
        while remembered.order.len() > self.max
            || remembered
                .order
                .front()
                .is_some_and(|(at, _)| *at + lifetime <= now)
        {
            remembered.forget_oldest();
        }
    }

    /// Whatever is said from now on will be noted, and rotations of versions above this one.
    pub(super) fn begin(&self, version: u32, now: Time) {
        let mut remembered = self.write();
        remembered.known_from = version;
        remembered.complete_since = now;
    }

    /// Everything that was in the log at this moment has been noted.
    pub(super) fn followed(&self, at: Instant) {
        self.write().followed_at = Some(at);
    }

    /// When an account changed last, as far as it is remembered.
    pub(super) fn changed_at(&self, account: UserId) -> Option<Time> {
        self.read().said.get(&Whom::Account(account)).copied()
    }

    pub(super) fn judge(&self, claims: &AccessClaims, now: Time) -> Verdict {
        let remembered = self.read();
        let since = |time: &Time| claims.iat > time.as_second();
        let said = |whom| remembered.said.get(&whom);
        if said(Whom::Session(claims.sid)).is_some() || claims.gv < remembered.floor(now) {
            return Verdict::Bad;
        }
        let followed = remembered.followed_at;
        let changed_at = said(Whom::Account(claims.sub));
        let known = followed.is_some_and(|at| at.elapsed() < FRESH)
            && since(&remembered.complete_since)
            && claims.gv >= remembered.known_from
            && changed_at.is_none_or(since);
        if known {
            Verdict::Good
        } else {
            Verdict::LookUp {
                after: changed_at.copied(),
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Remembered> {
        self.remembered
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Remembered> {
        self.remembered
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remembered {
    /// What ended once is over; what has changed may change again.
    fn insert(&mut self, whom: Whom, now: Time) {
        let known = self.said.get(&whom);
        if known.is_none_or(|at| matches!(whom, Whom::Account(_)) && *at < now) {
            self.said.insert(whom, now);
            self.order.push_back((now, whom));
        }
    }

    fn forget_oldest(&mut self) {
        let Some((at, whom)) = self.order.pop_front() else {
            return;
        };
        self.complete_since = self.complete_since.max(at);
        if self.said.get(&whom) == Some(&at) {
            self.said.remove(&whom);
        }
    }

    fn floor(&self, now: Time) -> u32 {
        let mut over = self.rotations.iter();
        let last = over.rfind(|(_, cut_off_at)| *cut_off_at <= now);
        last.map_or(0, |(version, _)| *version)
    }

    /// What a higher version cuts off no later is of no account any more, and neither is what is over below the floor.
    fn rotate(&mut self, version: u32, cut_off_at: Time, now: Time) {
        let all = &mut self.rotations;
        if all.iter().any(|(v, at)| *v >= version && *at <= cut_off_at) {
            return;
        }
        all.retain(|(v, at)| *v > version || *at < cut_off_at);
        all.push((version, cut_off_at));
        all.sort_unstable();
        let floor = self.floor(now);
        self.rotations.retain(|(v, _)| *v >= floor);
    }
}

#[cfg(test)]
mod tests;
