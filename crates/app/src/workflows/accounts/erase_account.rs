//! Erase an account: its owner wants to be gone, an administrator sees to it, or it has had its time. Its rows go in one
//! commit with the end of its sessions.
//!
//! What the log has of it stays, and the chain with it, but nobody can read what was personal: the `erasure` subscriber destroys
//! the key. Source: the specification.

use quivive_domain::Permission;
use quivive_domain::session::InvalidatedBy;

use super::change_email;
use crate::accounts::{acted_on, spare_the_last};
use crate::sessions::end_everything;
use crate::step_up::{Denied, Proven};
use crate::workflows::prelude::*;

pub struct EraseAccount {
    pub user: UserId,
    pub cause: Cause,
}

/// Why it goes.
#[derive(Debug, Clone, Copy)]
pub enum Cause {
    /// Its owner or an administrator asks.
    Asked(Proven),
    /// Its address was not verified in time; by the system.
    NeverVerified,
    /// It was erased before and came back with an older copy of the database; by the system.
    ErasedBefore,
}

#[derive(Event)]
#[event(
    type = "user.erasure.attempted",
    version = 1,
    name = "AccountErasureAttempted",
    audit = "ACCOUNT_ERASURE_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "user.erasure.succeeded",
    version = 1,
    name = "AccountErased",
    audit = "ACCOUNT_ERASURE_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "user.erasure.failed",
    version = 1,
    name = "AccountErasureFailed",
    audit = "ACCOUNT_ERASURE_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    StepUpRequired,
    LastAdministrator,
    /// It is not theirs and they are no administrator, it is there no more, or was verified after all.
    Forbidden,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

impl Workflow for EraseAccount {
    const NAME: &'static str = "account_erasure";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        cx.subject_of_user(self.user).await
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
        let (account, mut commit) = match self.permitted(cx).await? {
            Ok(permitted) => permitted,
            Err(refusal) => return refuse(refusal),
        };
        // In turn with sign-ins, which would make it miss.
        cx.take_turn(&mut commit, account.id.0).await;
        // Who was erased before is not kept for want of another.
        let before = matches!(self.cause, Cause::ErasedBefore);
        if !before && !spare_the_last(&mut commit, cx, &account).await? {
            return refuse(Refusal::LastAdministrator);
        }
        change_email::cancel_open(&mut commit, cx, account.id).await?;
        end_everything(&mut commit, cx, &account, None, InvalidatedBy::Erasure).await?;
        for write in cx.accounts.erase(&account) {
            commit.write(write);
        }
        let user_id = account.id;
        succeed(commit, Succeeded { user_id }, ())
    }
}

impl EraseAccount {
    /// The account, with a commit that misses when it changes meanwhile, or who asks is no administrator any more.
    async fn permitted(&self, cx: &Cx) -> Result<Result<(Account, Commit), Refusal>, Fault> {
        match self.cause {
            Cause::Asked(other) if other.user != self.user => {
                let permission = Permission::Administration;
                return acted_on(cx, other, permission, Refusal::Forbidden).await;
            }
            Cause::Asked(owner) if !owner.is_fresh(cx) => return Ok(Err(Refusal::StepUpRequired)),
            Cause::Asked(_) | Cause::NeverVerified | Cause::ErasedBefore => {}
        }
        let may_go = |account: &Account| {
            let end = account.created_at + cx.settings.lifetimes.unverified;
            let had_its_time = account.verified_at.is_none() && end <= cx.now();
            had_its_time || !matches!(self.cause, Cause::NeverVerified)
        };
        let account = cx.account_of_subject().await?.filter(may_go);
        let account = account.ok_or(Refusal::Forbidden);
        Ok(account.map(|account| (account, Commit::default())))
    }
}

#[cfg(test)]
mod tests;
