//! The database in one file: [`quivive_store::Executor`] on SQLite.
//!
//! **Cast.** [`Sqlite`] is the handle. Behind it one *writer* thread owns the only connection that writes, and makes up to
//! 256 waiting commits durable with one sync; a few *reader* threads run the queries. Both take their work from bounded
//! queues. A file lock keeps a second server out of the data directory.
//!
//! **Guarantees.** An acknowledged commit survives a power cut (`synchronous=FULL`, one sync before the answers). Commits
//! are applied in the order of their submission. A commit is applied whole or not at all: a write that touches another
//! number of rows than expected, or runs into a UNIQUE, FOREIGN KEY or CHECK constraint, undoes it alone. Positions of the
//! log are dense and its chain unbroken, whatever is undone. A full queue or a full disk costs the commits it meets, and
//! nothing else. After the first I/O error or failed sync nothing is acknowledged any more ([`Sqlite::fatal`]).
//!
//! **Not guaranteed.** What became of the commits that were in the air when the store stopped: they may reappear when the
//! database is opened again. Deferred constraints are not supported: they would speak when the whole group commits.
//!
//! `log_head` belongs to the writer while the store is open: it holds the head in memory, and a commit that finds it
//! changed stops the store.

mod append;
mod checkpoint;
mod connection;
mod failure;
mod fresh;
mod group;
mod halt;
mod lock;
mod migrate;
mod open;
mod passing;
mod queue;
mod reader;
mod snapshot;
mod sqlite;
mod statements;
mod writer;

pub use open::{COMMIT_QUEUE, OpenError, READERS, SqliteOptions};
pub use quivive_store::{Migrated, Migration};
pub use snapshot::{DirectoryLock, Snapshot, SnapshotError, begin_epoch, lock_directory, snapshot};
pub use sqlite::Sqlite;
