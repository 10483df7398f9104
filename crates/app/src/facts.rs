//! Events that belong to no workflow of their own: each is raised in the commit of whatever caused it.

use quivive_delivery::{Code, Event, Time};
use quivive_domain::session::{ExpiredBy, InvalidatedBy, TerminatedBy};
use quivive_domain::{DeviceId, Email, EndpointId, FamilyId, SessionId, TokenId, UserId};
use uuid::Uuid;

/// An account came from another system, by an operator's import.
#[derive(Event)]
#[event(
    type = "user.imported",
    version = 1,
    name = "UserImported",
    audit = "USER_IMPORTED"
)]
pub struct UserImported {
    pub user_id: UserId,
    #[event(personal)]
    pub email: Email,
    pub email_verified: bool,
    pub has_password: bool,
}

#[derive(Event)]
#[event(
    type = "session.created",
    version = 1,
    name = "SessionCreated",
    audit = "SESSION_CREATED"
)]
pub struct SessionCreated {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub session_type: Code,
    pub requires_mfa: bool,
    pub device_id: Option<DeviceId>,
    pub expires_at: Time,
}

/// It was asked for. Every ended session has exactly one of this, `SessionInvalidated`, `SessionEvicted` and
/// `SessionExpired`.
#[derive(Event)]
#[event(
    type = "session.terminated",
    version = 1,
    name = "SessionTerminated",
    audit = "SESSION_TERMINATED"
)]
pub struct SessionTerminated {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub reason: TerminatedBy,
}

/// Its time was over.
#[derive(Event)]
#[event(
    type = "session.expired",
    version = 1,
    name = "SessionExpired",
    audit = "SESSION_EXPIRED"
)]
pub struct SessionExpired {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub reason: ExpiredBy,
}

/// A security consequence.
#[derive(Event)]
#[event(
    type = "session.invalidated",
    version = 1,
    name = "SessionInvalidated",
    audit = "SESSION_INVALIDATED"
)]
pub struct SessionInvalidated {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub reason: InvalidatedBy,
}

/// It made room for a newer one.
#[derive(Event)]
#[event(
    type = "session.evicted",
    version = 1,
    name = "SessionEvicted",
    audit = "SESSION_EVICTED"
)]
pub struct SessionEvicted {
    pub session_id: SessionId,
    pub user_id: UserId,
    pub max_sessions: u32,
}

#[derive(Event)]
#[event(
    type = "token.issued",
    version = 1,
    name = "TokenIssued",
    audit = "TOKEN_ISSUED"
)]
pub struct TokenIssued {
    pub token_id: TokenId,
    pub user_id: UserId,
    pub family_id: FamilyId,
    pub token_type: Code,
    pub scopes: Vec<String>,
    pub client_id: Option<String>,
    pub expires_at: Time,
}

/// A refresh token was handed in. Those of an ended session are worth nothing either, and are not told one by one.
#[derive(Event)]
#[event(
    type = "token.revoked",
    version = 1,
    name = "TokenRevoked",
    audit = "TOKEN_REVOKED"
)]
pub struct TokenRevoked {
    pub token_id: TokenId,
    pub user_id: UserId,
    pub token_type: Code,
    pub revoked_by: Option<UserId>,
    pub revocation_reason: Code,
}

#[derive(Event)]
#[event(
    type = "token.family_revoked",
    version = 1,
    name = "TokenFamilyRevoked",
    audit = "TOKEN_FAMILY_REVOKED"
)]
pub struct TokenFamilyRevoked {
    pub family_id: FamilyId,
    pub user_id: UserId,
    pub revocation_reason: Code,
    pub member_count: u32,
}

/// A refresh token was presented again, and not as an honest retry.
#[derive(Event)]
#[event(
    type = "token.reuse_detected",
    version = 1,
    name = "TokenReuseDetected",
    audit = "TOKEN_REUSE_DETECTED"
)]
pub struct TokenReuseDetected {
    pub family_id: FamilyId,
    pub user_id: UserId,
    pub token_id: TokenId,
    pub generation: u32,
}

