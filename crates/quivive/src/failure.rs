//! Why something an operator asked for was not done: for people, with the remedy, and with what its exit code says.

use serde::{Deserialize, Serialize};

/// What kind of failure it is: the exit code of the program, by the names of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It was understood, and the answer is no.
    Refused,
    /// Something that is needed is not to be had.
    Unavailable,
    /// The disk or the database failed.
    Io,
    /// Not now; again later.
    Busy,
    /// This user may not.
    Denied,
    /// The configuration, or what it names, does not fit.
    Config,
}

/// For people. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub class: Class,
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Failure {
    pub fn new(class: Class, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    use std::fmt::Write as _;
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !text.ends_with(&told) {
            let _ = write!(text, ": {told}");
        }
        source = cause.source();
    }
    text
}

/// What a refused file or port says of its kind.
pub(crate) fn class_of(error: &std::io::Error) -> Class {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Class::Denied,
        ErrorKind::NotFound
        | ErrorKind::AddrInUse
        | ErrorKind::AddrNotAvailable
        | ErrorKind::ConnectionRefused
        | ErrorKind::NotADirectory => Class::Unavailable,
        _ => Class::Io,
    }
}
