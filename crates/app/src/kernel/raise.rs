//! Events of registered types: appended as facts of a service, all of a request in one commit.
//!
//! **Guarantee.** An event with a [`Once`] is appended once, however often and in however many requests at a time it is
//! handed over, for as long as its receipt is kept: the receipt's row is a guard of the commit.

use std::collections::HashMap;
use std::sync::Arc;

use quivive_delivery::seal::SealKey;
use quivive_delivery::{Body, CommitError, Context, EventMeta, Fault, Key, Time, Transaction};
use quivive_domain::UserId;
use uuid::Uuid;

use super::cx::Request;
use super::execute::Kernel;
use super::months::month_vault_key;
use super::records::{Place, SealKeys, Trail};
use super::workflow::account_vault_key;
use crate::ports::Receipt;

/// How often a request is tried when others hand over the same events meanwhile.
const MAX_TRIES: u32 = 3;

/// An event that fits its schema: see [`crate::custom_events::judge`].
#[derive(Debug, Clone)]
pub struct CustomEvent {
    pub(crate) meta: EventMeta,
    /// What it is ordered by; by nothing, when there is none.
    pub(crate) key: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) time: Time,
    pub(crate) body: Body,
    pub(crate) once: Option<Once>,
}

/// How a repetition is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// A digest of who hands it over and of the name that it has there.
    pub token: [u8; 32],
    /// A digest of what was handed over: with another it is no repetition but a mistake.
    pub content: [u8; 32],
}

/// An event that was appended, by this request or by one that this one repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    pub id: Uuid,
    pub kind: &'static str,
    pub version: u32,
}

/// Why nothing was appended.
#[derive(Debug)]
pub enum NotRaised {
    /// The event at this place was handed over before, with other content.
    Other(usize),
    /// Others kept handing over the same.
    Conflict,
    Fault(Fault),
}

impl From<Fault> for NotRaised {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Kernel {
    /// Appends events, in their order, in one commit, in a task that outlives the caller.
    pub async fn raise(
        self: &Arc<Self>,
        events: Vec<CustomEvent>,
        request: Request,
    ) -> Result<Vec<Raised>, NotRaised> {
        let kernel = Arc::clone(self);
        let run = async move { kernel.append(&events, &request).await };
        let task = self.tasks.spawn(run).await;
        task.unwrap_or_else(|_| {
            let broke = "the task that appends custom events broke".to_owned();
            Err(Fault::Internal(broke).into())
        })
    }

    async fn append(
        &self,
        events: &[CustomEvent],
        request: &Request,
    ) -> Result<Vec<Raised>, NotRaised> {
        // Nobody looks for receipts before one is in the way.
        let mut before = HashMap::new();
        for _ in 0..MAX_TRIES {
            let (transaction, raised) = self.transaction_of(events, request, &before).await?;
            if transaction.records.is_empty() {
                return Ok(raised);
            }
            match self.log.commit(transaction).await {
                Ok(_) => return Ok(raised),
                Err(CommitError::Missed(_)) => before = self.receipts(events).await?,
                Err(CommitError::Fault(fault)) => return Err(fault.into()),
            }
        }
        Err(NotRaised::Conflict)
    }

    /// The ids of those that were appended before, by their place.
    async fn receipts(&self, events: &[CustomEvent]) -> Result<HashMap<usize, Uuid>, NotRaised> {
        let mut before = HashMap::new();
        for (index, event) in events.iter().enumerate() {
            let Some(once) = event.once else { continue };
            let Some(receipt) = self.families.receipts.find(once.token).await? else {
                continue;
            };
            if receipt.content != once.content {
                return Err(NotRaised::Other(index));
            }
            before.insert(index, receipt.event_id);
        }
        Ok(before)
    }

    async fn transaction_of(
        &self,
        events: &[CustomEvent],
        request: &Request,
        before: &HashMap<usize, Uuid>,
    ) -> Result<(Transaction, Vec<Raised>), Fault> {
        let now = self.families.clock.now();
        let workflow_id = self.families.ids.next();
        let month = self.vault.key(&month_vault_key(now)).await?;
        let context = Context {
            ip: request.ip.map(|ip| ip.to_string()),
            agent: request.agent.clone(),
        };
        let mut trail = Trail {
            key: Key::new("custom", ""),
            subject: None,
            request: request.clone(),
            sealed: self.appender.context(&context, workflow_id, month.as_ref()),
            context,
            keys: SealKeys {
                subject: Arc::clone(&month),
                actor: Arc::clone(&month),
            },
            workflow_id,
            // There is no attempt, so no event has one as its cause.
            attempted_id: Uuid::nil(),
        };
        let (mut transaction, mut raised) = (Transaction::default(), Vec::new());
        for (index, event) in events.iter().enumerate() {
            let id = match before.get(&index) {
                Some(id) => *id,
                None => self.families.ids.next(),
            };
            raised.push(Raised {
                id,
                kind: event.meta.kind,
                version: event.meta.version,
            });
            if before.contains_key(&index) {
                continue;
            }
            if let Some(Once { token, content }) = event.once {
                let receipt = Receipt {
                    token,
                    content,
                    event_id: id,
                };
                transaction
                    .writes
                    .push(self.families.receipts.insert(&receipt, now));
            }
            trail.key = match &event.key {
                Some(key) => Key::new("custom", key),
                None => Key::new("custom", id),
            };
            trail.subject.clone_from(&event.subject);
            trail.keys.subject = self.key_of(event, &month).await?;
            let place = Place {
                id,
                workflow_id,
                correlation_id: workflow_id,
                causation_id: None,
                actor: request.actor,
                key: None,
            };
            let body = event.body.clone();
            let record = self.record(&trail, &place, event.meta, body, event.time);
            transaction.records.push(record);
        }
        Ok((transaction, raised))
    }

    /// What is personal about a user is sealed under the user's key, so that it goes with it; else under the month's.
    async fn key_of(
        &self,
        event: &CustomEvent,
        month: &Arc<dyn SealKey>,
    ) -> Result<Arc<dyn SealKey>, Fault> {
        let user = event
            .subject
            .as_deref()
            .and_then(|text| Uuid::try_parse(text).ok());
        if let (Some(id), Some(_)) = (user, &event.body.personal)
            && self.families.accounts.by_id(UserId(id)).await?.is_some()
        {
            return self.vault.key(&account_vault_key(id)).await;
        }
        Ok(Arc::clone(month))
    }
}
