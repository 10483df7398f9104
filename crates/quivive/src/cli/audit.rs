//! `quivive audit verify`

use clap::Subcommand;
use quivive::audit;

use super::exit::Exit;
use super::failure::Failure;
use super::{Everywhere, block_on, output};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Recompute the chain of the log; exit code 1 when it is broken
    ///
    /// Reads the database and changes nothing; works beside a running server. `checkpoints` counts the records in
    /// `checkpoints.ndjson` of the data directory; this version writes none, and compares the log with none.
    Verify,
}

impl Audit {
    pub(super) fn run(&self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let Self::Verify = self;
        let directories = everywhere.load()?.directories()?;
        let verdict = block_on(async { Ok(audit::verify(&directories).await?) })?;
        output::value(everywhere.output, &verdict, || {
            match verdict.first_bad_position {
                None => format!(
                    "whole: {} events, {} checkpoints",
                    verdict.events, verdict.checkpoints
                ),
                Some(position) => format!(
                    "broken at position {position}, after {} events",
                    verdict.events
                ),
            }
        })?;
        Ok(if verdict.ok {
            Exit::Done
        } else {
            Exit::Refused
        })
    }
}
