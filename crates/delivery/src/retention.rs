//! Retention: the oldest part of the log goes, and what must be kept of it is archived first.
//!
//! **Cast.** The [`Anchor`] says where the log begins: position and chain of the last event that was cut. The [`Shelf`] is
//! what the database does of it, the [`Archive`] writes and signs files. [`Retention`] decides what goes.
//!
//! **Flow.** A run takes the events that are older than [`Terms::keep`], as far as nobody reads from them any more. Segment by
//! segment those of the archived categories go into a signed file, which is on the disk before the commit that notes it and
//! seals the checkpoint. Then what was archived is cut from the left, each step with the anchor in one commit: a part that the
//! database can drop is dropped, the rest goes in slices. Whatever a crash interrupts, the next run takes up: a file that was
//! not noted is written anew under its name, a segment that was noted is cut and not archived twice.
//!
//! **Guarantees.** Nothing is cut that a cursor, a lane, the search index or an open attempt still needs: the commit that
//! cuts says so itself. A reader that lags behind for [`Terms::grace`] longer than the log is kept is *expired*: moved on,
//! with an event that says how many events it lost. The chain of what is left is whole from the anchor on. A log at rest is
//! left at rest: old checkpoints alone are no reason for a new one.
//!
//! **Not guaranteed.** That an event goes the moment it may: whole days are cut at once. That the file shrinks: the database
//! uses what was freed for what is to come.

mod cut;
mod expiry;
mod file;

use std::sync::Arc;
use std::time::Duration;

use crate::BoxFuture;
use crate::clock::Time;
use crate::commit::Write;
use crate::engine::Running;
use crate::envelope::Stored;
use crate::fault::Fault;

/// What the node has that cuts.
pub const DUTY: &str = "duty:retention";

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Events stay in the log for so long.
    pub keep: Duration,
    /// So much longer they stay for a reader that has not come to them.
    pub grace: Duration,
    /// Archives stay for so long after their newest event.
    pub archive: Duration,
    /// Of these categories events are archived.
    pub archived: &'static [&'static str],
}

/// Where the log begins: everything up to `position` was cut, and `chain` was the chain there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    pub position: u64,
    pub chain: [u8; 32],
    /// `None`: nothing was ever cut.
    pub signature: Option<Signature>,
}

impl Anchor {
    /// What is signed, so that nobody cuts by hand and says that it was retention.
    pub fn statement(&self) -> String {
        format!(
            "quivive anchor 1\n{}\n{}\n",
            self.position,
            hex(&self.chain)
        )
    }
}

/// By an Ed25519 key of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub key_id: String,
    pub bytes: Vec<u8>,
}

/// An archive, as the database notes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filed {
    /// Its first position; the one after the last cut before it.
    pub from: u64,
    pub to: u64,
    /// The chain at `to`.
    pub chain: [u8; 32],
    /// When the event at `to` was recorded.
    pub recorded_until: Time,
    /// The file's name in the directory of archives.
    pub file: String,
    /// SHA-256 of the file.
    pub digest: [u8; 32],
    /// How many events it holds; the others of the segment are not of the archived categories.
    pub events: u64,
}

/// What the database knows of its beginning.
pub trait Shelf: Send + Sync {
    fn anchor(&self) -> BoxFuture<'_, Result<Anchor, Fault>>;

    /// The lowest position that somebody reads on from: events above it are needed.
    fn floor(&self) -> BoxFuture<'_, Result<u64, Fault>>;

    fn newest_archive(&self) -> BoxFuture<'_, Result<Option<Filed>, Fault>>;

