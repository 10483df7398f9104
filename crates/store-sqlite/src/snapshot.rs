//! A copy of the database as of one moment, while it is written to; and a copy that takes its place.

use std::fs::File;
use std::io;
use std::path::Path;

use quivive_delivery::Head;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::lock::{self, Lock};
use crate::open::{self, LOCK_FILE, OpenError, prepare_directory, prepare_file};
use crate::{connection, migrate};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("no space is left for the copy")]
    NoSpace,
    #[error("cannot copy the database: {0}")]
    Io(String),
}

impl From<rusqlite::Error> for SnapshotError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::NoSpace,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    pub head: Head,
    /// Of the schema.
    pub version: u32,
}

/// Writes a copy of the database at `from` into the new file `to`, as of one moment, and syncs it. Others read and write
/// meanwhile; the write-ahead log grows until it is done. What was deleted is not in the copy. Blocks.
pub fn snapshot(from: &Path, to: &Path) -> Result<Snapshot, SnapshotError> {
    // With its mode before anything is in it; SQLite takes an empty file.
    prepare_file(to).map_err(|error| SnapshotError::Io(error.to_string()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags)?;
    source.busy_timeout(connection::BUSY_WAIT)?;
    let name = to
        .to_str()
        .ok_or_else(|| SnapshotError::Io("its path is not UTF-8".to_owned()))?;
    source.execute("VACUUM INTO ?1", [name])?;
    File::open(to)?.sync_all()?;
    let copy = Connection::open_with_flags(to, flags)?;
    Ok(Snapshot {
        head: open::head(&copy)?,
        version: migrate::version(&copy)?,
    })
}

/// Keeps others out of a directory of data while this lives.
pub struct DirectoryLock {
    _lock: Lock,
}

/// Takes the lock that a server has, without opening anything.
pub fn lock_directory(dir: &Path) -> Result<DirectoryLock, OpenError> {
    prepare_directory(dir)?;
    let lock = lock::take(&dir.join(LOCK_FILE)).map_err(|refused| open::locked(dir, refused))?;
    Ok(DirectoryLock { _lock: lock })
}

/// Makes a copy, which nobody has open, one that is about to take a server's place: its log is in a new epoch, which is
/// `epoch` or the next one, and a note says so among the facts of `meta`. One transaction.
pub fn begin_epoch(path: &Path, epoch: u64, note: (&str, &str)) -> rusqlite::Result<Head> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(path, flags)?;
    copy.pragma_update(None, "synchronous", "FULL")?;
    let change = copy.transaction()?;
    change.execute(
        "UPDATE log_head SET epoch = max(epoch + 1, ?1) WHERE one = 1",
        [i64::try_from(epoch).unwrap_or_default()],
    )?;
    change.execute(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        [note.0, note.1],
    )?;
    let head = open::head(&change)?;
    change.commit()?;
    Ok(head)
}
