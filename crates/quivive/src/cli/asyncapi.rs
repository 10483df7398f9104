//! `quivive asyncapi`

use super::exit::Exit;
use super::failure::Failure;
use super::output;

pub(super) fn run() -> Result<Exit, Failure> {
    output::line(&quivive::asyncapi()?)?;
    Ok(Exit::Done)
}
