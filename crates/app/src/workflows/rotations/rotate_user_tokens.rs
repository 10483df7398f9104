//! Rotate the tokens of one person: those that were issued before are good for nothing, at once, and their sessions end.
//! They sign in again. Asked for by the person ("sign me out everywhere"), an administrator, or the system.
//!
//! Devices stay known: nobody has shown that the password is in the wrong hands. A restore alone forgets them, for one of
//! them may have been forgotten since the backup. Source: documents 000, 002.

use quivive_domain::Rationale;
use quivive_domain::session::InvalidatedBy;

use crate::sessions::{Ending, end_all, end_everything};
use crate::step_up::{By, Denied};
use crate::workflows::prelude::*;

pub struct RotateUserTokens {
    pub user: UserId,
    pub by: By,
    pub reason: Rationale,
    pub devices: Devices,
}

/// What becomes of the devices that the account is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    Kept,
    Forgotten,
}

#[derive(Event)]
#[event(
    type = "token.user_rotation.attempted",
    version = 1,
    name = "UserTokenRotationAttempted",
    audit = "USER_TOKEN_ROTATION_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
    pub triggered_by: String,
    pub reason: String,
}

#[derive(Event)]
#[event(
    type = "token.user_rotation.succeeded",
    version = 1,
    name = "UserTokenRotationSucceeded",
    audit = "USER_TOKEN_ROTATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub triggered_by: String,
    pub previous_version: u32,
    pub new_version: u32,
    pub reason: String,
}

#[derive(Event)]
#[event(
    type = "token.user_rotation.failed",
    version = 1,
    name = "UserTokenRotationFailed",
    audit = "USER_TOKEN_ROTATION_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub triggered_by: String,
    pub reason: String,
    pub failure_reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    UserNotFound,
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    pub user_id: UserId,
    pub previous_version: u32,
    pub new_version: u32,
}

impl Workflow for RotateUserTokens {
    const NAME: &'static str = "user_token_rotation";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

    /// Somebody who is not there has no key to seal under.
    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        let account = cx.accounts.by_id(self.user).await?;
        Ok(account.map_or(Subject::System, |account| Subject::Account(account.id)))
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            user_id: self.user,
            triggered_by: self.triggered_by(),
            reason: self.reason.clone().into(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            user_id: attempted.user_id,
            triggered_by: attempted.triggered_by.clone(),
            reason: attempted.reason.clone(),
            failure_reason: reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let mut commit = match self.by.commit(cx).await? {
            Ok(commit) => commit,
            Err(denied) => return refuse(denied.into()),
        };
        cx.take_turn(&mut commit, self.user.0).await;
        let Some(account) = cx.accounts.by_id(self.user).await? else {
            return refuse(Refusal::UserNotFound);
        };
        commit.write(cx.accounts.rotate(&account, cx.now()));
        let why = InvalidatedBy::Rotation;
        match self.devices {
            Devices::Kept => {
                let how = Ending::Invalidated(why);
                end_all(&mut commit, cx, &account, None, how).await?;
            }
            Devices::Forgotten => {
                end_everything(&mut commit, cx, &account, None, why).await?;
            }
        }
        let reply = Reply {
            user_id: account.id,
            previous_version: account.token_version,
            new_version: account.token_version + 1,
        };
        let succeeded = Succeeded {
            user_id: account.id,
            triggered_by: self.triggered_by(),
            previous_version: reply.previous_version,
            new_version: reply.new_version,
            reason: self.reason.clone().into(),
        };
        succeed(commit, succeeded, reply)
    }
}

impl RotateUserTokens {
    fn triggered_by(&self) -> String {
        match self.by {
            By::Owner => self.user.to_string(),
            By::Administrator(proven) => proven.user.to_string(),
            By::System => "system".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
