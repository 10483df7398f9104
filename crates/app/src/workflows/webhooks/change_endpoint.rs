//! An administrator registers, changes, stops or removes a webhook endpoint; or the server stops one that is gone or only
//! fails. What asks it for something without changing it, a test or a recovery, is here too, for the sake of the trail.
//!
//! The state changes here; the subscription that goes with it is the `webhooks` subscriber's part.

use std::collections::BTreeMap;

use quivive_delivery::Code;
use quivive_delivery::engine::Declined;
use quivive_domain::EndpointId;
use quivive_domain::webhook::{
    Disabled, OVERLAP, Order, Pattern, Refused, Signatures, SigningKeys, Target,
};
use secrecy::SecretString;

use crate::facts::WebhookEndpointDisabled;
use crate::ports::{CallError, Endpoint, Positions};
use crate::step_up::{Denied, Proven, operated};
use crate::webhooks::{self, Wanted};
use crate::workflows::prelude::*;

/// Endpoints in all. Each is a subscription: a few kilobytes of memory, and a row that is written now and then.
pub const MAX_ENDPOINTS: u32 = 1_000;

pub struct ChangeEndpoint {
    /// Of one that is to be, a fresh one.
    pub endpoint: EndpointId,
    pub change: Change,
    /// The administrator who asks. `None`: the server itself.
    pub by: Option<Proven>,
}

pub enum Change {
    Create(Draft),
    Update(Edit),
    Enable,
    Disable(Disabled),
    Delete,
    RotateSecret,
    /// Nothing is changed: a message is sent apart from the others.
    Test,
    /// Nothing is changed: what was sent is sent again, from one position to another.
    Recover(Positions),
}

/// An endpoint to be.
pub struct Draft {
    pub url: String,
    pub description: String,
    pub wanted: Wanted,
    pub order: Order,
    pub signatures: Signatures,
}

/// What becomes different.
#[derive(Default)]
pub struct Edit {
    pub url: Option<String>,
    pub description: Option<String>,
    pub wanted: Option<Wanted>,
    pub signatures: Option<Signatures>,
    /// Only if it is one of these now.
    pub revisions: Option<Vec<u32>>,
}

impl Change {
    pub(crate) fn action(&self) -> Code {
        Code::new(match self {
            Self::Create(_) => "create",
            Self::Update(_) => "update",
            Self::Enable => "enable",
            Self::Disable(_) => "disable",
            Self::Delete => "delete",
            Self::RotateSecret => "rotate_secret",
            Self::Test => "test",
            Self::Recover(_) => "recover",
        })
    }
}

#[derive(Event)]
#[event(
    type = "webhook.endpoint_change.attempted",
    version = 1,
    name = "WebhookEndpointChangeAttempted",
    audit = "WEBHOOK_ENDPOINT_CHANGE_ATTEMPTED"
)]
pub struct Attempted {
    pub endpoint_id: EndpointId,
    pub action: Code,
}

#[derive(Event)]
#[event(
    type = "webhook.endpoint_change.succeeded",
    version = 1,
    name = "WebhookEndpointChangeSucceeded",
    audit = "WEBHOOK_ENDPOINT_CHANGE_SUCCEEDED"
)]
pub struct Succeeded {
    pub endpoint_id: EndpointId,
    pub action: Code,
}

