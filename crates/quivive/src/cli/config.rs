//! `quivive config check|show|generate`

use clap::Subcommand;
use quivive::config::{Mode, REFERENCE};

use super::exit::Exit;
use super::failure::Failure;
use super::{Everywhere, Output, output};

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Say what is wrong with the configuration; exit code 78 if anything is
    Check,
    /// Print the settings in force and where each came from; secrets are not shown
    Show,
    /// Print a file of every setting with its default and what it is for
    Generate,
}

impl Config {
    pub(super) fn run(&self, everywhere: &Everywhere) -> Result<Exit, Failure> {
        match self {
            Self::Check => check(everywhere),
            Self::Show => show(everywhere),
            Self::Generate => output::raw(REFERENCE.as_bytes()).map(|_| Exit::Done),
        }
    }
}

fn check(everywhere: &Everywhere) -> Result<Exit, Failure> {
    let plan = everywhere.load()?.plan()?;
    quivive::serve::check_keys(&plan)?;
    let mode = match plan.mode {
        Mode::Development => "development",
        Mode::Production => "production",
    };
    let file = plan
        .config_file
        .as_ref()
        .map(|file| file.display().to_string());
    let told =
        serde_json::json!({"ok": true, "mode": mode, "public_url": plan.public_url, "file": file});
    output::value(everywhere.output, &told, || {
        let file = file.as_deref().unwrap_or("no file");
        format!("good: {mode} at {} ({file})", plan.public_url)
    })?;
    Ok(Exit::Done)
}

fn show(everywhere: &Everywhere) -> Result<Exit, Failure> {
    let settings = everywhere.load()?.shown();
    if everywhere.output == Output::Json {
        output::json(&settings)?;
        return Ok(Exit::Done);
    }
    let mut section = "";
    for setting in &settings {
        let (of, key) = setting.key.split_once('.').unwrap_or(("", &setting.key));
        if of != section {
            let blank = if section.is_empty() { "" } else { "\n" };
            output::line(&format!("{blank}[{of}]"))?;
            section = of;
        }
        output::line(&format!(
            "{:<40}  # {}",
            format!("{key} = {}", setting.value),
            setting.origin
        ))?;
    }
    Ok(Exit::Done)
}
