//! The scribe: makes records of what handlers and the engine itself have to say.

use std::sync::Arc;

use super::decisions::Decider;
use super::machine::{Alert, DeadLetter};
use crate::catalogue::Catalogue;
use crate::clock::{Clock, Ids};
use crate::code::Code;
use crate::envelope::{Actor, Envelope, Key, Stored};
use crate::event::{Event, EventMeta};
use crate::events::{
    AuditCheckpointSealed, CircuitClosed, CircuitOpened, DeadLettersDiscarded, DeadLettersRedriven,
    Digest, EventDeadLettered, SubscriptionExpired,
};
use crate::fault::Fault;
use crate::log::{Appender, Record};
use crate::seal::Vault;
use crate::subscriber::Fact;

/// The target of an alert that concerns all that a subscription calls.
const EVERYTHING: &str = "*";

pub(crate) struct Scribe {
    pub(super) appender: Arc<Appender>,
    pub(crate) catalogue: Arc<Catalogue>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) vault: Arc<dyn Vault>,
}

impl Scribe {
    /// Records of the facts that handling `cause` brought to light.
    pub(super) async fn facts(
        &self,
        cause: &Stored,
        facts: Vec<Fact>,
    ) -> Result<Vec<Record>, Fault> {
        let mut records = Vec::with_capacity(facts.len());
        for fact in facts {
            // Never a new key: where the old one was destroyed, the fields are not to be kept either.
            let key = match (&fact.body.personal, &cause.personal) {
                (Some(_), Some(sealed)) => self.vault.existing(&sealed.key).await?,
                _ => None,
            };
            let envelope = Envelope {
                subject: cause.envelope.subject.clone(),
                ..self.envelope(
                    &fact.meta,
                    cause,
                    fact.key.unwrap_or_else(|| cause.envelope.key.clone()),
                )
            };
            let record = self
                .appender
                .record(envelope, fact.body, None, key.as_deref());
            records.push(record);
        }
        Ok(records)
    }

    /// The record that an event was parked.
    pub(super) fn dead_letter(&self, subscription: &str, letter: &DeadLetter) -> Record {
        let dead = &letter.event.envelope;
        let event = EventDeadLettered {
            subscription: subscription.to_owned(),
            event_id: dead.id,
            event_type: dead.kind.clone(),
            attempts: letter.attempts,
            error_class: Code::new(letter.class.code()),
        };
        let key = Key::new("system", "delivery");
        let envelope = self.envelope(&EventDeadLettered::META, &letter.event, key);
        let body = event.encode().expect("strings and numbers are always JSON");
        self.appender.record(envelope, body, None, None)
    }

    /// The record of something that concerns a whole subscription.
    /// `calls` is its target.
    pub(super) fn alert(&self, subscription: &str, calls: &str, alert: &Alert) -> Record {
        match alert {
            Alert::Opened(failures) => self.opened(subscription, calls, *failures),
            Alert::Paused(lanes) => self.opened(subscription, EVERYTHING, *lanes),
            Alert::Closed => self.closed(subscription, calls),
            Alert::Resumed => self.closed(subscription, EVERYTHING),
            Alert::Expired { from, to, lost } => self.of_itself(&SubscriptionExpired {
                subscription: subscription.to_owned(),
                from: *from,
                to: *to,
                lost: *lost,
            }),
            Alert::Redriven { count, by } => {
                let event = DeadLettersRedriven {
                    subscription: subscription.to_owned(),
                    count: *count,
                    by: by.by,
                };
                self.decided(&event, by)
            }
            Alert::Discarded { count, by, reason } => {
                let event = DeadLettersDiscarded {
                    subscription: subscription.to_owned(),
                    count: *count,
                    by: by.by,
                    reason: reason.clone(),
                };
                self.decided(&event, by)
            }
        }
    }

    /// The record of what an operator decided, as a fact of the workflow.
    fn decided<E: Event>(&self, event: &E, by: &Decider) -> Record {
        let envelope = Envelope {
            workflow_id: by.workflow_id,
            correlation_id: by.correlation_id,
            causation_id: by.causation_id,
            ..self.own_envelope(&E::META)
        };
        let body = event.encode().expect("strings and numbers are always JSON");
        self.appender.record(envelope, body, None, None)
    }

    /// The record of a position that a key vouches for.
    pub(crate) fn checkpoint(&self, position: u64, head: &[u8; 32], key_id: &str) -> Record {
        self.of_itself(&AuditCheckpointSealed {
            position,
            head: Digest::of(head),
            key_id: key_id.to_owned(),
        })
    }

    fn opened(&self, subscription: &str, target: &str, failures: u32) -> Record {
        self.of_itself(&CircuitOpened {
            subscription: subscription.to_owned(),
            target: target.to_owned(),
            failures,
        })
    }

    fn closed(&self, subscription: &str, target: &str) -> Record {
        self.of_itself(&CircuitClosed {
            subscription: subscription.to_owned(),
            target: target.to_owned(),
        })
    }

    /// The record of an event without a cause in the log.
    pub(super) fn of_itself<E: Event>(&self, event: &E) -> Record {
        let envelope = self.own_envelope(&E::META);
        let body = event.encode().expect("strings and numbers are always JSON");
        self.appender.record(envelope, body, None, None)
    }

    fn own_envelope(&self, meta: &EventMeta) -> Envelope {
        let id = self.ids.next();
        Envelope {
            id,
            kind: meta.kind.to_owned(),
            version: meta.version,
            key: Key::new("system", "delivery"),
            priority: self.catalogue.class(meta).priority,
            time: self.clock.now(),
            workflow_id: id,
            correlation_id: id,
            causation_id: None,
            subject: None,
            actor: system(),
            request_id: None,
            traceparent: None,
        }
    }

    fn envelope(&self, meta: &EventMeta, cause: &Stored, key: Key) -> Envelope {
        let cause = &cause.envelope;
        Envelope {
            id: self.ids.next(),
            kind: meta.kind.to_owned(),
            version: meta.version,
            key,
            priority: self.catalogue.class(meta).priority,
            time: self.clock.now(),
            workflow_id: cause.workflow_id,
            correlation_id: cause.correlation_id,
            causation_id: Some(cause.id),
            subject: None,
            actor: system(),
            request_id: cause.request_id.clone(),
            traceparent: cause.traceparent.clone(),
        }
    }
}

fn system() -> Actor {
    Actor {
        kind: "system".into(),
        id: None,
    }
}
