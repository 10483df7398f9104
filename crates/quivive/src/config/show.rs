//! `config show`: what is in force, and from where.

use serde::Serialize;

use super::layer::Entry;
use super::reference;

/// One setting that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    pub key: String,
    /// As it would be written; `(set)` for a secret.
    pub value: String,
    /// `default`, a flag, a variable, a file with its line.
    pub origin: String,
}

pub(super) fn all(entries: &[Entry]) -> Vec<Shown> {
    entries.iter().map(shown).collect()
}

fn shown(entry: &Entry) -> Shown {
    let secret = reference::find(&entry.key).is_some_and(|setting| setting.secret);
    Shown {
        key: entry.key.clone(),
        value: if secret {
            "(set)".to_owned()
        } else {
            entry.shown()
        },
        origin: entry.place.clone(),
    }
}
