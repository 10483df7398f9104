//! `quivive users import`

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use quivive::control::{Call, Operator};
use serde_json::Value;

use super::exit::Exit;
use super::failure::Failure;
use super::{Everywhere, absolute, block_on, output};

/// Of a file this large it is told how far it was read; a smaller one is done at once.
const LONG_BYTES: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum Users {
    /// Take over accounts from a file: NDJSON, CSV, or what Django's `dumpdata auth.user` prints
    Import(Import),
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The same file may be given again: who is there already is passed over
    file: PathBuf,
}

impl Users {
    pub(super) fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        match self {
            Self::Import(import) => import.run(everywhere),
        }
    }
}

impl Import {
    fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let file = absolute(&self.file)?;
        let loaded = everywhere.load()?;
        let mut progress = Progress::new();
        let mut done = Value::Null;
        block_on(async {
            let mut operator = Operator::open(&loaded).await?;
            let call = Call::ImportUsers { file };
            let answered = operator
                .stream(call, |mut item| {
                    match item.get_mut("done") {
                        Some(counts) => done = counts.take(),
                        None => progress.say(&item),
                    }
                    true
                })
                .await;
            operator.close().await;
            progress.end();
            answered.map_err(Failure::from)
        })?;
        output::value(everywhere.output, &done, || counted(&done))?;
        Ok(if done["failed"].as_u64() == Some(0) {
            Exit::Done
        } else {
            Exit::Refused
        })
    }
}

fn counted(counts: &Value) -> String {
    let (imported, skipped) = (&counts["imported"], &counts["skipped"]);
    let failed = &counts["failed"];
    format!("{imported} imported, {skipped} there already, {failed} not imported")
}

/// On stderr: a bar where somebody looks, else a line now and then; what is wrong with a record is a line anyway.
struct Progress {
    bar: Option<ProgressBar>,
    /// The last tenth of the file that was told.
    tenth: u64,
}

impl Progress {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}");
            let bar = ProgressBar::no_length();
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, tenth: 0 }
    }

    fn say(&mut self, item: &Value) {
        if let Some(flaw) = item.get("flaw") {
            let at = text(&flaw["at"]);
            let message = text(&flaw["message"]);
            self.line(&match flaw["field"].as_str() {
                Some(field) => format!("{at}: {field}: {message}"),
                None => format!("{at}: {message}"),
            });
        } else if let Some(skipped) = item.get("skipped") {
            let (from, to) = (text(&skipped["from"]), text(&skipped["to"]));
            self.line(&if from == to {
                format!("{from}: there is an account with this address already")
            } else {
                let count = &skipped["count"];
                format!("{from} to {to}: there are accounts with these {count} addresses already")
            });
        } else if let Some(reached) = item.get("reached") {
            self.reached(reached);
        }
    }

    fn reached(&mut self, reached: &Value) {
        let bytes = |name: &str| reached[name].as_u64().unwrap_or_default();
        let (read, total) = (bytes("read_bytes"), bytes("total_bytes"));
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(read);
            bar.set_message(counted(reached));
            return;
        }
        let tenth = (read.saturating_mul(10)).checked_div(total).unwrap_or(10);
        if total > LONG_BYTES && tenth > self.tenth && tenth < 10 {
            self.tenth = tenth;
            self.line(&format!("{tenth}0 %: {}", counted(reached)));
        }
    }

    fn line(&self, line: &str) {
        let write = || {
            // Nobody is left to tell when this fails.
            let _ = writeln!(std::io::stderr(), "{line}");
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
