//! Change a password: the current one and a new one in, new tokens for the caller's session out.
//!
//! In one commit: the hash, the history, the end of every other session and device, every older token left behind by the
//! user's version.
//! The current password is a guess and counts like one, on the path of the session's device: a stranger's guesses do not keep
//! the owner from it, and who has got hold of the session has that one path. Source: documents 000, 004.

use quivive_domain::session::{InvalidatedBy, Session};

use crate::passwords::{self, Accepted, accept};
use crate::ports::Path;
use crate::sessions::{Tokens, first_tokens};
use crate::workflows::prelude::*;
use crate::{devices, guesses};

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
        let session = self.session(cx).await?;
        let device = devices::of_session(cx, session.as_ref()).await?;
        guesses::reserve(cx, Some(self.user), Path::of(self.user, device.as_ref())).await
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
        let session = self.session(cx).await?;
        let device = devices::of_session(cx, session.as_ref()).await?;
        let Some(verdict) = passwords::compare(cx, &self.current, Some(&account)).await? else {
            return refuse(Refusal::InvalidPassword);
        };
        if !verdict.matches {
            let mut commit = Commit::default();
            guesses::wrong(&mut commit, cx, Some(account.id)).await?;
            return refuse_with(Refusal::InvalidPassword, commit);
        }

        let mut commit = cx.fenced(&account);
        guesses::right(&mut commit, cx, device.as_ref());
        let hash = match accept(cx, &self.new, &account).await? {
            Accepted::Hash(hash) => hash,
            Accepted::Weak => return refuse_with(Refusal::WeakPassword, commit),
            Accepted::Reused => return refuse_with(Refusal::PasswordReused, commit),
        };
        let Some(session) = session.filter(|session| session.is_live(cx.now())) else {
            return refuse_with(Refusal::UserNotFound, commit);
        };
        if device.is_some() {
            commit.write(cx.guesses.end_row(account.id));
        }
        let (kept, reason) = (Some(&session), InvalidatedBy::PasswordChange);
        let sessions_ended =
            passwords::replace(&mut commit, cx, &account, &hash, kept, reason).await?;
        // The caller's session goes on; the guard sees that nobody ended it meanwhile.
        commit.write(cx.sessions.touch(session.id, session.idle_until, cx.now()));
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

impl ChangePassword {
    async fn session(&self, cx: &Cx) -> Result<Option<Session>, Fault> {
        let view = cx.sessions.view(self.session).await?;
        Ok(view.map(|view| view.session))
    }
}

#[cfg(test)]
mod tests;
