//! What an error of PostgreSQL means for a commit, for a read and for the connection.

use std::time::Duration;

use quivive_delivery::Fault;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// What to wait before trying again what was too much for the server.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How far an error reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A guard has missed: its own division by zero, or a constraint that refused the rows.
    Guard,
    /// The server undid this transaction for another's sake; the same again may go through.
    Again,
    /// This statement is wrong or took too long; the next may be fine.
    Statement,
    /// The server has no room for more connections or memory, or a lock that something else holds.
    Busy,
    /// The disk is full.
    Space,
    /// The server is not there, or takes no writes.
    Away,
}

impl Reach {
    pub(crate) fn of(error: &Error) -> Self {
        let Some(state) = error.code() else {
            // The server said nothing: a parameter that does not fit, or a connection that broke.
            let broke = error.is_closed() || is_io(error);
            return if broke { Self::Away } else { Self::Statement };
        };
        if *state == SqlState::DIVISION_BY_ZERO {
            return Self::Guard;
        }
        if *state == SqlState::DISK_FULL {
            return Self::Space;
        }
        if *state == SqlState::READ_ONLY_SQL_TRANSACTION || *state == SqlState::TOO_MANY_CONNECTIONS
        {
            // A standby that is not the primary any more, or not yet; a server that lets nobody in.
            return Self::Away;
        }
        if *state == SqlState::QUERY_CANCELED {
            return Self::Statement;
        }
        if *state == SqlState::LOCK_NOT_AVAILABLE {
            return Self::Busy;
        }
        match state.code().get(..2) {
            Some("23") => Self::Guard,
            Some("40") => Self::Again,
            Some("53") => Self::Busy,
            // 08: the connection. 57: an operator or a start.
            Some("08" | "57") => Self::Away,
            _ => Self::Statement,
        }
    }
}

/// Whether it is of the connection and not of what was said on it.
pub(crate) fn is_io(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<std::io::Error>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// What a caller gets. `doing` is for operators: the statement, as a rule.
pub(crate) fn fault(error: &Error, doing: &str) -> Fault {
    match Reach::of(error) {
        Reach::Away => unreachable(describe(error)),
        Reach::Space => Fault::NoSpace,
        Reach::Busy | Reach::Again => Fault::Busy {
            what: "the database server",
            retry_after: RETRY_AFTER,
        },
        Reach::Guard | Reach::Statement => Fault::Internal(format!("{}: {doing}", describe(error))),
    }
}

/// The database's server is away, and why.
pub(crate) fn unreachable(why: impl std::fmt::Display) -> Fault {
    Fault::Unreachable(format!("PostgreSQL: {why}"))
}

/// In one line, without the values that the server would tell in its detail.
pub(crate) fn describe(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!(
            "{} (PostgreSQL error {})",
            said.message(),
            said.code().code()
        );
    }
    match Fault::internal(error) {
        Fault::Internal(text) => text,
        other => other.to_string(),
    }
}
