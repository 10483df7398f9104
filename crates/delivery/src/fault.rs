//! What can go wrong below the rules: the disk, the database, a full queue. Never a business reason.

use std::time::Duration;

/// An infrastructure failure. The caller's request was sound; the answer is 503 or 500.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A bounded queue is full. Nothing was done.
    #[error("{what} is at its limit; try again in {retry_after:?}")]
    Busy {
        what: &'static str,
        retry_after: Duration,
    },
    /// The disk is full. Nothing was done; the server goes on when there is room again.
    #[error("no space left for the database")]
    NoSpace,
    /// A server that this one needs, the database's or a broker, is not there or takes no writes; it may be back soon. A
    /// commit that was on its way may be in the database. The text names who it is.
    #[error("out of reach: {0}")]
    Unreachable(String),
    /// The store has stopped for good (an I/O error, a failed sync): nothing more is acknowledged.
    #[error("the store has stopped: {0}")]
    Stopped(String),
    /// Anything else; the text is for operators, not for callers.
    #[error("{0}")]
    Internal(String),
}

impl Fault {
    /// Wraps an unexpected error, with its chain of causes in one line.
    pub fn internal(error: impl std::error::Error) -> Self {
        use std::fmt::Write as _;
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        Self::Internal(text)
    }
}
