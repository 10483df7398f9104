//! `quivive openapi`

use super::exit::Exit;
use super::failure::Failure;
use super::output;

pub(super) fn run() -> Result<Exit, Failure> {
    let text = quivive::openapi();
    let mut text = text.map_err(|error| {
        Failure::new(
            Exit::Io,
            format!("no document: {error}"),
            "report it: this is a fault of the program",
        )
    })?;
    text.push('\n');
    output::raw(text.as_bytes())?;
    Ok(Exit::Done)
}
