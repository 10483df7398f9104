//! The switchboard: every workflow, fact and subscriber of the product, named once, in reading order.

use std::sync::Arc;

use quivive_delivery::catalogue::{Class, Duplicate};
use quivive_delivery::subscriber::Subscription;
use quivive_delivery::{Catalogue, Codes as _, Event, EventMeta, Log, Priority};

use crate::kernel::{Closers, Families, Workflow, closer};
use crate::letters::Letters;
use crate::ports::{EventIndex, Mailer};
use crate::webhooks::Endpoints;
use crate::workflows::{
    accounts, api_keys, delivery, operators, passwords, rotations, sessions, webhooks,
};
use crate::{facts, subscribers};

/// Every workflow and every fact.
pub fn workflows() -> Result<Workflows, Duplicate> {
    Workflows::default()
        .workflow::<accounts::register_user::RegisterUser>()?
        .workflow::<accounts::verify_email::VerifyEmail>()?
        .workflow::<accounts::request_email_verification::RequestEmailVerification>()?
        .workflow::<sessions::log_in::LogIn>()?
        .workflow::<sessions::refresh_tokens::RefreshTokens>()?
        .workflow::<sessions::log_out::LogOut>()?
        .workflow::<sessions::revoke_session::RevokeSession>()?
        .workflow::<sessions::revoke_all_sessions::RevokeAllSessions>()?
        .workflow::<sessions::step_up::StepUp>()?
        .workflow::<rotations::rotate_all_tokens::RotateAllTokens>()?
        .workflow::<rotations::rotate_user_tokens::RotateUserTokens>()?
        .workflow::<passwords::change_password::ChangePassword>()?
        .workflow::<passwords::request_password_reset::RequestPasswordReset>()?
        .workflow::<passwords::confirm_password_reset::ConfirmPasswordReset>()?
        .workflow::<accounts::change_email::ChangeEmail>()?
        .workflow::<accounts::confirm_email_change::ConfirmEmailChange>()?
        .workflow::<accounts::revert_email_change::RevertEmailChange>()?
        .workflow::<accounts::lock_user::LockUser>()?
        .workflow::<accounts::unlock_user::UnlockUser>()?
        .workflow::<accounts::deactivate_user::DeactivateUser>()?
        .workflow::<accounts::reactivate_user::ReactivateUser>()?
        .workflow::<accounts::erase_account::EraseAccount>()?
        .workflow::<accounts::export_data::ExportData>()?
        .workflow::<operators::bootstrap_administrator::BootstrapAdministrator>()?
        .workflow::<operators::import_users::ImportUsers>()?
        .workflow::<operators::back_up::BackUp>()?
        .workflow::<operators::restore::Restore>()?
        .workflow::<delivery::change_subscription::ChangeSubscription>()?
        .workflow::<operators::register_event_schema::RegisterEventSchema>()?
        .workflow::<operators::rotate_signing_key::RotateSigningKey>()?
        .workflow::<api_keys::create_api_key::CreateApiKey>()?
        .workflow::<api_keys::revoke_api_key::RevokeApiKey>()?
        .workflow::<webhooks::change_endpoint::ChangeEndpoint>()?
        // What happens by itself.
        .part_of::<sessions::revoke_device::Attempted>("device_revocation")?
        .part_of::<sessions::revoke_device::Succeeded>("device_revocation")?
        // What belongs to no workflow.
        .fact::<facts::UserImported>()?
        .fact::<facts::SessionCreated>()?
        .fact::<facts::SessionTerminated>()?
        .fact::<facts::SessionExpired>()?
        .fact::<facts::SessionInvalidated>()?
        .fact::<facts::SessionEvicted>()?
        .fact::<facts::TokenIssued>()?
        .fact::<facts::TokenRevoked>()?
        .fact::<facts::TokenFamilyRevoked>()?
        .fact::<facts::TokenReuseDetected>()?
        .fact::<facts::TokenRejectedDueToRotation>()?
        .fact::<facts::DeviceRegistered>()?
        .fact::<facts::EmailChangeRequested>()?
        .fact::<facts::EmailDelivered>()?
        .fact::<facts::EmailDeliveryFailed>()?
        .fact::<facts::AuditLogCreated>()?
        .fact::<facts::WebhookEndpointDisabled>()?
        .fact::<facts::RequestsRejected>()?
        .fact::<quivive_delivery::events::EventDeadLettered>()?
        .fact::<quivive_delivery::events::DeadLettersRedriven>()?
        .fact::<quivive_delivery::events::DeadLettersDiscarded>()?
        .fact::<quivive_delivery::events::CircuitOpened>()?
        .fact::<quivive_delivery::events::CircuitClosed>()?
        .fact::<quivive_delivery::events::UndoRequested>()?
        .fact::<quivive_delivery::events::SubscriptionExpired>()?
        .fact::<quivive_delivery::events::AuditCheckpointSealed>()?
        .fact::<quivive_delivery::events::SubscriptionReplayed>()?
        .fact::<quivive_delivery::events::StepDone>()?
        .fact::<quivive_delivery::events::StepUndone>()
}

