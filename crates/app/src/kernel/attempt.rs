//! One attempt under way, and how far its own commit has got.

use std::future::poll_fn;
use std::pin::pin;

use futures_util::FutureExt as _;
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
    /// It was not let in: nothing of it is or will be in the log.
    Refused(CommitError),
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
    /// Submits it, if it was not yet: whatever is submitted after this is applied after it. Where it was not let in, neither
    /// may its outcome be: that could only miss, and would take a place from those that were.
    pub(super) fn submit(&mut self, log: &dyn Log) -> Result<(), CommitError> {
        if let Progress::Held(transaction) = &mut self.progress {
            let mut submitted = log.commit(std::mem::take(transaction));
            self.progress = match (&mut submitted).now_or_never() {
                None => Progress::Submitted(submitted),
                Some(Ok(_)) => Progress::Durable,
                Some(Err(error)) => Progress::Refused(error),
            };
        }
        match &self.progress {
            Progress::Refused(error) => Err(error.clone()),
            Progress::Held(_) | Progress::Submitted(_) | Progress::Durable => Ok(()),
        }
    }

    /// Waits until it is durable.
    pub(super) async fn durable(&mut self, log: &dyn Log) -> Result<(), CommitError> {
        self.submit(log)?;
        match std::mem::replace(&mut self.progress, Progress::Durable) {
            Progress::Submitted(submitted) => submitted.await.map(|_| ()),
            Progress::Held(_) | Progress::Durable | Progress::Refused(_) => Ok(()),
        }
    }

    /// Does the work, and submits the attempt as soon as the work waits for anything.
    pub(super) async fn beside<T>(&mut self, log: &dyn Log, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|task| {
            let polled = work.as_mut().poll(task);
            if polled.is_pending() {
                // That it was refused is told when there is a decision.
                let _ = self.submit(log);
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