    /// Archives that begin above a position, the oldest first, at most `limit`.
    fn archives(&self, above: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Filed>, Fault>>;

    fn add_archive(&self, filed: &Filed) -> Write;

    fn remove_archive(&self, filed: &Filed) -> Write;

    /// The last position of the oldest part of the log that the database can drop as a whole. `None`: it has no parts.
    fn oldest_part(&self) -> BoxFuture<'_, Result<Option<u64>, Fault>>;

    /// Removes everything up to `to`, one by one. The first write misses when the anchor is not at `from`, or when somebody
    /// needs an event at or below `to`; the second when there are not as many events as positions.
    fn cut(&self, from: u64, to: &Anchor) -> Vec<Write>;

    /// Removes what the index has up to a position.
    fn cut_index(&self, upto: u64) -> Write;

    /// Drops the part that ends at `to`, and leaves its events in the index. The first write misses like that of [`Self::cut`].
    /// A fault, with nothing done, while somebody reads the log for long.
    fn drop_part(&self, from: u64, to: &Anchor) -> Vec<Write>;
}

/// The head of an archive: the segment that it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    pub from: u64,
    pub to: u64,
    /// The chain just before `from`, and at `to`.
    pub chain_before: [u8; 32],
    pub chain: [u8; 32],
    pub epoch: u64,
}

/// Where archives are written.
pub trait Archive: Send + Sync {
    /// The id of the key that signs.
    fn key_id(&self) -> &str;

    fn sign(&self, statement: &str) -> Signature;

    /// Begins a file. Nothing of it is on the disk before it is finished.
    fn begin(&self, heading: Heading) -> Box<dyn Binder>;

    /// Removes a file, whether or not it is there.
    fn remove(&self, file: &str) -> Result<(), Fault>;
}

/// An archive that is being written. Its calls block.
pub trait Binder: Send {
    fn add(&mut self, event: &Stored) -> Result<(), Fault>;

    /// Puts it on the disk under its name, in place of what was there, and gives the name and the file's SHA-256.
    fn finish(self: Box<Self>) -> Result<(String, [u8; 32]), Fault>;
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Events that were cut.
    pub cut: u64,
    /// Events that were archived.
    pub archived: u64,
    /// Archives that were old enough to go.
    pub removed: u64,
}

/// Keeps the log to its terms.
pub struct Retention {
    running: Running,
    shelf: Arc<dyn Shelf>,
    archive: Arc<dyn Archive>,
    terms: Terms,
}

impl Retention {
    pub fn new(
        running: Running,
        shelf: Arc<dyn Shelf>,
        archive: Arc<dyn Archive>,
        terms: Terms,
    ) -> Self {
        Self {
            running,
            shelf,
            archive,
            terms,
        }
    }

    /// Cuts what is due. May be dropped at any moment: the next run goes on.
    pub async fn run(&self) -> Result<Report, Fault> {
        let mut report = Report::default();
        if !self.running.has_duty(DUTY) {
            // Another node cuts; readers that hold it up are moved by the one that has them.
            let anchor = self.shelf.anchor().await?;
            let old = self.old(&anchor, self.terms.keep).await?;
            if old > anchor.position {
                self.readers(&anchor, old).await?;
            }
            return Ok(report);
        }
        loop {
            let anchor = self.shelf.anchor().await?;
            // An earlier run may have archived more than it cut.
            let newest = self.shelf.newest_archive().await?;
            let archived = match newest.filter(|filed| filed.to > anchor.position) {
                Some(filed) => (filed.to, filed.chain),
                None => (anchor.position, anchor.chain),
            };
            if let Some(upto) = self.due(&anchor, archived.0).await? {
                report.archived += self.file(archived, upto).await?;
                continue;
            }
            if archived.0 == anchor.position {
                break;
            }
            let reached = self.cut(&anchor, archived.0).await?;
            report.cut += reached - anchor.position;
            if reached < archived.0 {
                tracing::info!(reached, "somebody reads what was to be cut; going on later");
                break;
            }
        }
        report.removed = self.discard().await?;
        Ok(report)
    }

    fn log(&self) -> &dyn crate::Log {
        &*self.running.tools.log
    }

    fn now(&self) -> Time {
        self.running.tools.clock.now()
    }
}

/// So much earlier than a time; the beginning of time where there is nothing before.
fn before(time: Time, by: Duration) -> Time {
    time.checked_sub(by).unwrap_or(Time::MIN)
}

/// Rests so long that the work takes its share of the machine and no more.
async fn rest(took: Duration) {
    /// A fifth of the time.
    const SHARE: u32 = 4;
    tokio::time::sleep(took * SHARE).await;
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
