//! What is shown of endpoints, attempts and recoveries.

use std::collections::BTreeMap;

use quivive_app::ports::{Attempt, Endpoint};
use quivive_app::webhooks::{Recovery, RecoveryState};
use quivive_app::workflows::webhooks::change_endpoint::Shown;
use quivive_delivery::Time;
use quivive_domain::webhook::{Disabled, Pattern};
use quivive_domain::{EndpointId, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

/// A webhook endpoint.
#[derive(Serialize, ToSchema)]
#[schema(as = Endpoint)]
pub(super) struct EndpointView {
    #[schema(value_type = String, format = "uuid")]
    id: EndpointId,
    #[schema(format = "uri")]
    url: String,
    description: String,
    /// None: all.
    events: Vec<String>,
    /// `none` or `key`.
    order: &'static str,
    /// That its messages have: `all`, `v1` or `v1a`.
    signatures: &'static str,
    /// `active` or `disabled`.
    state: &'static str,
    /// `operator`, `gone` (it answered 410) or `failing` (for five days it did nothing else).
    #[schema(value_type = Option<String>, required)]
    disabled_reason: Option<&'static str>,
    /// Since when it took no message, as of about a second ago.
    #[schema(value_type = Option<String>, format = "date-time", required)]
    failing_since: Option<Time>,
    /// In which version of its data each type is sent.
    #[schema(value_type = Object)]
    schema_versions: BTreeMap<String, u32>,
    #[schema(value_type = Option<String>, format = "uuid", required)]
    created_by: Option<UserId>,
    #[schema(value_type = String, format = "date-time")]
    created_at: Time,
    #[schema(value_type = String, format = "date-time")]
    updated_at: Time,
}

impl From<Endpoint> for EndpointView {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id,
            url: endpoint.target.as_str().to_owned(),
            description: endpoint.description,
            events: endpoint
                .events
                .iter()
                .map(Pattern::as_str)
                .map(str::to_owned)
                .collect(),
            order: endpoint.order.as_str(),
            signatures: endpoint.signatures.as_str(),
            state: match endpoint.disabled {
                None => "active",
                Some(_) => "disabled",
            },
            disabled_reason: endpoint.disabled.map(Disabled::as_str),
            failing_since: endpoint.failing_since,
            schema_versions: endpoint.versions,
            created_by: endpoint.created_by,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Endpoints)]
pub(super) struct EndpointViews {
    pub(super) data: Vec<EndpointView>,
}

/// An endpoint and how it is doing.
#[derive(Serialize, ToSchema)]
pub(super) struct EndpointDetail {
    #[serde(flatten)]
    pub(super) endpoint: EndpointView,
    /// Nothing is sent: it is disabled, or messages failed in such numbers that they are held back until it is enabled.
    pub(super) paused: bool,
    /// What `v1a` signatures are verified with, newest first; two for a day after a rotation.
    pub(super) public_keys: Vec<String>,
    /// The last one.
    #[schema(required)]
    pub(super) recovery: Option<RecoveryView>,
}

/// A secret, told once.
#[derive(Serialize, ToSchema)]
pub(super) struct NewSecret {
    /// What `v1` signatures are verified with.
    #[schema(value_type = String, example = "whsec_…")]
    #[serde(serialize_with = "told")]
    secret: SecretString,
    /// What `v1a` signatures are verified with.
    #[schema(example = "whpk_…")]
    public_key: String,
}

impl From<Shown> for NewSecret {
    fn from(shown: Shown) -> Self {
        Self {
            secret: shown.secret,
            public_key: shown.public_key,
        }
    }
}

/// An endpoint that was registered.
#[derive(Serialize, ToSchema)]
pub(super) struct NewEndpoint {
    #[serde(flatten)]
    endpoint: EndpointView,
    #[serde(flatten)]
    shown: NewSecret,
}

impl NewEndpoint {
    pub(super) fn new(endpoint: EndpointView, shown: Shown) -> Self {
        Self {
            endpoint,
            shown: shown.into(),
        }
    }
}

fn told<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

/// One try to post a message.
#[derive(Serialize, ToSchema)]
#[schema(as = Attempt)]
pub(super) struct AttemptView {
    /// The message's `webhook-id`: the id of its event.
    #[schema(value_type = String, format = "uuid")]
    event_id: Uuid,
    event_type: String,
    /// From 1; 0 for a test.
    attempt: u32,
    #[schema(value_type = String, format = "date-time")]
    at: Time,
    latency_ms: u32,
    /// What it answered, if it did.
    #[schema(required)]
    status: Option<u32>,
    /// Why it does not count as taken.
    #[schema(required)]
    error: Option<String>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            event_id: attempt.event_id,
            event_type: attempt.event_type,
            attempt: attempt.number,
            at: attempt.at,
            latency_ms: attempt.latency_ms,
            status: attempt.status,
            error: attempt.error,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Attempts)]
pub(super) struct AttemptViews {
    pub(super) data: Vec<AttemptView>,
}

/// How far a recovery is.
#[derive(Serialize, ToSchema)]
#[schema(as = Recovery)]
pub(super) struct RecoveryView {
    /// `running`, `paused` (nothing is sent to the endpoint until it is enabled) or `done`.
    state: &'static str,
    /// Positions of the log: it looks at those after the first and up to the second, and has come to the third.
    after: u64,
    upto: u64,
    position: u64,
    /// Messages that were taken.
    sent: u64,
    /// Accounts, or messages where no order is kept, that are tried again later.
    retrying: usize,
    /// Those that are dead letters: it is not done before it is decided about them.
    parked: usize,
}

impl From<Recovery> for RecoveryView {
    fn from(recovery: Recovery) -> Self {
        Self {
            state: match recovery.state {
                RecoveryState::Running => "running",
                RecoveryState::Done => "done",
                RecoveryState::Paused => "paused",
            },
            after: recovery.after,
            upto: recovery.upto,
            position: recovery.position,
            sent: recovery.sent,
            retrying: recovery.retrying,
            parked: recovery.parked,
        }
    }
}
