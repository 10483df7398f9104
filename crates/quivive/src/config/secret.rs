//! A secret from the configuration: opaque to Debug, to `config show` and to every error.

use std::path::Path;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};

use super::layer::{Entry, Layer};
use super::problem::Problem;
use super::reference;

/// A secret's file holds a line; more is a wrong path.
const MAX_BYTES: u64 = 64 * 1024;

#[derive(Debug, Clone)]
pub(super) struct Secret(pub SecretString);

impl Secret {
    pub(super) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretString::from(text)))
    }
}

#[cfg(test)]
impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(set)")
    }
}

/// Replaces each `…_file` of a layer by what its file holds.
pub(super) fn read_files(layer: &mut Layer, problems: &mut Vec<Problem>) {
    let given: Vec<_> = layer.iter().map(|entry| entry.key.clone()).collect();
    for entry in layer {
        let Some(secret) = reference::secret_of_file(&entry.key) else {
            continue;
        };
        if given.contains(&secret.key) {
            let what = format!("and {} are both given", secret.key);
            problems.push(Problem::bad(
                &entry.key,
                &entry.place,
                &what,
                "keep one of them",
            ));
            continue;
        }
        match read(entry) {
            Ok(replaced) => *entry = replaced,
            Err(problem) => problems.push(problem),
        }
    }
}

fn read(entry: &Entry) -> Result<Entry, Problem> {
    let key = entry.key.trim_end_matches("_file");
    let bad = |what: &str| {
        Problem::bad(
            &entry.key,
            &entry.place,
            what,
            "name a file that this user can read and that holds the secret alone",
        )
    };
    let path = entry.value.to_string();
    let read = || -> std::io::Result<String> {
        if std::fs::metadata(Path::new(&path))?.len() > MAX_BYTES {
            return Err(std::io::Error::other("it is larger than any secret"));
        }
        std::fs::read_to_string(&path)
    };
    let text =
        read().map_err(|error| bad(&format!("names {path}, which cannot be read: {error}")))?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err(bad(&format!("names {path}, which is empty")));
    }
    Ok(Entry::new(
        key,
        text,
        format!("{path}, named by {}", entry.place),
    ))
}
