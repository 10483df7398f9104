//! Opening: the directory, the lock, the file, the schema, the head of the log; then the threads.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quivive_delivery::{Clock, Head};
use rusqlite::{Connection, OptionalExtension as _};

use crate::checkpoint::Checkpoints;
use quivive_store::{Migrated, Migration};

use crate::{connection, failure, lock, migrate};

/// The database's file inside the data directory.
pub(crate) const FILE: &str = "quivive.db";
pub(crate) const LOCK_FILE: &str = "quivive.lock";

/// Commits that may wait for the writer. At 10,000 a second it is less than half a second of waiting; more would only
/// be answers that come too late.
pub const COMMIT_QUEUE: usize = 4_096;

/// Two: one long read does not hold up the short ones, and a small machine has no more cores to give.
pub const READERS: usize = 2;

/// How to open the database.
pub struct SqliteOptions {
    /// Holds the database and its lock, nothing else. Made with mode 0700 when it is not there.
    pub data_dir: PathBuf,
    /// Threads that read; at least 1.
    pub readers: usize,
    /// How many commits may wait; one more gets `Fault::Busy`. As many again may that end a passing row.
    pub queue: usize,
    /// The database may not grow beyond this many pages of 4 KiB: a commit that would is `Fault::NoSpace`, as on a full
    /// disk. `None`: as far as the disk goes.
    pub max_pages: Option<u32>,
    /// Gives each event its `recorded_at`.
    pub clock: Arc<dyn Clock>,
}

impl SqliteOptions {
    pub fn new(data_dir: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            data_dir: data_dir.into(),
            readers: READERS,
            queue: COMMIT_QUEUE,
            max_pages: None,
            clock,
        }
    }
}

/// Why the database could not be opened. Nothing was changed, except for migrations that were already complete.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "{dir} is in use by {}: stop it first, or give this server a data directory of its own",
        .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error(
        "the database has schema version {found} and this program knows {known}: it was used by a newer version. Start \
         that one, or restore a backup from before the upgrade"
    )]
    Newer { found: u32, known: u32 },
    #[error("cannot {doing} {path}")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("migration {version} failed and was undone")]
    Migration {
        version: u32,
        #[source]
        source: rusqlite::Error,
    },
    #[error("migration {version} would leave rows that refer to nothing; it was undone")]
    Dangling { version: u32 },
    #[error("the program's migrations are not in ascending order from 1")]
    Migrations,
    #[error(
        "the log and its head disagree at position {position}: the file was changed by something other than this \
         program. Restore a backup, or run `audit verify` on a copy"
    )]
    Head { position: u64 },
    #[error("cannot carry over what the last run left in the write-ahead log: {0}")]
    Unsound(String),
    #[error("cannot open the database{}", failure::failed_call(.0))]
    Database(#[from] rusqlite::Error),
    #[error("cannot start a thread for the database")]
    Thread(#[source] io::Error),
}

/// What a database holds that is only read.
pub(crate) struct Found {
    pub(crate) migrated: Migrated,
    pub(crate) head: Head,
}

pub(crate) fn found(path: &Path) -> Result<Found, OpenError> {
    let connection = connection::reader(path)?;
    Ok(Found {
        migrated: migrate::untouched(&connection)?,
        head: head(&connection)?,
    })
}

/// Everything the writer starts from.
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) lock: lock::Lock,
    pub(crate) path: PathBuf,
    pub(crate) migrated: Migrated,
    pub(crate) head: Head,
}

pub(crate) fn open(options: &SqliteOptions, migrations: &[Migration]) -> Result<Opened, OpenError> {
    let dir = &options.data_dir;
    prepare_directory(dir)?;
    let lock = lock::take(&dir.join(LOCK_FILE)).map_err(|refused| locked(dir, refused))?;
    let path = dir.join(FILE);
    prepare_file(&path)?;
    let mut connection = connection::writer(&path, options.max_pages)?;
    Checkpoints::new(&connection)
        .whole()
        .map_err(OpenError::Unsound)?;
    let migrated = migrate::run(&mut connection, migrations)?;
    let head = head(&connection)?;
    check_head(&connection, head)?;
    Ok(Opened {
        connection,
        lock,
        path,
        migrated,
        head,
    })
}

pub(crate) fn locked(dir: &Path, refused: lock::Refused) -> OpenError {
    match refused {
        lock::Refused::Held(pid) => OpenError::InUse {
            dir: dir.to_owned(),
            pid,
        },
        lock::Refused::Io(source) => OpenError::File {
            doing: "lock",
            path: dir.join(LOCK_FILE),
            source,
        },
    }
}

pub(crate) fn prepare_directory(dir: &Path) -> Result<(), OpenError> {
    let failed = |doing| {
        move |source| OpenError::File {
            doing,
            path: dir.to_owned(),
            source,
        }
    };
    if dir.is_dir() {
        let mode = dir.metadata().map_err(failed("read"))?.permissions().mode();
        if mode & 0o077 != 0 {
            // Not corrected here: it may be a directory that others have a right to. The files inside are 0600.
            tracing::warn!(dir = %dir.display(), mode = format!("{:o}", mode & 0o7777), "the data directory is open to others; 0700 is enough");
        }
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).map_err(failed("create"))?;
    // The new name must survive a power cut like what will be in it.
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(failed("sync the parent of"))?;
    }
    Ok(())
}

/// Makes the file with its mode before SQLite opens it; the files SQLite makes beside it get the same. An existing file is
/// never opened here: closing it would drop the locks of every connection this process has to it (POSIX).
pub(crate) fn prepare_file(path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::File {
        doing: "create",
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The head as stored.
pub(crate) fn head(connection: &Connection) -> rusqlite::Result<Head> {
    connection.query_row(
        "SELECT next_pos, epoch, chain FROM log_head WHERE one = 1",
        [],
        |row| {
            Ok(Head {
                position: row.get::<_, i64>(0)?.cast_unsigned().saturating_sub(1),
                epoch: row.get::<_, i64>(1)?.cast_unsigned(),
                chain: row.get(2)?,
            })
        },
    )
}

/// The last event must be the one the head names. A log cut to nothing by retention has none.
fn check_head(connection: &Connection, head: Head) -> Result<(), OpenError> {
    let last = connection
        .query_row(
            "SELECT pos, chain FROM event ORDER BY pos DESC LIMIT 1",
            [],
            |row| {
                Ok((
                    row.get::<_, i64>(0)?.cast_unsigned(),
                    row.get::<_, [u8; 32]>(1)?,
                ))
            },
        )
        .optional()?;
    match last {
        Some(last) if last != (head.position, head.chain) => Err(OpenError::Head {
            position: last.0.min(head.position) + 1,
        }),
        _ => Ok(()),
    }
}
