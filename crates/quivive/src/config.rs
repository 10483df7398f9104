//! Configuration: flag, environment, file, default, in this order; checked whole before anything starts.
//!
//! [`load`] gathers the settings and knows where each stands; [`Loaded::plan`] checks them and gives what the wiring works
//! from. The reference is the commented default file, [`REFERENCE`]: a setting that is not in it does not exist.

mod access;
mod admin;
mod bus;
mod delivery;
mod environment;
mod file;
mod layer;
mod lifetimes;
mod links;
mod log;
mod mail;
mod nearest;
mod passwords;
mod plan;
mod problem;
mod provisioning;
mod reference;
mod report;
mod retention;
mod secret;
mod server;
mod show;
mod sources;
mod storage;
mod trust;
mod webhooks;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

pub use admin::FirstAdmin;
pub use log::{Format, Log};
pub use plan::Plan;
pub use problem::{Problem, Problems};
pub use reference::TEXT as REFERENCE;
pub use server::Mode;
pub use show::Shown;
pub use sources::{FileChoice, Flags, Sources};

use layer::{Effective, Entry, Layer};
use report::Report;

/// All sections, with the kinds of their values and nothing more.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
struct Sections {
    server: server::Server,
    #[serde(default)]
    management: server::Management,
    #[serde(default)]
    database: storage::Database,
    product: lifetimes::Product,
    registration: access::Registration,
    mail: mail::Mail,
    #[serde(default)]
    links: links::Links,
    cors: access::Cors,
    rate_limits: access::RateLimits,
    passwords: passwords::Passwords,
    lockout: passwords::Lockout,
    tokens: lifetimes::Tokens,
    sessions: lifetimes::Sessions,
    letters: lifetimes::Letters,
    hashing: passwords::HashingCost,
    delivery: delivery::Delivery,
    retention: retention::Retention,
    webhooks: webhooks::Webhooks,
    bus: bus::Bus,
    #[serde(default)]
    provisioning: provisioning::Provisioning,
    log: log::LogSection,
    #[serde(default)]
    admin: admin::Admin,
}

/// Settings with their places, each of the right kind, not yet checked against each other.
#[derive(Debug, Clone)]
pub struct Loaded {
    sections: Sections,
    entries: Vec<Entry>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Where a file was looked for.
    pub searched: Vec<PathBuf>,
    /// Where data lie unless a setting says otherwise.
    default_data_dir: Option<PathBuf>,
}

/// Whether what is meant for a terminal should come without colours.
pub fn no_color() -> bool {
    environment::no_color()
}

/// Gathers the settings. Every problem is told at once.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let (file, in_file) = match sources.file.read() {
        Ok(Some((path, layer))) => (Some(path), layer),
        Ok(None) => (None, Layer::new()),
        Err(problem) => {
            problems.push(problem);
            (None, Layer::new())
        }
    };
    let mut layers = [
        reference::defaults(),
        in_file,
        environment::read(&sources.environment, &mut problems),
        sources.flags.layer(),
    ];
    for layer in &mut layers {
        layer.retain(|entry| known(entry, &mut problems));
        secret::read_files(layer, &mut problems);
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let entries = effective(layers);
    Ok(Loaded {
        sections: sections(&entries)?,
        entries,
        file,
        searched: sources.file.searched(),
        default_data_dir: sources.default_data_dir.clone(),
    })
}

fn known(entry: &Entry, problems: &mut Vec<Problem>) -> bool {
    let known = reference::find(&entry.key).is_some();
    if !known {
        problems.push(Problem::Unknown {
            key: entry.key.clone(),
            place: entry.place.clone(),
            nearest: reference::nearest(&entry.key).map(str::to_owned),
        });
    }
    known
}

/// For each setting what the highest layer says, in the order of the reference.
fn effective(layers: [Layer; 4]) -> Vec<Entry> {
    let mut found = std::collections::HashMap::new();
    for entry in layers.into_iter().flatten() {
        found.insert(entry.key.clone(), entry);
    }
    reference::settings()
        .iter()
        .filter_map(|setting| found.remove(&setting.key))
        .collect()
}

fn sections(entries: &[Entry]) -> Result<Sections, Problem> {
    config::Config::builder()
        .add_source(Effective(entries.to_vec()))
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| report::wrong_kind(&error))
}

impl Loaded {
    /// The settings, checked.
    pub fn plan(&self) -> Result<Plan, Problems> {
        let mut report = Report::new(&self.entries);
        let plan = plan::check(&self.sections, self, &mut report);
        report.finish(plan)
    }

    /// Where the server listens, for who wants to ask it something.
    pub fn listen(&self) -> Result<SocketAddr, Problems> {
        let mut report = Report::new(&self.entries);
        let listen = self.sections.server.address(&mut report);
        report.finish(listen)
    }

    /// Where the data lie, for commands that need nothing else of the configuration.
    pub fn directories(&self) -> Result<Directories, Problems> {
        let mut report = Report::new(&self.entries);
        let directories = plan::directories(&self.sections, self, &mut report);
        report.finish(directories)
    }

    /// What is in force, and from where.
    pub fn shown(&self) -> Vec<Shown> {
        show::all(&self.entries)
    }
}

/// Where the database is.
#[derive(Debug, Clone)]
pub enum Location {
    /// In this directory, a file with its lock beside it.
    Sqlite(PathBuf),
    /// On a PostgreSQL server.
    Postgres {
        /// May hold a password.
        url: SecretString,
        /// Certificates in PEM that are trusted besides the public ones.
        trusted_pem: Option<Vec<u8>>,
    },
}

/// Where the data lie.
#[derive(Debug, Clone)]
pub struct Directories {
    /// Keys, control socket, what is for the operator's eyes.
    pub data: PathBuf,
    /// The database.
    pub database: Location,
    /// Archives of what was cut from the log.
    pub archive: PathBuf,
}
