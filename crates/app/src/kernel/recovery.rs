//! Closing what a crash or a deadline left open: each abandoned attempt gets its Failed, once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::seal;
use quivive_delivery::{
    Body, CommitError, Context, DecodeError, Event, EventMeta, Fault, Stored, Transaction,
};
use serde_json::Value as Json;

use super::cx::Request;
use super::execute::Kernel;
use super::months::{month, month_vault_key, oldest_kept};
use super::records::{Place, SealKeys, Trail};
use super::workflow::{Actor, Reason, Subject, Workflow};
use crate::accounts::unverified;
use crate::ports::OpenAttempt;
use crate::sessions::expiry;
use crate::{custom_events, guesses, idempotency};

/// How often the sweeper looks. Nothing waits for it but attempts past their deadline.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// Events read at once while looking for an attempt's event.
const SCAN: usize = 512;

/// Builds the Failed event of a workflow from the stored version and fields of its Attempted.
type Close = fn(u32, &Body, &Subject, Reason) -> Result<(EventMeta, Body), DecodeError>;

/// How to close an attempt of one type.
#[derive(Clone, Copy)]
pub(crate) struct Closer {
    expired: &'static str,
    close: Close,
}

pub(crate) type Closers = HashMap<&'static str, Closer>;

pub(crate) fn closer<W: Workflow>() -> (&'static str, Closer) {
    let close = |version: u32, body: &Body, subject: &Subject, reason: Reason| {
        let body = W::Attempted::upcast(version, body)?;
        let attempted = match W::Attempted::decode(&body) {
            Err(DecodeError::Erased) => W::Attempted::decode(&Body {
                open: body.open.clone(),
                personal: Some(nothing_personal::<W::Attempted>()?),
            })?,
            decoded => decoded?,
        };
        let failed = W::failed(&attempted, subject, reason);
        Ok((W::Failed::META, failed.encode()?))
    };
    let closer = Closer {
        expired: W::EXPIRED,
        close,
    };
    (W::Attempted::META.kind, closer)
}

/// In place of the personal fields of somebody who was erased: nothing where a field may be nothing, else an empty text.
fn nothing_personal<E: Event>() -> Result<Vec<u8>, serde_json::Error> {
    let fields = E::fields(&mut schemars::SchemaGenerator::default());
    let personal = fields.into_iter().filter(|field| field.personal);
    let nothing = personal.map(|field| {
        let text = (!field.optional).then(String::new);
        (field.name.to_owned(), Json::from(text))
    });
    serde_json::to_vec(&nothing.collect::<serde_json::Map<_, _>>())
}

/// What one sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    pub interrupted: u32,
    pub expired: u32,
}

impl Kernel {
    /// Closes every abandoned attempt. Called before the server is ready, then from time to time.
    pub async fn recover(&self) -> Result<Recovered, Fault> {
        let now = self.families.clock.now();
        let mut recovered = Recovered::default();
        if crate::mutants::on("no_recovery") {
            return Ok(recovered);
        }
        for open in self.attempts.abandoned(self.node, now).await? {
            match self.close_abandoned(&open).await {
                Ok(true) if open.waiting => recovered.expired += 1,
                Ok(true) => recovered.interrupted += 1,
                Ok(false) => {}
                Err(
                    fault @ (Fault::Stopped(_)
                    | Fault::Unreachable(_)
                    | Fault::NoSpace
                    | Fault::Busy { .. }),
                ) => return Err(fault),
                Err(fault) => tracing::error!(
                    workflow_id = %open.workflow_id, kind = open.kind, %fault,
                    "an open attempt cannot be closed"
                ),
            }
        }
        Ok(recovered)
    }

    /// Runs [`Kernel::tidy`] from time to time until the server stops.
    pub fn sweep(self: &Arc<Self>) {
        let kernel = Arc::clone(self);
        let stopping = self.tasks.stopping();
        drop(self.tasks.spawn(async move {
            let mut kept_since = None;
            while stopping
                .run_until_cancelled(tokio::time::sleep(SWEEP_EVERY))
                .await
                .is_some()
            {
                kernel.tidy(&mut kept_since).await;
            }
        }));
    }

