//! `quivive serve`, and `quivive` alone

use clap::Args;
use quivive::config::Flags;
use quivive::serve;

use super::Everywhere;
use super::exit::Exit;
use super::failure::Failure;

#[derive(Debug, Default, Args)]
pub(super) struct Serve {
    /// Where to accept connections [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the database is, when it is not in the data directory: sqlite:DIR
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

impl Serve {
    pub(super) fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let flags = Flags {
            listen: self.listen,
            database: self.database,
            ..Flags::default()
        };
        let plan = everywhere.load_with(flags)?.plan()?;
        serve::run(plan)?;
        Ok(Exit::Done)
    }
}
