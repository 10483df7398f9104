//! `quivive completions SHELL`

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::exit::Exit;
use super::failure::Failure;
use super::{Cli, output};

#[derive(Debug, Args)]
pub(super) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "quivive", &mut script);
        output::raw(&script)?;
        Ok(Exit::Done)
    }
}
