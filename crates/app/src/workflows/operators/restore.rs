//! What a database that came from a backup must go through before anybody is served: no token, session or key with which
//! somebody came in before may be good again. Passwords, and webhooks with their secrets, are as they were at the backup.
//!
//! Its log is in a new epoch by then, which ends every one-time token, and readers learn of it by their cursors. Here end,
//! each by a workflow of its own: access tokens, with the keys that signed them; refresh tokens, by a rotation without
//! grace; sessions and known devices of everybody; API keys. A kill in between leaves the mark that asks for it, and the
//! next start begins again: each of these may be done twice. Source: the specification.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use quivive_delivery::Write;
use quivive_domain::Rationale;

use super::rotate_signing_key::RotateSigningKey;
use crate::kernel::{Failure, Kernel, Request};
use crate::ports::OldKeys;
use crate::step_up::By;
use crate::workflows::api_keys::revoke_api_key::{self, RevokeApiKey};
use crate::workflows::prelude::*;
use crate::workflows::rotations::rotate_all_tokens::RotateAllTokens;
use crate::workflows::rotations::rotate_user_tokens::{self, Devices, RotateUserTokens};

/// Accounts at once: they share syncs.
const AT_ONCE: usize = 64;
/// Accounts that are looked up at once.
const PAGE: u32 = 512;
/// Services have few keys.
const API_KEYS: u32 = 100_000;

pub struct Restore {
    pub kernel: Arc<Kernel>,
    /// The last event that came from the backup.
    pub position: u64,
    /// In which the log goes on.
    pub epoch: u64,
    /// Takes the mark away that asks for this.
    pub done: Write,
}

#[derive(Event)]
#[event(
    type = "operator.restore.attempted",
    version = 1,
    name = "RestoreAttempted",
    audit = "RESTORE_ATTEMPTED"
)]
pub struct Attempted {
    pub by: String,
}

#[derive(Event)]
#[event(
    type = "operator.restore.succeeded",
    version = 1,
    name = "RestoreSucceeded",
    audit = "RESTORE_SUCCEEDED"
)]
pub struct Succeeded {
    pub position: u64,
    pub epoch: u64,
}

#[derive(Event)]
#[event(
    type = "operator.restore.failed",
    version = 1,
    name = "RestoreFailed",
    audit = "RESTORE_FAILED"
)]
pub struct Failed {
    pub by: String,
    pub reason: Reason,
}

/// Both are found before there is a log that could say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    Unreadable,
    VersionTooNew,
}

impl Workflow for Restore {
    const NAME: &'static str = "restore";
    /// With a session for each of a million people it takes minutes.
    const DEADLINE: Duration = Duration::from_hours(24);
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            by: "system".to_owned(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            by: attempted.by.clone(),
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let reason = Rationale::parse("restore").map_err(Fault::internal)?;
        self.execute(RotateSigningKey {
            old: OldKeys::Revoked,
        })
        .await?;
        self.execute(RotateAllTokens {
            by: None,
            reason: reason.clone(),
            grace: Some(Duration::ZERO),
        })
        .await?;
        self.end_access(cx, &reason).await?;
        self.end_api_keys(cx).await?;
        let mut commit = Commit::default();
        commit.write(self.done.clone());
        let succeeded = Succeeded {
            position: self.position,
            epoch: self.epoch,
        };
        succeed(commit, succeeded, ())
    }
}

impl Restore {
    /// A workflow of its own; what refuses it breaks the restore.
    async fn execute<W: Workflow>(&self, workflow: W) -> Result<W::Reply, Fault> {
        let done = self.kernel.execute(workflow, Request::system()).await;
        done.map_err(|failure| match failure {
            Failure::Fault(fault) => fault,
            other => Fault::Internal(format!("{}: {other}", W::NAME)),
        })
    }

    /// Page by page: who was dealt with is not in the next one.
    async fn end_access(&self, cx: &Cx, reason: &Rationale) -> Result<(), Fault> {
        loop {
            let mut users = cx.sessions.with_access(PAGE).await?;
            users.sort_unstable();
            users.dedup();
            if users.is_empty() {
                return Ok(());
            }
            let ends = users.into_iter().map(|user| async move {
                let rotate = RotateUserTokens {
                    user,
                    by: By::System,
                    reason: reason.clone(),
                    devices: Devices::Forgotten,
                };
                match self.kernel.execute(rotate, Request::system()).await {
                    Ok(_) | Err(Failure::Refused(rotate_user_tokens::Refusal::UserNotFound)) => {
                        Ok(())
                    }
                    Err(Failure::Fault(fault)) => Err(fault),
                    Err(other) => Err(Fault::Internal(other.to_string())),
                }
            });
            let ends = stream::iter(ends).buffer_unordered(AT_ONCE);
            ends.try_collect::<Vec<()>>().await?;
        }
    }

    async fn end_api_keys(&self, cx: &Cx) -> Result<(), Fault> {
        let keys = cx.api_keys.list(API_KEYS).await?;
        if keys.len() >= API_KEYS as usize {
            let text = format!("{API_KEYS} API keys and more: not all of them can be ended");
            return Err(Fault::Internal(text));
        }
        for key in keys.into_iter().filter(|key| key.revoked_at.is_none()) {
            let revoke = RevokeApiKey {
                key: key.id,
                by: None,
            };
            match self.kernel.execute(revoke, Request::system()).await {
                // Its owner was erased: it opens nothing.
                Ok(()) | Err(Failure::Refused(revoke_api_key::Refusal::NotFound)) => {}
                Err(Failure::Fault(fault)) => return Err(fault),
                Err(other) => return Err(Fault::Internal(other.to_string())),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
