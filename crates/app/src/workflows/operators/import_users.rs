//! Import accounts from a file that another system exported, with the hashes of their passwords.
//!
//! One workflow, many commits: each takes over a group of accounts with an event for each (`user.imported`). When it ends
//! before the file does, what was taken over stays, and the same file given again goes on where it was: who is there
//! already is passed over. Source: the specification.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::sync::{Mutex, mpsc};

use crate::imports::{At, Flaw, Group, Unreadable};
use crate::kernel::{Enrolled, Kernel};
use crate::ports::Waiting;
use crate::workflows::prelude::*;

/// Groups under way at once: while one is written, the keys of the next are synced and others are read and sealed.
const AT_ONCE: usize = 4;

pub struct ImportUsers {
    /// Its last part, for the trail.
    pub file_name: String,
    /// The file, read by somebody else.
    pub groups: Mutex<mpsc::Receiver<Result<Group, Unreadable>>>,
    /// Whoever asked. When they have gone, it ends.
    pub told: mpsc::Sender<Told>,
    pub kernel: Arc<Kernel>,
}

/// What is said on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A record that was not taken over.
    Flaw(Flaw),
    /// So many in a row, the first and the last of them, whose addresses somebody has.
    Skipped { from: At, to: At, count: u64 },
    /// So much of the file was read, and what it came to is durable.
    Reached { read_bytes: u64, so_far: Counts },
    /// Why it cannot be read on.
    Unreadable(Unreadable),
}

/// What became of the records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    pub imported: u64,
    /// There is an account with the address.
    pub skipped: u64,
    pub failed: u64,
}

#[derive(Event)]
#[event(
    type = "operator.users_import.attempted",
    version = 1,
    name = "UsersImportAttempted",
    audit = "USERS_IMPORT_ATTEMPTED"
)]
pub struct Attempted {
    pub file_name: String,
}

#[derive(Event)]
#[event(
    type = "operator.users_import.succeeded",
    version = 1,
    name = "UsersImportSucceeded",
    audit = "USERS_IMPORT_SUCCEEDED"
)]
pub struct Succeeded {
    pub imported: u64,
    pub skipped: u64,
    pub failed: u64,
}

#[derive(Event)]
#[event(
    type = "operator.users_import.failed",
    version = 1,
    name = "UsersImportFailed",
    audit = "USERS_IMPORT_FAILED"
)]
pub struct Failed {
    pub file_name: String,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    Unreadable,
    Forbidden,
    /// Whoever asked has gone, or the server stops.
    Interrupted,
}

/// One group, as it became.
struct Done {
    /// Of each record that is an account, the place.
    records: Vec<Result<At, Flaw>>,
    read_bytes: u64,
    fates: Vec<Enrolled>,
}

impl Workflow for ImportUsers {
    const NAME: &'static str = "users_import";
    /// A million accounts are minutes.
    const DEADLINE: Duration = Duration::from_hours(24);
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Counts;

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            file_name: self.file_name.clone(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            file_name: attempted.file_name.clone(),
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let attempt = cx
            .waiting()
            .ok_or_else(|| Fault::Internal("an import without an attempt".to_owned()))?;
        let mut groups = self.groups.lock().await;
        let incoming = stream::poll_fn(|task| groups.poll_recv(task));
        let mut done = incoming
            .map(|group| self.take(cx, attempt, group))
            .buffered(AT_ONCE);
        let mut teller = Teller::new(&self.told);
        while let Some(done) = done.next().await {
            match done? {
                Ok(done) => teller.tell(done).await,
                Err(unreadable) => {
                    teller.skipped().await;
                    teller.say(Told::Unreadable(unreadable)).await;
                    return refuse(Refusal::Unreadable);
                }
            }
            if self.told.is_closed() || self.kernel.is_stopping() {
                return refuse(Refusal::Interrupted);
            }
        }
        teller.skipped().await;
        let counts = teller.counts;
        let Counts {
            imported,
            skipped,
            failed,
        } = counts;
        let succeeded = Succeeded {
            imported,
            skipped,
            failed,
        };
        succeed(Commit::default(), succeeded, counts)
    }
}

impl ImportUsers {
    async fn take(
        &self,
        cx: &Cx,
        attempt: Waiting,
        group: Result<Group, Unreadable>,
    ) -> Result<Result<Done, Unreadable>, Fault> {
        let group = match group {
            Ok(group) => group,
            Err(unreadable) => return Ok(Err(unreadable)),
        };
        let mut accounts = Vec::with_capacity(group.records.len());
        let mut name = |(at, account)| {
            let id = self.kernel.next_user();
            accounts.push(Account { id, ..account });
            at
        };
        let records = group
            .records
            .into_iter()
            .map(|record| record.map(&mut name));
        let records = records.collect();
        let fates = self.kernel.enrol(&accounts, attempt, &cx.request).await?;
        Ok(Ok(Done {
            records,
            read_bytes: group.read_bytes,
            fates,
        }))
    }
}

/// Says what became of the groups, in their order.
struct Teller<'t> {
    told: &'t mpsc::Sender<Told>,
    counts: Counts,
    /// Those that were passed over since the last one that was not.
    skipping: Option<(At, At, u64)>,
}

impl<'t> Teller<'t> {
    fn new(told: &'t mpsc::Sender<Told>) -> Self {
        Self {
            told,
            counts: Counts::default(),
            skipping: None,
        }
    }

    /// Whether anybody listens is looked at between groups.
    async fn say(&self, told: Told) {
        let _ = self.told.send(told).await;
    }

    async fn tell(&mut self, done: Done) {
        let mut fates = done.fates.into_iter();
        for record in done.records {
            let at = match record {
                Ok(at) => at,
                Err(flaw) => {
                    self.flaw(flaw).await;
                    continue;
                }
            };
            match fates.next() {
                Some(Enrolled::Done) => {
                    self.skipped().await;
                    self.counts.imported += 1;
                }
                Some(Enrolled::Taken) => {
                    self.counts.skipped += 1;
                    let run = self.skipping;
                    let (from, count) = run.map_or((at, 0), |(from, _, count)| (from, count));
                    self.skipping = Some((from, at, count + 1));
                }
                Some(Enrolled::Vetoed(veto)) => {
                    let reason = veto.reason;
                    let message = format!("a rule of this server does not permit it: {reason}");
                    let field = None;
                    self.flaw(Flaw { at, field, message }).await;
                }
                None => {}
            }
        }
        let reached = Told::Reached {
            read_bytes: done.read_bytes,
            so_far: self.counts,
        };
        self.say(reached).await;
    }

    async fn flaw(&mut self, flaw: Flaw) {
        self.skipped().await;
        self.counts.failed += 1;
        self.say(Told::Flaw(flaw)).await;
    }

    async fn skipped(&mut self) {
        if let Some((from, to, count)) = self.skipping.take() {
            self.say(Told::Skipped { from, to, count }).await;
        }
    }
}

#[cfg(test)]
mod tests;
