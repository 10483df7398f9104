//! The database remembers which keys it was used with, by fingerprint: with others, nothing in it could be read.

use std::collections::BTreeMap;
use std::path::Path;

use quivive_delivery::nodes::Node;
use quivive_delivery::{CommitError, Log as _, Transaction};
use quivive_outbound::KeyStore;
use quivive_store::Database;

use crate::start::StartError;

/// Their name among the facts about the database.
const NAME: &str = "keys";

/// Refuses a server without keys on a database that others have used: it would make keys of its own.
pub(crate) async fn expect_keys(directory: &Path, database: &Database) -> Result<(), StartError> {
    match database.meta(NAME).await? {
        None => Ok(()),
        Some(_) => Err(StartError::KeysElsewhere {
            directory: directory.to_owned(),
        }),
    }
}

/// Compares the keys with those the database was used with, and notes them. A key that was not known before is new, one
/// that is gone was rotated out; a known name with another content is another server's key. While other nodes serve, all
/// must have the same.
pub(crate) async fn compare(
    keys: &KeyStore,
    database: &Database,
    others: &[Node],
) -> Result<(), StartError> {
    let now: BTreeMap<_, _> = keys.fingerprints().into_iter().collect();
    let text = now.iter().fold(String::new(), |text, (name, print)| {
        text + name + "=" + print + "\n"
    });
    let differs = |name: &str| StartError::OtherKeys {
        directory: keys.directory().to_owned(),
        name: name.to_owned(),
    };
    loop {
        let found = database.meta(NAME).await?;
        let noted = found.as_deref().unwrap_or_default();
        let before: BTreeMap<&str, &str> = noted
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let other = |(name, print): &(&String, &String)| {
            before.get(name.as_str()).is_some_and(|old| old != print)
        };
        if let Some((name, _)) = now.iter().find(other) {
            return Err(differs(name));
        }
        if text == noted {
            return Ok(());
        }
        if found.is_some() && others.iter().any(|node| node.reads > 0) {
            let missing = before.keys().find(|name| !now.contains_key(**name));
            let more = now.keys().find(|name| !before.contains_key(name.as_str()));
            let name = missing.copied().or(more.map(String::as_str));
            return Err(differs(name.unwrap_or_default()));
        }
        let note = Transaction {
            writes: vec![database.swap_meta(NAME, found.as_deref(), &text)],
            records: Vec::new(),
        };
        match database.commit(note).await {
            Ok(_) => return Ok(()),
            // Another node noted its own meanwhile.
            Err(CommitError::Missed(_)) => {}
            Err(CommitError::Fault(fault)) => return Err(fault.into()),
        }
    }
}
