//! The database remembers which keys it was used with, by fingerprint: with others, nothing in it could be read.

use std::collections::BTreeMap;

use quivive_delivery::{CommitError, Fault, Log as _, Transaction};
use quivive_outbound::KeyStore;
use quivive_store::Database;

use crate::start::StartError;

/// Their name among the facts about the database.
const NAME: &str = "keys";

/// Compares the keys with those the database was used with, and notes them. A key that was not known before is new, one
/// that is gone was rotated out; a known name with another content is another server's key.
pub(crate) async fn compare(keys: &KeyStore, database: &Database) -> Result<(), StartError> {
    let now: BTreeMap<_, _> = keys.fingerprints().into_iter().collect();
    let noted = database.meta(NAME).await?.unwrap_or_default();
    let before: BTreeMap<&str, &str> = noted
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    if let Some(name) = now
        .iter()
        .find(|(name, print)| before.get(name.as_str()).is_some_and(|old| old != print))
    {
        return Err(StartError::OtherKeys {
            directory: keys.directory().to_owned(),
            name: name.0.clone(),
        });
    }
    let text = now.iter().fold(String::new(), |text, (name, print)| {
        text + name + "=" + print + "\n"
    });
    if text == noted {
        return Ok(());
    }
    let note = Transaction {
        writes: vec![database.set_meta(NAME, &text)],
        records: Vec::new(),
    };
    match database.commit(note).await {
        Ok(_) => Ok(()),
        Err(CommitError::Fault(fault)) => Err(fault.into()),
        Err(CommitError::Missed(_)) => {
            Err(Fault::Internal("the keys could not be noted in the database".to_owned()).into())
        }
    }
}
