//! `quivive backup`, `quivive restore`

use std::path::PathBuf;

use clap::Args;
use quivive::control::{Call, Operator};
use quivive::restore::{self, Asked, beside};
use serde_json::{Value, json};

use super::exit::Exit;
use super::failure::Failure;
use super::prompt::confirm;
use super::{Everywhere, absolute, block_on, output};

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// A directory that is not there yet; the server makes it
    directory: PathBuf,
    /// Where the keys go, apart from the rest: `DIRECTORY.keys` unless it is said
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// What `quivive backup` made
    backup: PathBuf,
    /// The newest keys there are: they know who was erased since. `BACKUP.keys` unless it is said; where the data directory
    /// has keys, those stay
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// In place of the database that is there
    #[arg(long)]
    replace: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Backup {
    pub(super) fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let directory = absolute(&self.directory)?;
        let keys = match &self.keys {
            Some(keys) => absolute(keys)?,
            None => beside(&directory),
        };
        let loaded = everywhere.load()?;
        block_on(async {
            let mut operator = Operator::open_existing(&loaded).await?;
            let answered = operator.call(Call::BackUp { directory, keys }).await;
            operator.close().await;
            let answer = answered?;
            output::value(everywhere.output, &answer, || made(&answer))
        })?;
        Ok(Exit::Done)
    }
}

impl Restore {
    pub(super) fn run(self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        let loaded = everywhere.load()?;
        if self.replace && !self.yes && restore::replaces(&loaded)? {
            confirm(
                "The database that is there is to be given up for the backup. Go on?",
                "add --yes",
            )?;
        }
        let asked = Asked {
            backup: absolute(&self.backup)?,
            keys: self.keys.as_deref().map(absolute).transpose()?,
            replace: self.replace,
        };
        let (restored, verdict) = block_on(async {
            let restored = restore::restore(&loaded, &asked).await;
            restored.map_err(Failure::from)
        })?;
        let told = json!({
            "position": restored.position,
            "epoch": restored.epoch,
            "audit": verdict,
        });
        output::value(everywhere.output, &told, || {
            format!(
                "restored up to position {}; the log goes on in epoch {}, and is {}. Everybody signs in again, services get \
                 new API keys, and readers of the feed begin anew",
                restored.position,
                restored.epoch,
                if verdict.ok { "whole" } else { "not whole" },
            )
        })?;
        Ok(if verdict.ok {
            Exit::Done
        } else {
            Exit::Refused
        })
    }
}

fn made(answer: &Value) -> String {
    let text = |name: &str| answer[name].as_str().unwrap_or_default();
    format!(
        "{}: up to position {}, epoch {}, {} bytes\n{}: the keys. Keep them elsewhere: with both, everything can be read",
        text("directory"),
        answer["position"],
        answer["epoch"],
        answer["bytes"],
        text("keys"),
    )
}
