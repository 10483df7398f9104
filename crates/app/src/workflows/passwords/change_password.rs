//! Change a password: the current one and a new one in, new tokens for the caller's session out.
//!
//! In one commit: the hash, the history, the end of every other session and device, every older token left behind by the
//! user's version.
//! Source: documents 000, 004.

use quivive_domain::session::InvalidatedBy;

use crate::passwords::{self, Accepted, accept};
use crate::sessions::{Tokens, first_tokens};
use crate::step_up::{Again, Shown};
use crate::workflows::prelude::*;

pub struct ChangePassword {
    pub user: UserId,
    pub session: SessionId,
    pub current: Password,
    pub new: Password,
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
}

impl Workflow for ChangePassword {
    const NAME: &'static str = "user_password_change";
    const HASHES: bool = true;
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Tokens;

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::Account(self.user))
    }

    async fn reserve(&self, cx: &Cx) -> Result<Reservation, Fault> {
        let again = Again::of(cx, self.user, self.session).await?;
        again.reserve(cx).await
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
        let Some(account) = cx.account_of_subject().await? else {
            return refuse(Refusal::UserNotFound);
        };
        let again = Again::of(cx, self.user, self.session).await?;
        let mut commit = match again.judge(cx, &account, &self.current).await? {
            Shown::Right(commit) => commit,
            Shown::Wrong(commit) => return refuse_with(Refusal::InvalidPassword, commit),
            Shown::NotCompared => return refuse(Refusal::InvalidPassword),
        };
        let hash = match accept(cx, &self.new, &account).await? {
            Accepted::Hash(hash) => hash,
            Accepted::Weak => return refuse_with(Refusal::WeakPassword, commit),
            Accepted::Reused => return refuse_with(Refusal::PasswordReused, commit),
        };
        let Some(session) = again.goes_on(&mut commit, cx) else {
            return refuse_with(Refusal::UserNotFound, commit);
        };
        let (kept, reason) = (Some(&session), InvalidatedBy::PasswordChange);
        let sessions_ended =
            passwords::replace(&mut commit, cx, &account, &hash, kept, reason).await?;
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
        succeed(commit, succeeded, tokens)
    }
}

#[cfg(test)]
mod tests;
