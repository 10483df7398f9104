//! Step-up: the password again, and tokens of the same session that say when it was proved.
//!
//! The tokens are a family of their own: who holds an older one of this session has proved nothing. Source: the
//! specification.

use crate::sessions::{Tokens, first_tokens};
use crate::step_up::{Again, Shown};
use crate::workflows::prelude::*;

pub struct StepUp {
    pub user: UserId,
    pub session: SessionId,
    pub password: Password,
}

#[derive(Event)]
#[event(
    type = "user.step_up.attempted",
    version = 1,
    name = "StepUpAttempted",
    audit = "STEP_UP_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
    pub method: Reason,
}

#[derive(Event)]
#[event(
    type = "user.step_up.succeeded",
    version = 1,
    name = "StepUpSucceeded",
    audit = "STEP_UP_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub method: Reason,
}

#[derive(Event)]
#[event(
    type = "user.step_up.failed",
    version = 1,
    name = "StepUpFailed",
    audit = "STEP_UP_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    InvalidPassword,
    /// The path is closed: nothing was compared.
    TooManyAttempts,
    /// The session ended meanwhile.
    SessionEnded,
}

impl Workflow for StepUp {
    const NAME: &'static str = "step_up";
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
        Attempted {
            user_id: self.user,
            method: Reason::new("password"),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            user_id: attempted.user_id,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let Some(account) = cx.account_of_subject().await? else {
            return refuse(Refusal::SessionEnded);
        };
        let again = Again::of(cx, self.user, self.session).await?;
        let mut commit = match again.judge(cx, &account, &self.password).await? {
            Shown::Right(commit) => commit,
            Shown::Wrong(commit) => return refuse_with(Refusal::InvalidPassword, commit),
            Shown::NotCompared => return refuse(Refusal::TooManyAttempts),
        };
        let Some(session) = again.goes_on(&mut commit, cx) else {
            return refuse_with(Refusal::SessionEnded, commit);
        };
        let tokens = first_tokens(&mut commit, cx, &account, &session).await?;
        let succeeded = Succeeded {
            user_id: account.id,
            session_id: session.id,
            method: Reason::new("password"),
        };
        succeed(commit, succeeded, tokens)
    }
}

#[cfg(test)]
mod tests;
