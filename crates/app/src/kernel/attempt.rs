//! One attempt under way, and how far its own commit has got.

use std::future::poll_fn;
use std::pin::pin;

use quivive_delivery::{BoxFuture, CommitError, Committed, Log, Transaction, Write};

use super::execute::Failure;
use super::records::Trail;
use super::workflow::Workflow;

/// Submitted, perhaps not yet durable.
type Submitted = BoxFuture<'static, Result<Committed, CommitError>>;

/// How far an attempt's own commit has got.
pub(super) enum Progress {
    /// Held back, so that it can go into the log together with an outcome that is there at once.
    Held(Transaction),
    Submitted(Submitted),
    Durable,
}

/// An attempt under way.
pub(super) struct Attempt<W: Workflow> {
    pub trail: Trail,
    pub event: W::Attempted,
    /// Gives back the place of the reserved guess.
    pub give_back: Option<Write>,
    pub progress: Progress,
}

impl<W: Workflow> Attempt<W> {
    /// Submits it, if it was not yet: whatever is submitted after this is applied after it.
    pub(super) fn submit(&mut self, log: &dyn Log) {
        if let Progress::Held(transaction) = &mut self.progress {
            let transaction = std::mem::take(transaction);
            self.progress = Progress::Submitted(log.commit(transaction));
        }
    }

    /// Waits until it is durable.
    pub(super) async fn durable(&mut self, log: &dyn Log) -> Result<(), CommitError> {
        self.submit(log);
        match std::mem::replace(&mut self.progress, Progress::Durable) {
            Progress::Submitted(submitted) => submitted.await.map(|_| ()),
            Progress::Held(_) | Progress::Durable => Ok(()),
        }
    }

    /// Does the work, and submits the attempt as soon as the work waits for anything.
    pub(super) async fn beside<T>(&mut self, log: &dyn Log, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|task| {
            let polled = work.as_mut().poll(task);
            if polled.is_pending() {
                self.submit(log);
            }
            polled
        })
        .await
    }

    /// Why the guard on the open attempt missed: the attempt itself was never written, or another closed it.
    pub(super) async fn why_closed<R>(&mut self, log: &dyn Log) -> Failure<R> {
        match self.durable(log).await {
            Ok(()) => Failure::Closed,
            Err(CommitError::Fault(fault)) => Failure::Fault(fault),
            Err(CommitError::Missed(_)) => Failure::Internal,
        }
    }
}
