//! `quivive openapi`

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;
use super::output;

#[derive(Debug, Args)]
pub(super) struct Openapi {}

impl Openapi {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let mut text = quivive::openapi();
        text.push('\n');
        output::raw(text.as_bytes())?;
        Ok(Exit::Done)
    }
}
