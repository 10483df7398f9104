//! The writer: one thread that owns the only connection that writes.
//!
//! **Flow.** Take the first commit and whatever else waits, up to [`GROUP`]; make them durable together; publish the head;
//! answer all; carry the write-ahead log over when it is due; again. There is no artificial delay: while one group syncs,
//! the next gathers.
//!
//! **Guarantees.** First submitted, first applied. An answer comes after the sync, and a caller who has it finds the head
//! at or past its commit. However the thread ends, nobody waits for ever: what it has not answered is answered
//! `Fault::Stopped`.

use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::{Clock, CommitError, Fault, Head, Transaction};
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::checkpoint::Checkpoints;
use crate::fresh::Fresh;
use crate::group::{Answer, GROUP, Group};
use crate::halt::{Halt, OnPanic};
use crate::lock::Lock;
use crate::queue::Queue;
use crate::statements::Statements;

/// One commit on its way.
pub(crate) struct Job {
    pub(crate) transaction: Transaction,
    pub(crate) answer: oneshot::Sender<Answer>,
    /// Answered when the write-ahead log is empty.
    pub(crate) scrub: bool,
}

/// What the thread is made of.
pub(crate) struct Writer {
    pub(crate) connection: Connection,
    /// Held until the thread has ended, so that no second writer begins before.
    pub(crate) lock: Lock,
    pub(crate) queue: Arc<Queue<Job>>,
    pub(crate) halt: Arc<Halt>,
    pub(crate) head: watch::Sender<Head>,
    pub(crate) fresh: Arc<Fresh>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Writer {
    /// Runs until the queue is closed and empty, or the store must stop.
    pub(crate) fn run(self) {
        let _ending = Abandon(Arc::clone(&self.queue));
        let durable = *self.head.borrow();
        let statements = Statements::new(&self.connection);
        let mut group = Group::new(statements, Arc::clone(&self.clock), durable);
        let mut checkpoints = Checkpoints::new(&self.connection);
        match self.serve(&mut group, &mut checkpoints) {
            Ok(()) => {
                if let Err(why) = checkpoints.whole() {
                    self.halt.stop(&why);
                }
            }
            Err(why) => self.halt.stop(&why),
        }
        // Only now: the connection goes first, the lock last.
        drop(group);
        let Self {
            connection, lock, ..
        } = self;
        drop(connection);
        drop(lock);
    }

    fn serve(
        &self,
        group: &mut Group<'_>,
        checkpoints: &mut Checkpoints<'_>,
    ) -> Result<(), String> {
        let mut jobs: Vec<Job> = Vec::with_capacity(GROUP);
        let mut transactions = Vec::with_capacity(GROUP);
        let mut answers = Vec::with_capacity(GROUP);
        let mut scrubs = Vec::new();
        let _told = OnPanic {
            halt: &self.halt,
            why: "the writer panicked",
        };
        while self.queue.take(GROUP, &mut jobs) {
            let taken = jobs.iter_mut();
            transactions.extend(taken.map(|job| std::mem::take(&mut job.transaction)));
            let before = group.durable();
            let ran = group.run(&transactions, &mut answers);
            match ran {
                Ok(()) => {
                    let committed = answers.iter().map(Result::is_ok);
                    let appended = transactions.drain(..).zip(committed);
                    self.remember(before, group, appended);
                    self.publish(group.durable());
                    for (job, answer) in jobs.drain(..).zip(answers.drain(..)) {
                        if job.scrub {
                            scrubs.push((job.answer, answer));
                            continue;
                        }
                        // Who no longer listens has its commit all the same.
                        let _ = job.answer.send(answer);
                    }
                }
                Err(fault) => {
                    answers.clear();
                    if let Fault::Stopped(why) = &fault {
                        self.halt.stop(why);
                    }
                    for job in jobs.drain(..) {
                        let _ = job.answer.send(Err(CommitError::Fault(fault.clone())));
                    }
                    if let Fault::Stopped(why) = fault {
                        return Err(why);
                    }
                }
            }
            transactions.clear();
            if scrubs.is_empty() {
                checkpoints.after_group()?;
                continue;
            }
            let emptied = checkpoints.empty()?;
            for (told, answer) in scrubs.drain(..) {
                let _ = told.send(if emptied {
                    answer
                } else {
                    Err(in_use().into())
                });
            }
        }
        Ok(())
    }

    /// Before anybody is told that the head has moved.
    fn remember(
        &self,
        before: Head,
        group: &Group<'_>,
        appended: impl Iterator<Item = (Transaction, bool)>,
    ) {
        let after = self.fresh.add(before, group.recorded_at(), appended);
        if after != group.durable() {
            // It is not what lies in the log: let everybody read that.
            self.fresh.clear();
        }
    }

    fn publish(&self, durable: Head) {
        self.head.send_if_modified(|head| {
            let moved = *head != durable;
            *head = durable;
            moved
        });
    }
}

/// Somebody reads in the write-ahead log.
fn in_use() -> Fault {
    Fault::Busy {
        what: "the write-ahead log",
        retry_after: Duration::from_secs(1),
    }
}

/// Whatever ends the thread: nobody gets into the queue any more, and who is in it gets an answer.
struct Abandon(Arc<Queue<Job>>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