/// Every built-in subscriber.
pub fn subscribers(
    families: &Arc<Families>,
    catalogue: &Arc<Catalogue>,
    mailer: Arc<dyn Mailer>,
    letters: Letters,
    endpoints: &Arc<Endpoints>,
    (index, log): (Arc<dyn EventIndex>, Arc<dyn Log>),
) -> Vec<Subscription> {
    vec![
        subscribers::log::subscription(),
        subscribers::email::subscription(Arc::clone(families), mailer, letters),
        subscribers::sessions::subscription(Arc::clone(families)),
        subscribers::schemas::subscription(Arc::clone(families), Arc::clone(catalogue)),
        subscribers::erasure::subscription(Arc::clone(families), index, log),
        subscribers::webhooks::subscription(Arc::clone(endpoints)),
        subscribers::statistics::subscription(&families.statistics),
    ]
}

/// What the switchboard has named: the catalogue of events, and how to close an attempt of each workflow.
#[derive(Clone)]
pub struct Workflows {
    pub(crate) catalogue: Catalogue,
    pub(crate) closers: Closers,
}

impl Default for Workflows {
    fn default() -> Self {
        Self {
            catalogue: Catalogue::new(classify),
            closers: Closers::new(),
        }
    }
}

/// The reasons that the kernel gives, besides a workflow's own.
const KERNEL_REASONS: [&str; 4] = ["interrupted", "conflict", "internal", "vetoed"];

impl Workflows {
    /// Adds a workflow with its three event types.
    pub fn workflow<W: Workflow>(mut self) -> Result<Self, Duplicate> {
        let mut reasons = W::Refusal::CODES.to_vec();
        if !KERNEL_REASONS.contains(&W::EXPIRED) {
            reasons.push(W::EXPIRED);
        }
        reasons.extend(KERNEL_REASONS);
        self.catalogue.add::<W::Attempted>(Some(W::NAME), &[])?;
        self.catalogue.add::<W::Succeeded>(Some(W::NAME), &[])?;
        self.catalogue.add::<W::Failed>(Some(W::NAME), &reasons)?;
        let (kind, close) = closer::<W>();
        self.closers.insert(kind, close);
        Ok(self)
    }

    /// Adds an event of a workflow that happens by itself.
    pub fn part_of<E: Event>(mut self, workflow: &'static str) -> Result<Self, Duplicate> {
        self.catalogue.add::<E>(Some(workflow), &[])?;
        Ok(self)
    }

    /// Adds a fact.
    pub fn fact<E: Event>(mut self) -> Result<Self, Duplicate> {
        self.catalogue.add::<E>(None, &[])?;
        Ok(self)
    }

    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }
}

/// Priority and category, by rule.
fn classify(meta: &EventMeta) -> Class {
    let family = meta.kind.split('.').next().unwrap_or_default();
    Class {
        priority: priority(meta.kind, family),
        category: category(family),
    }
}

fn priority(kind: &str, family: &str) -> Priority {
    let critical = family == "risk"
        || matches!(
            kind,
            "token.reuse_detected"
                | "token.family_revoked"
                | "delivery.dead_lettered"
                | "audit.compliance_violation"
        );
    let guarded = family == "mfa"
        || kind.contains(".login.")
        || kind.contains(".refresh.")
        || kind.contains(".password_");
    if critical {
        Priority::Critical
    } else if kind.ends_with(".failed") && guarded {
        Priority::High
    } else if kind.ends_with(".attempted") {
        Priority::Low
    } else {
        Priority::Normal
    }
}

fn category(family: &str) -> &'static str {
    match family {
        "user" | "token" | "session" | "mfa" | "device" | "risk" | "ip" => "security",
        "audit" | "permission" | "role" | "operator" | "api_key" => "compliance",
        "seller" | "profile" => "business",
        _ => "operation",
    }
}

#[cfg(test)]
mod tests;
