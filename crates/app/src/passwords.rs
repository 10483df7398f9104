//! Passwords in a workflow: accepted, hashed and compared through the pool, once for each run of the workflow.
//!
//! When a guard misses, the kernel runs a workflow again; what was hashed already is not hashed again.

use std::sync::{Arc, Mutex, PoisonError};

use quivive_delivery::Fault;
use quivive_domain::{Account, Password, PasswordHash};

use crate::kernel::Cx;
use crate::ports::{HashTicket, PasswordHasher, Verdict};

/// The hashing of one workflow, with its memory of what it did.
pub struct Passwords {
    hasher: Arc<dyn PasswordHasher>,
    ticket: Option<HashTicket>,
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
    pub(crate) fn new(hasher: Arc<dyn PasswordHasher>, ticket: Option<HashTicket>) -> Self {
        Self {
            hasher,
            ticket,
            verified: Mutex::default(),
            hashed: Mutex::default(),
        }
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

/// Judges a new password for an account: policy, then the earlier ones, then the hash.
pub async fn accept(cx: &Cx, password: &Password, account: &Account) -> Result<Accepted, Fault> {
    let settings = &cx.settings;
    if settings
        .passwords
        .check(password, Some(&account.email))
        .is_err()
    {
        return Ok(Accepted::Weak);
    }
    let keep = settings.password_history.saturating_sub(1);
    let earlier = cx.accounts.password_history(account.id, keep).await?;
    for hash in account.password.iter().chain(&earlier) {
        if cx.passwords.verify(password, Some(hash)).await?.matches {
            return Ok(Accepted::Reused);
        }
    }
    Ok(Accepted::Hash(cx.passwords.hash(password).await?))
}