#[derive(Event)]
#[event(
    type = "token.rejected_due_to_rotation",
    version = 1,
    name = "TokenRejectedDueToRotation",
    audit = "TOKEN_REJECTED_VERSION_MISMATCH"
)]
pub struct TokenRejectedDueToRotation {
    pub user_id: Option<UserId>,
    pub token_version: u32,
    pub required_version: u32,
    pub rejection_reason: Code,
}

#[derive(Event)]
#[event(
    type = "device.registered",
    version = 1,
    name = "DeviceRegistered",
    audit = "DEVICE_REGISTERED"
)]
pub struct DeviceRegistered {
    pub device_id: DeviceId,
    pub user_id: UserId,
    pub device_name: String,
    pub device_type: Code,
    pub device_fingerprint: Fingerprint,
    pub trusted: bool,
}

/// A keyed digest of what a device says of itself, as hex. It recognises; it proves nothing.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "digest"))]
pub struct Fingerprint(pub String);

/// Somebody asked for another address, which is asked now whether it is theirs. The attempt names the address.
#[derive(Event)]
#[event(
    type = "user.email_change_requested",
    version = 1,
    name = "EmailChangeRequested",
    audit = "EMAIL_CHANGE_REQUESTED"
)]
pub struct EmailChangeRequested {
    pub user_id: UserId,
    pub token_id: TokenId,
}

#[derive(Event)]
#[event(
    type = "email.delivered",
    version = 1,
    name = "EmailDelivered",
    audit = "EMAIL_DELIVERED"
)]
pub struct EmailDelivered {
    pub user_id: Option<UserId>,
    pub template: Code,
    pub message_id: String,
}

/// The mail server refused it for good.
#[derive(Event)]
#[event(
    type = "email.delivery_failed",
    version = 1,
    name = "EmailDeliveryFailed",
    audit = "EMAIL_DELIVERY_FAILED"
)]
pub struct EmailDeliveryFailed {
    pub user_id: Option<UserId>,
    pub template: Code,
    pub error_class: Code,
}

/// An operator read or exported audit data or personal data: access to the trail is itself in the trail.
#[derive(Event)]
#[event(
    type = "audit.log_created",
    version = 1,
    name = "AuditLogCreated",
    audit = "AUDIT_LOG_CREATED"
)]
pub struct AuditLogCreated {
    pub audit_id: Uuid,
    pub action: Code,
    pub resource_type: Code,
    pub resource_id: Option<String>,
    pub actor_id: Option<UserId>,
    /// Whom it was about.
    pub user_id: Option<UserId>,
}

/// Requests were refused before any workflow heard of them. They are counted for a minute, so that a flood of them does not
/// fill the log.
#[derive(Event)]
#[event(
    type = "admission.requests_rejected",
    version = 1,
    name = "RequestsRejected",
    audit = "REQUESTS_REJECTED"
)]
pub struct RequestsRejected {
    /// As the API's description has it; `page` for the pages, `none` for what is not there, `others` for several together.
    pub route: String,
    /// The code of the answers.
    pub cause: Code,
    pub count: u32,
    /// IPv4 addresses and IPv6 networks (/64), estimated.
    pub sources: u32,
    pub since: Time,
}

/// Nothing is sent to it any more, until somebody enables it.
#[derive(Event)]
#[event(
    type = "webhook.endpoint_disabled",
    version = 1,
    name = "WebhookEndpointDisabled",
    audit = "WEBHOOK_ENDPOINT_DISABLED"
)]
pub struct WebhookEndpointDisabled {
    pub endpoint_id: EndpointId,
    /// `operator`, `gone` (it answered 410), `failing` (for days it did nothing else).
    pub reason: Code,
}
