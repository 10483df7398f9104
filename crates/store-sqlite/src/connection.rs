//! How connections are opened, and what every setting is for.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

/// How long one program waits for another that holds the file: an operator's `sqlite3`, a backup that ends. The server
/// itself never waits here, it has one writer.
pub(crate) const BUSY_WAIT: Duration = Duration::from_millis(500);

/// Page cache of the writer. What a burst of commits touches: the right edges of the tables and the accounts at work.
const WRITER_CACHE_KIB: u32 = 2_048;

/// Page cache of each reader. The kernel caches the file anyway; this saves the copying of the upper tree pages.
const READER_CACHE_KIB: u32 = 1_024;

/// What the write-ahead log's file is cut back to after a burst; also what it may reach without one (see `checkpoint`).
const WAL_KEPT_BYTES: i64 = 16 * 1_024 * 1_024;

/// The connection that commits.
pub(crate) fn writer(path: &Path, max_pages: Option<u32>) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    common(&connection, WRITER_CACHE_KIB)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(format!(
                "the file system has no shared memory for a write-ahead log (journal mode {mode})"
            )),
        ));
    }
    // Every commit is synced before it is acknowledged. NORMAL syncs at checkpoints only: a power cut then takes back
    // everything acknowledged since the last one.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // SQLite's own checkpoints swallow their errors, a failed sync among them; the writer runs them itself.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT_BYTES)?;
    // What is deleted or replaced is overwritten, for the sake of who is erased: the rows of an account are not sealed. The
    // write-ahead log keeps older pages until it is emptied: `Executor::scrub`.
    connection.pragma_update(None, "secure_delete", true)?;
    if let Some(pages) = max_pages {
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(connection)
}

/// A connection that can only read.
pub(crate) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    common(&connection, READER_CACHE_KIB)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn common(connection: &Connection, cache_kib: u32) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_WAIT)?;
    // Negative: in KiB.
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    // Sorting and savepoints spill to memory: a temporary file would be one more disk that can fill.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // No mmap: a failed read of a mapped page kills the process instead of returning an error.
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // The last connection would checkpoint as it closes, also after a failed sync. The writer does so itself, when sound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // "name" is a column or an error, never silently a string.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    // A plan does not depend on the values bound, so binding never prepares a statement again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}
