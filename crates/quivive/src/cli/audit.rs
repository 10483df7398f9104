//! `quivive audit verify`

use clap::Subcommand;
use quivive::audit::{self, Verdict};

use super::exit::Exit;
use super::failure::Failure;
use super::{Everywhere, block_on, output};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Recompute the chain of the log; exit code 1 when it is broken
    ///
    /// Reads the database and changes nothing; works beside a running server. Where retention has cut the log, it begins at
    /// the signed anchor, and checks the archives of what was cut in the configured directory. `checkpoints` counts the records in
    /// `checkpoints.ndjson` of the data directory; this version writes none, and compares the log with none.
    Verify,
}

impl Audit {
    pub(super) fn run(&self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let Self::Verify = self;
        let directories = everywhere.load()?.directories()?;
        let verdict = block_on(async { Ok(audit::verify(&directories).await?) })?;
        output::value(everywhere.output, &verdict, || {
            let Verdict {
                events,
                checkpoints,
                cut,
                archives,
                ..
            } = verdict;
            match (verdict.first_bad_position, &verdict.flaw) {
                (Some(position), _) => {
                    format!("broken at position {position}, after {events} events")
                }
                (None, Some(flaw)) => format!("not whole: {flaw}"),
                (None, None) if cut > 0 => format!(
                    "whole: {events} events after position {cut}, {checkpoints} checkpoints; what was before was cut, \
                     {archives} archives of it are whole"
                ),
                (None, None) => format!("whole: {events} events, {checkpoints} checkpoints"),
            }
        })?;
        Ok(if verdict.ok {
            Exit::Done
        } else {
            Exit::Refused
        })
    }
}
