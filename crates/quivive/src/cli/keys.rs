//! `quivive keys create`

use clap::Subcommand;

use super::exit::Exit;
use super::failure::Failure;
use super::{Everywhere, output};

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make the keys of a new server. In development this happens by itself
    ///
    /// In production it does not: a server that finds no keys would rather be told where they are than make others.
    Create,
}

impl Keys {
    pub(super) fn run(&self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let Self::Create = self;
        let directories = everywhere.load()?.directories()?;
        let (directory, created) = quivive::create_keys(&directories)?;
        let told =
            serde_json::json!({"directory": directory.display().to_string(), "created": created});
        output::value(everywhere.output, &told, || {
            let done = if created { "made" } else { "there already" };
            format!(
                "keys {done}: {}. Back them up apart from the database",
                directory.display()
            )
        })?;
        Ok(Exit::Done)
    }
}