#[derive(Event)]
#[event(
    type = "webhook.endpoint_change.failed",
    version = 1,
    name = "WebhookEndpointChangeFailed",
    audit = "WEBHOOK_ENDPOINT_CHANGE_FAILED"
)]
pub struct Failed {
    pub endpoint_id: EndpointId,
    pub action: Code,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    InvalidUrl,
    PrivateAddress,
    /// Its name has no address now, so that nobody can say whether it may be called.
    Unresolved,
    Forbidden,
    StepUpRequired,
    NotFound,
    /// It is not what the edit was made of any more.
    Changed,
    TooMany,
    /// An earlier recovery is under way.
    RecoveryRunning,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

/// What an endpoint's owner is told once.
pub struct Shown {
    pub secret: SecretString,
    pub public_key: String,
}

pub struct Reply {
    /// As it is now, where there still is one.
    pub endpoint: Option<Endpoint>,
    pub shown: Option<Shown>,
}

impl Workflow for ChangeEndpoint {
    const NAME: &'static str = "webhook_endpoint_change";
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
            endpoint_id: self.endpoint,
            action: self.change.action(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            endpoint_id: attempted.endpoint_id,
            action: attempted.action.clone(),
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let mut commit = match operated(cx, self.by).await? {
            Ok(commit) => commit,
            Err(denied) => return refuse(denied.into()),
        };
        let (endpoint, shown) = match &self.change {
            Change::Create(draft) => match self.create(cx, draft, &mut commit).await? {
                Ok((endpoint, shown)) => (Some(endpoint), Some(shown)),
                Err(refusal) => return refuse(refusal),
            },
            change => {
                let Some(endpoint) = cx.webhooks.endpoint(self.endpoint).await? else {
                    return refuse(Refusal::NotFound);
                };
                match apply(cx, change, endpoint, &mut commit).await? {
                    Ok(changed) => changed,
                    Err(refusal) => return refuse(refusal),
                }
            }
        };
        let succeeded = Succeeded {
            endpoint_id: self.endpoint,
            action: self.change.action(),
        };
        succeed(commit, succeeded, Reply { endpoint, shown })
    }
}

impl ChangeEndpoint {
    async fn create(
        &self,
        cx: &Cx,
        draft: &Draft,
        commit: &mut Commit,
    ) -> Result<Result<(Endpoint, Shown), Refusal>, Fault> {
        if cx.webhooks.endpoints().await?.len() >= MAX_ENDPOINTS as usize {
            return Ok(Err(Refusal::TooMany));
        }
        let target = match callable(cx, &draft.url).await {
            Ok(target) => target,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let endpoint = Endpoint {
            id: self.endpoint,
            target,
            description: draft.description.clone(),
            events: draft.wanted.events.clone(),
            order: draft.order,
            signatures: draft.signatures,
            disabled: None,
            failing_since: None,
            versions: draft.wanted.versions.clone(),
            created_by: self.by.map(|proven| proven.user),
            created_at: cx.now(),
            updated_at: cx.now(),
            revision: 1,
        };
        commit.write_all(cx.webhooks.insert_endpoint(&endpoint, MAX_ENDPOINTS));
        let shown = new_secret(cx, endpoint.id, commit).await?;
        Ok(Ok((endpoint, shown)))
    }
}

type Applied = Result<(Option<Endpoint>, Option<Shown>), Refusal>;

/// What a change makes of an endpoint that there is.
async fn apply(
    cx: &Cx,
    change: &Change,
    endpoint: Endpoint,
    commit: &mut Commit,
) -> Result<Applied, Fault> {
    match change {
        Change::Update(edit) => match edited(cx, edit, endpoint).await {
            Ok(endpoint) => Ok(Ok((Some(written(cx, endpoint, commit)), None))),
            Err(refusal) => Ok(Err(refusal)),
        },
        Change::Enable => {
            commit.write(cx.webhooks.note_failing(endpoint.id, None));
            let enabled = Endpoint {
                disabled: None,
                failing_since: None,
                ..endpoint
            };
            Ok(Ok((Some(written(cx, enabled, commit)), None)))
        }
        Change::Disable(reason) => {
            if endpoint.disabled.is_none() {
                commit.fact(&WebhookEndpointDisabled {
                    endpoint_id: endpoint.id,
                    reason: Code::new(reason.as_str()),
                });
            }
            let disabled = Endpoint {
                disabled: endpoint.disabled.or(Some(*reason)),
                ..endpoint
            };
            Ok(Ok((Some(written(cx, disabled, commit)), None)))
        }
        Change::Delete => {
            commit.write_all(cx.webhooks.delete_endpoint(endpoint.id));
            Ok(Ok((None, None)))
        }
        Change::RotateSecret => {
            let until = cx.now() + OVERLAP;
            commit.write_all(cx.webhooks.retire_secrets(endpoint.id, until));
            let shown = new_secret(cx, endpoint.id, commit).await?;
            Ok(Ok((Some(written(cx, endpoint, commit)), Some(shown))))
        }
        Change::Recover(range) => match recover(cx, endpoint.id, *range).await {
            Ok(()) => {
                // It is done: nobody decides about it again.
                *commit = Commit::default();
                Ok(Ok((Some(endpoint), None)))
            }
            Err(Declined::NotFound) => Ok(Err(Refusal::NotFound)),
            Err(Declined::WrongState) => Ok(Err(Refusal::RecoveryRunning)),
            Err(Declined::Fault(fault)) => Err(fault),
        },
        // An endpoint is created where there is none: not here.
        Change::Test | Change::Create(_) => Ok(Ok((Some(endpoint), None))),
    }
}

/// Has the endpoint's subscription replayed, in a commit of the engine's: it is its state. Where the range is empty there
/// is nothing to do.
async fn recover(cx: &Cx, id: EndpointId, range: Positions) -> Result<(), Declined> {
    if range.from > range.to {
        return Ok(());
    }
    let name = webhooks::name_of(id);
    let begin = cx.webhooks.begin_recovery(id, &name);
    let replay = cx
        .deliveries
        .replay(&name, range, vec![begin], cx.decider());
    replay.await.map(drop)
}

async fn edited(cx: &Cx, edit: &Edit, endpoint: Endpoint) -> Result<Endpoint, Refusal> {
    let meant = |revisions: &Vec<u32>| revisions.contains(&endpoint.revision);
    if !edit.revisions.as_ref().is_none_or(meant) {
        return Err(Refusal::Changed);
    }
    let target = match &edit.url {
        Some(url) => callable(cx, url).await?,
        None => endpoint.target,
    };
    let (events, versions): (Vec<Pattern>, BTreeMap<String, u32>) = match &edit.wanted {
        Some(wanted) => (wanted.events.clone(), wanted.versions.clone()),
        None => (endpoint.events, endpoint.versions),
    };
    let description = edit.description.clone().unwrap_or(endpoint.description);
    let signatures = edit.signatures.unwrap_or(endpoint.signatures);
    Ok(Endpoint {
        target,
        description,
        events,
        signatures,
        versions,
        ..endpoint
    })
}

/// Writes it, and says how it is then.
fn written(cx: &Cx, endpoint: Endpoint, commit: &mut Commit) -> Endpoint {
    let endpoint = Endpoint {
        updated_at: cx.now(),
        ..endpoint
    };
    commit.write(cx.webhooks.update_endpoint(&endpoint));
    Endpoint {
        revision: endpoint.revision + 1,
        ..endpoint
    }
}

/// The target of a URL that may be called, by the addresses that it has now. They are looked at again at each call.
async fn callable(cx: &Cx, url: &str) -> Result<Target, Refusal> {
    let target = Target::parse(url).map_err(|_| Refusal::InvalidUrl)?;
    match cx.outlet.admits(&target).await {
        Ok(()) => Ok(target),
        Err(CallError::Refused(Refused::Private)) => Err(Refusal::PrivateAddress),
        Err(CallError::Refused(Refused::Port | Refused::Plain)) => Err(Refusal::InvalidUrl),
        Err(_) => Err(Refusal::Unresolved),
    }
}

async fn new_secret(cx: &Cx, endpoint: EndpointId, commit: &mut Commit) -> Result<Shown, Fault> {
    let (keys, stored) = webhooks::fresh_secret(cx, endpoint, cx.now()).await?;
    commit.write(cx.webhooks.insert_secret(&stored));
    Ok(Shown {
        secret: keys.secret(),
        public_key: SigningKeys::public_key(&stored.public_key),
    })
}

#[cfg(test)]
mod tests;
