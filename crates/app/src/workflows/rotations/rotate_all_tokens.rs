//! Rotate the tokens of everybody: after a grace period those that were issued before are good for nothing.
//!
//! An increment in the commit, so that two at once are two. Nobody's session ends: who does not refresh within the grace
//! period signs in again. Source: documents 000, 002.

use std::time::Duration;

use quivive_domain::Rationale;
use uuid::Uuid;

use crate::step_up::{Denied, Proven, operated};
use crate::workflows::prelude::*;

/// With this reason there is no grace period.
pub const BREACH: &str = "breach";

pub struct RotateAllTokens {
    /// An administrator; `None`: the system.
    pub by: Option<Proven>,
    pub reason: Rationale,
    /// `None`: as configured, or none where the reason is a breach.
    pub grace: Option<Duration>,
}

#[derive(Event)]
#[event(
    type = "token.global_rotation.attempted",
    version = 1,
    name = "GlobalTokenRotationAttempted",
    audit = "GLOBAL_TOKEN_ROTATION_ATTEMPTED"
)]
pub struct Attempted {
    pub triggered_by: String,
    pub reason: String,
}

#[derive(Event)]
#[event(
    type = "token.global_rotation.succeeded",
    version = 1,
    name = "GlobalTokenRotationSucceeded",
    audit = "GLOBAL_TOKEN_ROTATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub triggered_by: String,
    pub previous_version: u32,
    pub new_version: u32,
    pub reason: String,
    pub grace_period_seconds: u64,
}

#[derive(Event)]
#[event(
    type = "token.global_rotation.failed",
    version = 1,
    name = "GlobalTokenRotationFailed",
    audit = "GLOBAL_TOKEN_ROTATION_FAILED"
)]
pub struct Failed {
    pub triggered_by: String,
    pub reason: String,
    pub failure_reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    Forbidden,
    StepUpRequired,
    /// A breach with a grace period, or one that is longer than any token lives.
    InvalidGrace,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    pub previous_version: u32,
    pub new_version: u32,
    pub grace: Duration,
}

impl Workflow for RotateAllTokens {
    const NAME: &'static str = "global_token_rotation";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            triggered_by: self.triggered_by(),
            reason: self.reason.clone().into(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            triggered_by: attempted.triggered_by.clone(),
            reason: attempted.reason.clone(),
            failure_reason: reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let mut commit = match operated(cx, self.by).await? {
            Ok(commit) => commit,
            Err(denied) => return refuse(denied.into()),
        };
        let breach = self.reason.as_str() == BREACH;
        let lifetimes = cx.settings.lifetimes;
        let usual = if breach {
            Duration::ZERO
        } else {
            lifetimes.rotation_grace
        };
        let grace = self.grace.unwrap_or(usual);
        if (breach && !grace.is_zero()) || grace > lifetimes.refresh_token {
            return refuse(Refusal::InvalidGrace);
        }

        cx.take_turn(&mut commit, Uuid::nil()).await;
        let previous = cx.sessions.global_version(cx.now()).await?.current;
        let version = previous + 1;
        let cut_off_at = cx.now() + grace;
        commit.write(cx.sessions.rotate_all(version, cut_off_at, cx.now()));
        let succeeded = Succeeded {
            triggered_by: self.triggered_by(),
            previous_version: previous,
            new_version: version,
            reason: self.reason.clone().into(),
            grace_period_seconds: grace.as_secs(),
        };
        let reply = Reply {
            previous_version: previous,
            new_version: version,
            grace,
        };
        succeed(commit, succeeded, reply)
    }
}

impl RotateAllTokens {
    fn triggered_by(&self) -> String {
        self.by
            .map_or_else(|| "system".to_owned(), |proven| proven.user.to_string())
    }
}

#[cfg(test)]
mod tests;
