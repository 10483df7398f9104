//! Rotations, beside a server or without one.

use std::time::Duration;

use quivive_app::Request;
use quivive_app::ports::OldKeys;
use quivive_app::step_up::By;
use quivive_app::workflows::operators::rotate_signing_key::RotateSigningKey;
use quivive_app::workflows::rotations::rotate_all_tokens::{self, RotateAllTokens};
use quivive_app::workflows::rotations::rotate_user_tokens::{Devices, RotateUserTokens};
use quivive_delivery::Codes as _;
use quivive_delivery::nodes::Nodes as _;
use quivive_domain::Address;
use serde_json::{Value, json};

use super::call::RotateTokens;
use super::desk::{Desk, fault, rationale, refused, told};
use crate::failure::Failure;
use crate::fingerprints;

impl Desk {
    pub(super) async fn rotate_tokens(&self, rotate: RotateTokens) -> Result<Value, Failure> {
        match &rotate.user {
            Some(email) => self.rotate_user(email, &rotate.reason).await,
            None => self.rotate_all(rotate).await,
        }
    }

    pub(super) async fn rotate_keys(&self, old: OldKeys) -> Result<Value, Failure> {
        let living = self.database.living().await.map_err(fault)?;
        // A server that answers is one of them.
        let own = usize::from(self.operation.is_some());
        if living.iter().filter(|node| node.reads > 0).count() > own {
            return Err(refused(
                "several servers use the database, and each has its keys in files of its own",
                "stop the others, rotate, copy the directory `keys` to each of them, and start them again",
            ));
        }
        let command = RotateSigningKey { old };
        let rotated = self.kernel.execute(command, Request::system()).await;
        let rotated = rotated.map_err(|outcome| told(outcome, |refusal| match refusal {}))?;
        // So that a server that starts without the new one is told.
        fingerprints::compare(&self.data.keys, &self.database, &[]).await?;
        Ok(json!({
            "new_key_id": rotated.new,
            "retired_key_id": rotated.retired,
            "revoked": old == OldKeys::Revoked,
        }))
    }

    async fn rotate_all(&self, rotate: RotateTokens) -> Result<Value, Failure> {
        use rotate_all_tokens::Refusal;
        let command = RotateAllTokens {
            by: None,
            reason: rationale(&rotate.reason)?,
            grace: rotate.grace_seconds.map(Duration::from_secs),
        };
        let rotated = self.kernel.execute(command, Request::system()).await;
        let rotated = rotated.map_err(|outcome| {
            told(outcome, |refusal| match refusal {
                Refusal::InvalidGrace => refused(
                    "there can be no such grace period",
                    "with the reason `breach` give none; else at most as long as a refresh token lives",
                ),
                Refusal::Forbidden | Refusal::StepUpRequired => refused(refusal.code(), "report it"),
            })
        })?;
        Ok(json!({
            "previous_version": rotated.previous_version,
            "new_version": rotated.new_version,
            "grace_period_seconds": rotated.grace.as_secs(),
        }))
    }

    async fn rotate_user(&self, email: &str, reason: &str) -> Result<Value, Failure> {
        let nobody = || refused("nobody has this address", "write it as you@example.org");
        let address = Address::parse(email).map_err(|_| nobody())?;
        let accounts = &self.kernel.families().accounts;
        let account = accounts.by_address(&address).await.map_err(fault)?;
        let command = RotateUserTokens {
            user: account.ok_or_else(nobody)?.id,
            by: By::System,
            reason: rationale(reason)?,
            devices: Devices::Kept,
        };
        let rotated = self.kernel.execute(command, Request::system()).await;
        let rotated = rotated.map_err(|outcome| told(outcome, |_| nobody()))?;
        Ok(json!({
            "user_id": rotated.user_id,
            "previous_version": rotated.previous_version,
            "new_version": rotated.new_version,
        }))
    }
}
