//! What an SQLite error means for a commit, for its group and for the store.

use quivive_delivery::Fault;
use rusqlite::{ErrorCode, ffi};

use crate::connection::BUSY_WAIT;

/// What went wrong with one statement.
#[derive(Debug)]
pub(crate) enum StatementError {
    Sqlite(rusqlite::Error),
    /// The caller's statement and its parameters do not fit; the text names the statement.
    Misuse(String),
}

impl From<rusqlite::Error> for StatementError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl StatementError {
    /// For operators.
    pub(crate) fn describe(&self, doing: &str) -> String {
        match self {
            Self::Misuse(text) => text.clone(),
            Self::Sqlite(error) => match error.sqlite_error() {
                Some(failure) => {
                    let (call, code) = (failed_call(error), failure.extended_code);
                    format!("{error}{call} (SQLite error {code}): {doing}")
                }
                None => format!("{error}: {doing}"),
            },
        }
    }

    /// What a caller gets.
    pub(crate) fn fault(&self, doing: &str) -> Fault {
        match Reach::of(self) {
            Reach::Guard | Reach::Statement => Fault::Internal(self.describe(doing)),
            Reach::Busy => Fault::Busy {
                what: "the lock on the database's file",
                retry_after: BUSY_WAIT,
            },
            Reach::Space => Fault::NoSpace,
            Reach::Store => Fault::Stopped(self.describe(doing)),
        }
    }
}

/// SQLite says only "disk I/O error"; which call failed tells an operator where to look.
pub(crate) fn failed_call(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_extended_error_code().unwrap_or_default() {
        ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ => ", a read failed",
        ffi::SQLITE_IOERR_WRITE => ", a write failed",
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC => ", a sync failed",
        ffi::SQLITE_IOERR_TRUNCATE => ", a truncation failed",
        ffi::SQLITE_IOERR_SHMSIZE => ", the write-ahead log's index could not grow",
        _ => "",
    }
}

/// How far an error reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A constraint refused the rows: a guard has missed.
    Guard,
    /// This statement is wrong or too much; the next may be fine.
    Statement,
    /// Another program holds the database.
    Busy,
    /// The disk, or the file's own limit, is full.
    Space,
    /// The file or the disk cannot be relied on.
    Store,
}

impl Reach {
    pub(crate) fn of(error: &StatementError) -> Self {
        let StatementError::Sqlite(error) = error else {
            return Self::Statement;
        };
        let Some(failure) = error.sqlite_error() else {
            return Self::Statement;
        };
        match failure.code {
            // UNIQUE, FOREIGN KEY and CHECK are guards that the schema states. NOT NULL and a wrong type are mistakes
            // of the statement's author: no state of the database makes them right.
            ErrorCode::ConstraintViolation => match failure.extended_code {
                ffi::SQLITE_CONSTRAINT_UNIQUE
                | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                | ffi::SQLITE_CONSTRAINT_ROWID
                | ffi::SQLITE_CONSTRAINT_FOREIGNKEY
                | ffi::SQLITE_CONSTRAINT_CHECK
                | ffi::SQLITE_CONSTRAINT_TRIGGER => Self::Guard,
                _ => Self::Statement,
            },
            ErrorCode::DiskFull => Self::Space,
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed => Self::Busy,
            ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::InternalMalfunction => Self::Store,
            _ => Self::Statement,
        }
    }
}