    /// One sweep: closes abandoned attempts, and takes away what is over. What fails is logged, and left to the next one.
    /// `kept_since` is the oldest month whose key was kept the last time, `None` at first.
    pub async fn tidy(self: &Arc<Self>, kept_since: &mut Option<String>) {
        if let Err(fault) = self.recover().await {
            tracing::warn!(%fault, "open attempts were not swept; trying again");
        }
        let log = self.log.as_ref();
        if let Err(fault) = custom_events::forget_receipts(&self.families, log).await {
            tracing::warn!(%fault, "receipts of custom events were not forgotten; trying again");
        }
        if let Err(fault) = idempotency::forget(&self.families, log).await {
            tracing::warn!(%fault, "answers that were kept were not forgotten; trying again");
        }
        let kept = Some(month(oldest_kept(self.families.clock.now())));
        if *kept_since != kept {
            match self.forget_months().await {
                Ok(_) => *kept_since = kept,
                Err(fault) => {
                    tracing::warn!(%fault, "keys of months that are over were not destroyed; trying again");
                }
            }
        }
        if let Err(fault) = expiry::expire(self).await {
            tracing::warn!(%fault, "sessions whose time is over were not ended; trying again");
        }
        if let Err(fault) = unverified::expire(self).await {
            tracing::warn!(%fault, "accounts that were never verified were not erased; trying again");
        }
        if let Err(fault) = guesses::forget_strangers(&self.families, log).await {
            tracing::warn!(%fault, "guesses at no account were not forgotten; trying again");
        }
    }

    /// Whether it was this call that closed it.
    async fn close_abandoned(&self, open: &OpenAttempt) -> Result<bool, Fault> {
        let closer = self
            .closers
            .get(open.kind.as_str())
            .ok_or_else(|| Fault::Internal(format!("no workflow attempts {}", open.kind)))?;
        let stored = self.find_attempted(open).await?;
        let subject = Subject::of_key(&stored.envelope.key);
        let personal = seal::personal(self.vault.as_ref(), &stored).await?;
        let context = seal::context(self.vault.as_ref(), &stored).await?;
        let body = stored.fields(personal);
        let reason = if open.waiting {
            closer.expired
        } else {
            "interrupted"
        };
        let version = stored.envelope.version;
        let (meta, body) = (closer.close)(version, &body, &subject, Reason::new(reason))
            .map_err(Fault::internal)?;
        let record = self
            .closing_record(&stored, subject, context, meta, body)
            .await?;
        let transaction = Transaction {
            writes: vec![self.attempts.close(open.workflow_id)],
            records: vec![record],
        };
        match self.log.commit(transaction).await {
            Ok(_) => Ok(true),
            Err(CommitError::Missed(_)) => Ok(false),
            Err(CommitError::Fault(fault)) => Err(fault),
        }
    }

    async fn find_attempted(&self, open: &OpenAttempt) -> Result<Stored, Fault> {
        let mut after = open.after;
        loop {
            let events = self.log.read(after, SCAN).await?;
            let Some(last) = events.last() else {
                return Err(Fault::Internal(format!(
                    "the event {} of an open attempt is not in the log",
                    open.attempted_id
                )));
            };
            after = last.position;
            if let Some(found) = events
                .into_iter()
                .find(|e| e.envelope.id == open.attempted_id)
            {
                return Ok(found);
            }
        }
    }

    /// The closing event keeps the attempt's key, request and place; the system is its actor. A key that was destroyed is
    /// not made again: then it is sealed under the month's.
    async fn closing_record(
        &self,
        stored: &Stored,
        subject: Subject,
        context: Context,
        meta: EventMeta,
        body: Body,
    ) -> Result<quivive_delivery::log::Record, Fault> {
        let now = self.families.clock.now();
        let name = match (&stored.personal, &stored.context) {
            (Some(sealed), _) | (None, Some(sealed)) => sealed.key.clone(),
            (None, None) => subject.vault_key(now),
        };
        let key = match self.vault.existing(&name).await? {
            Some(key) => key,
            None => self.vault.key(&month_vault_key(now)).await?,
        };
        let trail = Trail {
            key: stored.envelope.key.clone(),
            subject: stored.envelope.subject.clone(),
            request: Request {
                request_id: stored.envelope.request_id.clone(),
                traceparent: stored.envelope.traceparent.clone(),
                correlation_id: Some(stored.envelope.correlation_id),
                ..Request::system()
            },
            sealed: self
                .appender
                .context(&context, stored.envelope.workflow_id, key.as_ref()),
            context,
            keys: SealKeys {
                subject: Arc::clone(&key),
                actor: key,
            },
            workflow_id: stored.envelope.workflow_id,
            attempted_id: stored.envelope.id,
        };
        let place = Place {
            id: self.families.ids.next(),
            workflow_id: trail.workflow_id,
            correlation_id: trail.workflow_id,
            causation_id: Some(trail.attempted_id),
            actor: Actor::System,
            key: None,
        };
        Ok(self.record(&trail, &place, meta, body, now))
    }
}
