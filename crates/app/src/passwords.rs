//! Passwords in a workflow: accepted, hashed and compared through the pool, once for each run of the workflow.
//!
//! When a guard misses, the kernel runs a workflow again; what was hashed already is not hashed again.

use std::sync::{Arc, Mutex, PoisonError};

use quivive_delivery::Fault;
use quivive_domain::session::{InvalidatedBy, Session};
use quivive_domain::{Account, Address, Password, PasswordHash};

use crate::kernel::{Commit, Cx, Guess};
use crate::ports::{Entrance, HashTicket, PasswordHasher, Verdict};
use crate::sessions::end_everything;

/// The hashing of one workflow, with its memory of what it did.
pub struct Passwords {
    hasher: Arc<dyn PasswordHasher>,
    ticket: Option<HashTicket>,
    entrance: Entrance,
    verified: Mutex<Vec<Verified>>,
    hashed: Mutex<Option<PasswordHash>>,
}

/// One comparison that was done. The password is wiped with the workflow.
struct Verified {
    password: Password,
    hash: Option<PasswordHash>,
    verdict: Verdict,
}

/// What the policy says of a new password.
#[derive(Debug)]
pub enum Accepted {
    Hash(PasswordHash),
    Weak,
    Reused,
}

impl Passwords {
    pub(crate) fn new(hasher: Arc<dyn PasswordHasher>) -> Self {
        Self {
            hasher,
            ticket: None,
            entrance: Entrance::First,
            verified: Mutex::default(),
            hashed: Mutex::default(),
        }
    }

    /// Takes a place in the hashing queue, unless it has one.
    pub(crate) fn enter(&mut self) -> Result<(), Fault> {
        if self.ticket.is_none() {
            self.ticket = Some(self.hasher.admit(self.entrance)?);
            self.entrance = Entrance::Again;
        }
        Ok(())
    }

    /// For which part of its time hashing ran lately.
    pub(crate) fn core_time(&self) -> f64 {
        self.hasher.core_time()
    }

    /// Leaves the place to others while there is nothing to hash.
    pub(crate) fn leave(&mut self) {
        self.ticket = None;
    }

    fn ticket(&self) -> Result<&HashTicket, Fault> {
        self.ticket.as_ref().ok_or_else(|| {
            Fault::Internal("a workflow that hashes says so: const HASHES: bool = true".to_owned())
        })
    }

    /// Compares a password with a hash, or does the same work for nothing when there is none.
    pub async fn verify(
        &self,
        password: &Password,
        hash: Option<&PasswordHash>,
    ) -> Result<Verdict, Fault> {
        if let Some(verdict) = self.known(password, hash) {
            return Ok(verdict);
        }
        let verdict = self.hasher.verify(self.ticket()?, password, hash).await?;
        let mut done = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        done.push(Verified {
            password: password.clone(),
            hash: hash.cloned(),
            verdict,
        });
        Ok(verdict)
    }

    fn known(&self, password: &Password, hash: Option<&PasswordHash>) -> Option<Verdict> {
        let done = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        done.iter()
            .find(|v| v.hash.as_ref() == hash && v.password.expose() == password.expose())
            .map(|v| v.verdict)
    }

    /// Hashes the workflow's one new password.
    pub async fn hash(&self, password: &Password) -> Result<PasswordHash, Fault> {
        let known = self
            .hashed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(hash) = known {
            return Ok(hash);
        }
        let hash = self.hasher.hash(self.ticket()?, password).await?;
        *self.hashed.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash.clone());
        Ok(hash)
    }
}

/// Compares a guess with an account's password. `None`: the guess may not be evaluated. That, an unknown account and one
/// without a password cost a hash too.
pub async fn compare(
    cx: &Cx,
    guess: &Password,
    account: Option<&Account>,
) -> Result<Option<Verdict>, Fault> {
    let reserved = matches!(cx.guess(), Guess::Reserved { .. });
    let hash = account.and_then(|account| account.password.as_ref());
    let verdict = cx
        .passwords
        .verify(guess, hash.filter(|_| reserved))
        .await?;
    Ok(reserved.then_some(verdict))
}

/// Whether the policy refuses a password for somebody with that address.
pub fn is_weak(cx: &Cx, password: &Password, address: &Address) -> bool {
    let policy = &cx.settings.passwords;
    policy.check(password, Some(address)).is_err()
}

/// Judges a new password for an account: policy, then the earlier ones, then the hash.
pub async fn accept(cx: &Cx, password: &Password, account: &Account) -> Result<Accepted, Fault> {
    if is_weak(cx, password, &account.email) {
        return Ok(Accepted::Weak);
    }
    let keep = cx.settings.password_history.saturating_sub(1);
    let earlier = cx.accounts.password_history(account.id, keep).await?;
    for hash in account.password.iter().chain(&earlier) {
        if cx.passwords.verify(password, Some(hash)).await?.matches {
            return Ok(Accepted::Reused);
        }
    }
    Ok(Accepted::Hash(cx.passwords.hash(password).await?))
}

/// Sets a new password, or none, and ends what the old one opened, but for the session `except`. Says how many sessions ended.
pub async fn replace(
    commit: &mut Commit,
    cx: &Cx,
    account: &Account,
    hash: Option<&PasswordHash>,
    except: Option<&Session>,
    reason: InvalidatedBy,
) -> Result<u32, Fault> {
    let keep = cx.settings.password_history;
    commit.write_all(cx.accounts.set_password(account, hash, keep, cx.now()));
    end_everything(commit, cx, account, except, reason).await
}
