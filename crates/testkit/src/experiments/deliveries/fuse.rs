//! What ends the process at a step: counts how often the step is come to, in handlers and around the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quivive_delivery::{
    BoxFuture, CommitError, Committed, Fault, Head, Log, Stored, Transaction, Value,
};
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::watch;

use super::step::{Kill, Moment, Step, What};
use super::subject::{EFFECT, REFUSED, REPLAYED};

/// Kills this process, as nothing inside it can prevent or notice.
fn die() -> ! {
    let _ = kill_process(getpid(), Signal::KILL);
    unreachable!("a process does not outlive SIGKILL")
}

/// Counts the times that a step was come to.
pub(super) struct Fuse {
    kill: Kill,
    left: AtomicU64,
    armed: AtomicBool,
}

impl Fuse {
    pub(super) fn new(kill: Kill) -> Arc<Self> {
        let (left, armed) = match kill {
            Kill::At { nth, patient, .. } => (nth, !patient),
            Kill::Never | Kill::Key(_) => (0, true),
        };
        Arc::new(Self {
            kill,
            left: AtomicU64::new(left),
            armed: AtomicBool::new(armed),
        })
    }

    /// Whether it waits for [`Fuse::arm`].
    pub(super) fn is_patient(&self) -> bool {
        !self.armed.load(Ordering::SeqCst)
    }

    pub(super) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    pub(super) fn at(&self, step: Step) {
        let meant = matches!(self.kill, Kill::At { step: wanted, .. } if wanted == step);
        if meant && !self.is_patient() && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            die();
        }
    }

    pub(super) fn handles(&self, key: &str) {
        if matches!(self.kill, Kill::Key(deadly) if key.ends_with(deadly)) {
            die();
        }
    }
}

/// The log of the server, with a fuse.
pub(super) struct Fused {
    pub(super) log: Arc<dyn Log>,
    pub(super) fuse: Arc<Fuse>,
}

impl Log for Fused {
    fn commit(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let what = what_of(&transaction);
        if let Some(what) = what {
            self.fuse.at(Step::Commit(what, Moment::Before));
        }
        let (done, fuse) = (self.log.commit(transaction), Arc::clone(&self.fuse));
        Box::pin(async move {
            let done = done.await;
            if let (Some(what), Ok(_)) = (what, &done) {
                fuse.at(Step::Commit(what, Moment::After));
            }
            done
        })
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        self.fuse.at(Step::Read);
        self.log.read(after, limit)
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.log.head()
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        self.log.settled()
    }
}

/// What a commit is for, as its events and its statements tell. One that is not known any more would never be come to, and
/// the experiment would say so.
fn what_of(transaction: &Transaction) -> Option<What> {
    let raises = |kind: &str| {
        let mut records = transaction.records.iter();
        records.any(|record| record.envelope().kind == kind)
    };
    let writes = |sql: &str| {
        let mut writes = transaction.writes.iter();
        writes.find(|write| write.sql.starts_with(sql))
    };
    if raises("delivery.redriven") {
        return Some(What::Redriven);
    }
    if raises("delivery.discarded") {
        return Some(What::Discarded);
    }
    if raises("delivery.replayed") {
        let swaps = writes("UPDATE subscription SET name").is_some();
        return Some(if swaps {
            What::Rebuilt
        } else {
            What::ReplayEnded
        });
    }
    if raises("delivery.dead_lettered") {
        return Some(What::Parked);
    }
    if raises("delivery.undo_requested") || raises("delivery.step_undone") {
        return Some(What::ProcessUndo);
    }
    if raises("delivery.step_done") {
        return Some(What::ProcessStep);
    }
    if let Some(effect) = writes(EFFECT) {
        let Some(Value::Text(name)) = effect.params.first() else {
            return None;
        };
        return Some(if name.starts_with(REPLAYED) {
            What::ReplayEffect
        } else if name.contains(REFUSED) {
            What::LateEffect
        } else {
            What::Effect
        });
    }
    if writes("INSERT INTO sign_in_day").is_some() {
        return Some(What::Statistics);
    }
    if writes("INSERT INTO replay").is_some() {
        return Some(What::ReplayBegun);
    }
    if writes("INSERT INTO lane").is_some() {
        return Some(What::Lane);
    }
    if let Some(condition) = writes("UPDATE subscription SET paused") {
        let suspect = condition.params.get(2);
        return suspect
            .filter(|it| **it != Value::Int(0))
            .map(|_| What::Mark);
    }
    writes("UPDATE subscription SET position").map(|_| What::Cursor)
}
