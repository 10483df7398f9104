//! Change a password: the current one and a new one in, new tokens for the caller's session out. Or an administrator demands
//! it: the password opens nothing any more, and the owner is sent the link to choose another. Nobody else chooses or sees it.
//!
//! In one commit: the hash, the history, the end of every other session and device, every older token left behind by the
//! user's version.
//! Source: documents 000, 004.

use quivive_domain::Permission;
use quivive_domain::one_time::Purpose;
use quivive_domain::session::InvalidatedBy;

use crate::accounts::acted_on;
use crate::one_time;
use crate::passwords::{self, Accepted, accept};
use crate::sessions::{Tokens, first_tokens};
use crate::step_up::{Again, Denied, Proven, Shown};
use crate::workflows::passwords::request_password_reset;
use crate::workflows::prelude::*;

pub struct ChangePassword {
    pub user: UserId,
    pub change: Change,
}

pub enum Change {
    /// By the owner.
    Own {
        session: SessionId,
        current: Password,
        new: Password,
    },
    /// By an administrator.
    Demanded(Proven),
}

#[derive(Event)]
#[event(
    type = "user.password_change.attempted",
    version = 1,
    name = "UserPasswordChangeAttempted",
    audit = "USER_PASSWORD_CHANGE_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "user.password_change.succeeded",
    version = 1,
    name = "UserPasswordChangeSucceeded",
    audit = "USER_PASSWORD_CHANGED",
    also = ["PasswordChanged", "user_password_changed"]
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub initiated_by: Reason,
    pub sessions_ended: u32,
}

#[derive(Event)]
#[event(
    type = "user.password_change.failed",
    version = 1,
    name = "UserPasswordChangeFailed",
    audit = "USER_PASSWORD_CHANGE_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    UserNotFound,
    InvalidPassword,
    WeakPassword,
    PasswordReused,
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

impl Workflow for ChangePassword {
    const NAME: &'static str = "user_password_change";
    const HASHES: bool = true;
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    /// The owner's.
    type Reply = Option<Tokens>;

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        cx.subject_of_user(self.user).await
    }

    async fn reserve(&self, cx: &Cx) -> Result<Reservation, Fault> {
        match &self.change {
            Change::Own { session, .. } => {
                let again = Again::of(cx, self.user, *session).await?;
                again.reserve(cx).await
            }
            Change::Demanded(_) => Ok(Reservation::NotNeeded),
        }
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
        match &self.change {
            Change::Own {
                session,
                current,
                new,
            } => own(cx, self.user, *session, current, new).await,
            Change::Demanded(by) => demanded(cx, *by).await,
        }
    }
}

async fn own(
    cx: &Cx,
    user: UserId,
    session: SessionId,
    current: &Password,
    new: &Password,
) -> Run<ChangePassword> {
    let Some(account) = cx.account_of_subject().await? else {
        return refuse(Refusal::UserNotFound);
    };
    let again = Again::of(cx, user, session).await?;
    let mut commit = match again.judge(cx, &account, current).await? {
        Shown::Right(commit) => commit,
        Shown::Wrong(commit) => return refuse_with(Refusal::InvalidPassword, commit),
        Shown::NotCompared => return refuse(Refusal::InvalidPassword),
    };
    let hash = match accept(cx, new, &account).await? {
        Accepted::Hash(hash) => hash,
        Accepted::Weak => return refuse_with(Refusal::WeakPassword, commit),
        Accepted::Reused => return refuse_with(Refusal::PasswordReused, commit),
    };
    let Some(session) = again.goes_on(&mut commit, cx) else {
        return refuse_with(Refusal::UserNotFound, commit);
    };
    let (hash, kept) = (Some(&hash), Some(&session));
    let reason = InvalidatedBy::PasswordChange;
    let sessions_ended = passwords::replace(&mut commit, cx, &account, hash, kept, reason).await?;
    let renewed = Account {
        token_version: account.token_version + 1,
        ..account
    };
    let tokens = first_tokens(&mut commit, cx, &renewed, &session).await?;
    let succeeded = Succeeded {
        user_id: renewed.id,
        initiated_by: Reason::new("user"),
        sessions_ended,
    };
    succeed(commit, succeeded, Some(tokens))
}

/// The link is for the account as it is then. One that may not recover has it sent when it may, by asking.
async fn demanded(cx: &Cx, by: Proven) -> Run<ChangePassword> {
    let permission = Permission::Administration;
    let acted_on = acted_on(cx, by, permission, Refusal::UserNotFound).await?;
    let (account, mut commit) = match acted_on {
        Ok(acted_on) => acted_on,
        Err(refusal) => return refuse(refusal),
    };
    let reason = InvalidatedBy::PasswordChange;
    let sessions_ended = passwords::replace(&mut commit, cx, &account, None, None, reason).await?;
    if account.may_recover() {
        let then = Account {
            credential_epoch: account.credential_epoch + 1,
            ..account.clone()
        };
        let token = one_time::add(&mut commit, cx, &then, Purpose::ResetPassword);
        request_password_reset::automatically(&mut commit, &account, token);
    }
    let succeeded = Succeeded {
        user_id: account.id,
        initiated_by: Reason::new("admin"),
        sessions_ended,
    };
    succeed(commit, succeeded, None)
}

#[cfg(test)]
mod tests;
