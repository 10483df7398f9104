//! The log: the only way events are appended, and how they are read.
//!
//! A [`Record`] is a sealed event ready to be appended. It is made by an [`Appender`] alone, its fields are private, and
//! only a [`Transaction`] carries it into the log, so an event cannot be written apart from the state it describes.

use std::sync::Arc;

use uuid::Uuid;

use crate::clock::Time;
use crate::commit::Transaction;
use crate::envelope::{Context, Envelope, Stored};
use crate::event::Body;
use crate::fault::Fault;
use crate::seal::{SealKey, Sealed};
use crate::{BoxFuture, chain};

/// How far the log reaches. `position` is the last one given; 0 when the log is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub position: u64,
    pub epoch: u64,
    pub chain: [u8; 32],
}

/// What a durable commit got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The position of its first record; of the head when it had none. `None` where the store gives positions after the
    /// commit: then the head moves past it soon.
    pub first_position: Option<u64>,
}

/// Why a commit did not happen. Nothing of it is in the database.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The write with this index did not touch the rows it must.
    #[error("write {0} found the state changed")]
    Missed(usize),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The log and the state beside it.
pub trait Log: Send + Sync {
    /// Submits a commit **when called**; the future answers when it is durable. Commits that name the same passing row (an
    /// attempt and its outcome) are applied in the order of their submission, and so are those that name none, which the
    /// engine relies on. Of others, one that must come after another is submitted when the other was answered.
    fn commit(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>>;

    /// Events after `after`, oldest first, at most `limit`. Gap-free: what it skips does not exist.
    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Stored>, Fault>>;

    /// The head, and a signal when it moves. All up to it is durable and can be read. A store that gives positions in the
    /// commit moves it before it answers; another soon after.
    fn head(&self) -> tokio::sync::watch::Receiver<Head>;

    /// Waits until the head covers every commit that was answered before the call: for who shows the log to those who have just
    /// changed something. At once where a store gives positions in the commit.
    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Waits until the head covers every commit that any node was answered before the call; a fault where nobody can say.
    /// For who may not go by what is old. At once where one process has the log.
    fn confirmed(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The newest events after `after`, oldest first, at most `limit`, where they are all in memory; `None`: read them. What
    /// is here is durable, and what a read would find.
    fn fresh(&self, _after: u64, _limit: usize) -> Option<Vec<Arc<Stored>>> {
        None
    }
}

/// An event sealed and digested, ready for the log.
#[derive(Debug, Clone)]
pub struct Record {
    envelope: Envelope,
    context: Option<Sealed>,
    body: Vec<u8>,
    personal: Option<Sealed>,
    digest: [u8; 32],
}

impl Record {
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    pub fn context(&self) -> Option<&Sealed> {
        self.context.as_ref()
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub fn personal(&self) -> Option<&Sealed> {
        self.personal.as_ref()
    }

    /// As it lies in the log once it has its place there.
    pub fn stored(self, previous: &[u8; 32], position: u64, epoch: u64, at: Time) -> Stored {
        let chain = chain::link(previous, position, epoch, at.as_microsecond(), &self.digest);
        Stored {
            position,
            epoch,
            recorded_at: at,
            envelope: self.envelope,
            context: self.context,
            body: self.body,
            personal: self.personal,
            chain,
        }
    }
}

/// The right to make records. A product keeps it in one place (a test there greps for it).
#[derive(Debug)]
pub struct Appender(());

impl Appender {
    #[expect(clippy::new_without_default, reason = "claiming it must be visible")]
    pub fn new() -> Self {
        Self(())
    }

    /// Seals the context of a workflow, once for all its events.
    #[expect(clippy::unused_self, reason = "having one is the right to call it")]
    pub fn context(
        &self,
        context: &Context,
        workflow_id: Uuid,
        actor_key: &dyn SealKey,
    ) -> Option<Sealed> {
        if *context == Context::default() {
            return None;
        }
        let json = serde_json::to_vec(context).ok()?;
        Some(Sealed::under(actor_key, workflow_id, &json))
    }

    /// Seals the personal fields under `subject_key`, and digests the whole. `context` was sealed for the workflow that the
    /// envelope names.
    #[expect(clippy::unused_self, reason = "having one is the right to call it")]
    pub fn record(
        &self,
        envelope: Envelope,
        body: Body,
        context: Option<Sealed>,
        subject_key: Option<&dyn SealKey>,
    ) -> Record {
        // Without a key personal fields are dropped rather than written in clear.
        let personal = match (subject_key, body.personal) {
            (Some(key), Some(json)) => Some(Sealed::under(key, envelope.id, &json)),
            _ => None,
        };
        let digest = chain::digest(&envelope, context.as_ref(), &body.open, personal.as_ref());
        Record {
            envelope,
            context,
            body: body.open,
            personal,
            digest,
        }
    }
}
