//! `quivive events schema check`: whether what was published stands.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use quivive::delivery::schema::Incompatible;
use serde::Serialize;
use serde_json::Value;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::{Output, output};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Schema {
    /// Compare published schemas with this program's; exit code 1 when one does not stand any more
    ///
    /// A schema stands while it only grows: fields that may be missing, values of codes. The directory has them as
    /// `TYPE/vN.json`, as `GET /api/v1/events/schemas/TYPE/N` gives them.
    Check(Check),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// Where the published schemas are
    #[arg(default_value = "schemas", value_name = "DIR")]
    directory: PathBuf,
}

/// What the command prints.
#[derive(Serialize)]
struct Verdict {
    ok: bool,
    /// How many were compared.
    schemas: usize,
    incompatible: Vec<Broken>,
}

#[derive(Serialize)]
struct Broken {
    #[serde(rename = "type")]
    kind: String,
    version: u32,
    fields: Vec<String>,
    message: String,
}

/// A schema of the directory.
struct Published {
    kind: String,
    version: u32,
    schema: Value,
}

impl Schema {
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let Self::Check(check) = self;
        let catalogue = quivive::catalogue()?;
        let published = read(&check.directory)?;
        let broken = |found: &Published| {
            let kept = catalogue.keeps(&found.kind, found.version, &found.schema);
            kept.err().map(|error| Broken::of(found, &error))
        };
        let incompatible: Vec<_> = published.iter().filter_map(broken).collect();
        let verdict = Verdict {
            ok: incompatible.is_empty(),
            schemas: published.len(),
            incompatible,
        };
        output::value(output, &verdict, || verdict.text())?;
        Ok(if verdict.ok {
            Exit::Done
        } else {
            Exit::Refused
        })
    }
}

impl Verdict {
    fn text(&self) -> String {
        let mut lines: Vec<_> = self
            .incompatible
            .iter()
            .map(|b| b.message.as_str())
            .collect();
        let end = match lines.len() {
            0 => format!("all {} schemas stand", self.schemas),
            broken => format!("{broken} of {} schemas do not stand", self.schemas),
        };
        lines.push(&end);
        lines.join("\n")
    }
}

impl Broken {
    fn of(found: &Published, error: &Incompatible) -> Self {
        Self {
            kind: found.kind.clone(),
            version: found.version,
            fields: error.fields().into_iter().map(str::to_owned).collect(),
            message: error.to_string(),
        }
    }
}

/// The schemas of a directory, by type and version. One without any is a mistake, not a success.
fn read(directory: &Path) -> Result<Vec<Published>, Failure> {
    let mut published = Vec::new();
    for folder in entries(directory)?.iter().filter(|path| path.is_dir()) {
        let kind = folder.file_name().unwrap_or_default().to_string_lossy();
        for file in entries(folder)? {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let version = name
                .strip_prefix('v')
                .and_then(|name| name.strip_suffix(".json")?.parse().ok());
            // Samples lie beside them.
            if let Some(version) = version {
                published.push(Published {
                    kind: kind.clone().into_owned(),
                    version,
                    schema: schema(&file)?,
                });
            }
        }
    }
    if published.is_empty() {
        return Err(Failure::new(
            Exit::Unavailable,
            format!("no schema is in {}", directory.display()),
            "name the directory that has them as TYPE/vN.json",
        ));
    }
    published.sort_by(|a, b| (&a.kind, a.version).cmp(&(&b.kind, b.version)));
    Ok(published)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect());
    entries.map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format!("cannot read {}: {error}", directory.display()),
            "name the directory that has the schemas as TYPE/vN.json",
        )
    })
}

fn schema(file: &Path) -> Result<Value, Failure> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Unavailable,
            format!("{} is no schema: {error}", file.display()),
            "put back what was published",
        )
    };
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(&error))?;
    serde_json::from_str(&text).map_err(|error| unreadable(&error))
}
