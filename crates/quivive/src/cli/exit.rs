//! What the exit code says. From 64 on, the numbers of `sysexits.h`.

use std::process::ExitCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    /// It was understood and the answer is no: a weak password, a broken chain, no such event.
    Refused = 1,
    Usage = 2,
    Unhealthy = 3,
    /// A server, a port, a file that is needed is not to be had.
    Unavailable = 69,
    /// The disk or the database failed.
    Io = 74,
    /// Busy now; try again.
    Busy = 75,
    /// This user may not.
    Denied = 77,
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
