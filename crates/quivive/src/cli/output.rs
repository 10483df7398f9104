//! Data on stdout. A reader that goes away, like `head`, ends the output and nothing else.

use std::io::{self, Write as _};

use serde::Serialize;

use super::Output;
use super::exit::Exit;
use super::failure::Failure;

/// Prints a line. False when nobody reads any more.
pub(super) fn line(text: &str) -> Result<bool, Failure> {
    raw(format!("{text}\n").as_bytes())
}

/// Prints bytes as they are. False when nobody reads any more.
pub(super) fn raw(bytes: &[u8]) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::new(
            Exit::Io,
            format!("cannot write the output: {error}"),
            "free some space, or send the output elsewhere",
        )),
    }
}

/// Prints a value as the operator asked.
pub(super) fn value<T: Serialize>(
    output: Output,
    value: &T,
    text: impl FnOnce() -> String,
) -> Result<bool, Failure> {
    match output {
        Output::Text => line(&text()),
        Output::Json => json(value),
    }
}

/// Prints a value as one line of JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<bool, Failure> {
    let text = serde_json::to_string(value);
    let text = text.map_err(|error| {
        Failure::new(
            Exit::Io,
            format!("no JSON: {error}"),
            "report it: this is a fault of the program",
        )
    })?;
    line(&text)
}
