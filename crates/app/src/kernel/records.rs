//! What becomes log rows: the events of a workflow in their envelopes, sealed, and the one transaction of its outcome.

use std::sync::Arc;

use quivive_delivery::log::Record;
use quivive_delivery::seal::{SealKey, Sealed};
use quivive_delivery::{
    Body, Context, Envelope, EventMeta, Fault, Key, Phase, Time, Transaction, Write,
};
use uuid::Uuid;

use super::attempt::Attempt;
use super::commit::{Commit, Pending, Role};
use super::cx::{Cx, Request};
use super::execute::Kernel;
use super::workflow::{Actor, Workflow};

/// The keys that seal what is personal: about the subject, and about where the actor was.
#[derive(Clone)]
pub(super) struct SealKeys {
    pub subject: Arc<dyn SealKey>,
    pub actor: Arc<dyn SealKey>,
}

/// What all events of one workflow share.
pub(super) struct Trail {
    pub key: Key,
    pub subject: Option<String>,
    pub request: Request,
    pub context: Context,
    /// The context sealed under the actor's key, for the events of this workflow.
    pub sealed: Option<Sealed>,
    pub keys: SealKeys,
    pub workflow_id: Uuid,
    pub attempted_id: Uuid,
}

/// What differs from one event of a workflow to the next.
pub(super) struct Place {
    pub id: Uuid,
    pub workflow_id: Uuid,
    /// Unless the request brought one.
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub actor: Actor,
    /// `None`: the key of the workflow's subject.
    pub key: Option<Key>,
}

impl Kernel {
    pub(super) async fn seal_keys(&self, cx: &Cx) -> Result<SealKeys, Fault> {
        let subject = self.vault.key(&cx.subject().vault_key(cx.now())).await?;
        let actor = match cx.request.actor.vault_key() {
            Some(name) if name != subject.name() => self.vault.key(&name).await?,
            _ => Arc::clone(&subject),
        };
        Ok(SealKeys { subject, actor })
    }

    pub(super) fn trail(&self, cx: &Cx, keys: SealKeys) -> Trail {
        let context = Context {
            ip: cx.request.ip.map(|ip| ip.to_string()),
            agent: cx.request.agent.clone(),
        };
        Trail {
            key: cx.subject().key(),
            subject: cx.subject().shown(),
            sealed: self
                .appender
                .context(&context, cx.workflow_id, keys.actor.as_ref()),
            context,
            request: cx.request.clone(),
            keys,
            workflow_id: cx.workflow_id,
            attempted_id: self.families.ids.next(),
        }
    }

    /// The record of the attempt itself.
    pub(super) fn record_of_attempt(
        &self,
        trail: &Trail,
        meta: EventMeta,
        body: Body,
        now: Time,
    ) -> Record {
        let place = Place {
            id: trail.attempted_id,
            workflow_id: trail.workflow_id,
            correlation_id: trail.workflow_id,
            causation_id: None,
            actor: trail.request.actor,
            key: None,
        };
        self.record(trail, &place, meta, body, now)
    }

    /// Makes the one transaction of an outcome: first the guard on the attempt, then the writes, then the events.
    pub(super) fn transaction<W: Workflow>(
        &self,
        cx: &Cx,
        attempt: &Attempt<W>,
        first: Write,
        outcome: Option<(EventMeta, Body)>,
        commit: Commit,
    ) -> Transaction {
        let mut transaction = Transaction::default();
        transaction.writes.push(first);
        transaction.writes.extend(commit.writes);
        if !commit.settled {
            transaction.writes.extend(attempt.give_back.clone());
        }
        let trail = &attempt.trail;
        let actor = commit.acted_by.map_or(trail.request.actor, Actor::User);
        let mut cause = trail.attempted_id;
        let own = (trail.workflow_id, trail.workflow_id);
        let mut automatic_id = trail.workflow_id;
        let place = |(workflow_id, correlation_id), cause, actor| Place {
            id: self.families.ids.next(),
            workflow_id,
            correlation_id,
            causation_id: Some(cause),
            actor,
            key: None,
        };
        let append = |transaction: &mut Transaction, meta, body, place: &Place| {
            let record = self.record(trail, place, meta, body, cx.now());
            transaction.records.push(record);
        };
        if let Some((meta, body)) = outcome {
            let place = place(own, cause, actor);
            append(&mut transaction, meta, body, &place);
            cause = place.id;
        }
        for Pending { meta, body, role } in commit.events {
            match role {
                Role::Fact(key) => {
                    let place = Place {
                        key,
                        ..place(own, cause, actor)
                    };
                    append(&mut transaction, meta, body, &place);
                }
                Role::Automatic => {
                    // A workflow of its own, so that several of a type may be in one commit; correlated with this one.
                    if meta.phase() == Phase::Attempted {
                        automatic_id = self.families.ids.next();
                    }
                    let ids = (automatic_id, trail.workflow_id);
                    let place = place(ids, cause, Actor::System);
                    append(&mut transaction, meta, body, &place);
                }
                Role::Concludes(open) => {
                    transaction
                        .writes
                        .push(self.attempts.close(open.workflow_id));
                    let ids = (open.workflow_id, open.workflow_id);
                    let place = place(ids, open.attempted_id, actor);
                    append(&mut transaction, meta, body, &place);
                }
            }
        }
        transaction
    }

    /// The context as the event at this place carries it: sealed once for the workflow, but for an event of another one.
    fn context(&self, trail: &Trail, place: &Place) -> Option<Sealed> {
        if place.workflow_id == trail.workflow_id {
            trail.sealed.clone()
        } else {
            let key = trail.keys.actor.as_ref();
            self.appender
                .context(&trail.context, place.workflow_id, key)
        }
    }

    /// Puts an event into its envelope and seals it.
    pub(super) fn record(
        &self,
        trail: &Trail,
        place: &Place,
        meta: EventMeta,
        body: Body,
        now: Time,
    ) -> Record {
        let envelope = Envelope {
            id: place.id,
            kind: meta.kind.to_owned(),
            version: meta.version,
            key: place.key.clone().unwrap_or_else(|| trail.key.clone()),
            priority: self.catalogue().class(&meta).priority,
            time: now,
            workflow_id: place.workflow_id,
            correlation_id: trail.request.correlation_id.unwrap_or(place.correlation_id),
            causation_id: place.causation_id,
            subject: trail.subject.clone(),
            actor: place.actor.envelope(),
            request_id: trail.request.request_id.clone(),
            traceparent: trail.request.traceparent.clone(),
        };
        let context = self.context(trail, place);
        self.appender
            .record(envelope, body, context, Some(trail.keys.subject.as_ref()))
    }
}
