//! The files of a backup: copied with their digests, listed, and the list signed.
//!
//! The list is `backup.json`: a line of JSON with what the backup holds and a SHA-256 for each file, and a line with the
//! Ed25519 signature of the first, by the server's key for what is to be proved later. What is signed is the text `quivive
//! backup 1`, a line end, and the first line.
//!
//! **Guarantees.** Files are the owner's alone and on the disk before the list is. A file that was changed, cut short or
//! left out, and a list that was, is told from a whole one by who has the public key. The keys are not in it: they are
//! copied elsewhere.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quivive_delivery::Time;
use quivive_delivery::retention::{Archive as _, Signature};
use serde::{Deserialize, Serialize};

use crate::archive::{FileArchive, Verifier};
use crate::derivation::hex;
use crate::keys::{KeyError, KeyStore};

/// The list's name.
pub const LIST: &str = "backup.json";

const VERSION: u32 = 1;

/// More than a list of thousands of archives has.
const MAX_LIST_BYTES: u64 = 8 << 20;

const COPIED_AT_ONCE: usize = 256 * 1024;

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    pub quivive_backup: u32,
    /// Of the database's schema.
    pub schema: u32,
    /// Of the last event in it.
    pub position: u64,
    pub epoch: u64,
    /// The log's chain there, in hexadecimal digits.
    pub chain: String,
    pub created_at: Time,
    pub files: Vec<Listed>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Its path in the backup.
    pub name: String,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    key_id: String,
    /// In base64: 64 bytes.
    signature: String,
}

/// Why a backup cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupFlaw {
    #[error("there is no backup.json: the backup is not whole, or this is none")]
    NoList,
    #[error("its backup.json cannot be read: {0}")]
    Unreadable(String),
    #[error("it is of another version of backups")]
    Version,
    #[error(
        "its backup.json was changed, or these are the keys of another server: the signature does not fit"
    )]
    Signature,
    #[error("its {0} is missing")]
    Missing(String),
    #[error("its {0} was changed or cut short")]
    Changed(String),
}

impl Contents {
    pub fn new(schema: u32, (position, epoch): (u64, u64), chain: &[u8; 32], now: Time) -> Self {
        Self {
            quivive_backup: VERSION,
            schema,
            position,
            epoch,
            chain: hex(chain),
            created_at: now,
            files: Vec::new(),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Writes the list, signed: with it the backup is whole.
    pub fn write(&self, directory: &Path, keys: &KeyStore) -> Result<(), KeyError> {
        let path = directory.join(LIST);
        let malformed = |error: serde_json::Error| KeyError::malformed(&path, error.to_string());
        let line = serde_json::to_string(self).map_err(malformed)?;
        // Nothing is archived: the directory is not used.
        let signature = FileArchive::new(directory, keys)?.sign(&statement(&line));
        let signed = Signed {
            key_id: signature.key_id,
            signature: STANDARD.encode(signature.bytes),
        };
        let signed = serde_json::to_string(&signed).map_err(malformed)?;
        crate::private_file::write(&path, format!("{line}\n{signed}\n").as_bytes())
    }

    /// Reads the list of a backup that one of these keys signed.
    pub fn read(directory: &Path, verifier: &Verifier) -> Result<Self, BackupFlaw> {
        let unreadable = |error: &dyn std::error::Error| BackupFlaw::Unreadable(error.to_string());
        let file = File::open(directory.join(LIST)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BackupFlaw::NoList,
            _ => unreadable(&error),
        })?;
        let mut lines = BufReader::new(file.take(MAX_LIST_BYTES)).lines();
        let mut next = || match lines.next() {
            Some(line) => line.map_err(|error| unreadable(&error)),
            None => Err(BackupFlaw::Unreadable("it was cut short".to_owned())),
        };
        let (line, signed) = (next()?, next()?);
        let signed: Signed = serde_json::from_str(&signed).map_err(|error| unreadable(&error))?;
        let signature = Signature {
            key_id: signed.key_id,
            bytes: STANDARD
                .decode(&signed.signature)
                .map_err(|error| unreadable(&error))?,
        };
        if !verifier.signed(&statement(&line), &signature) {
            return Err(BackupFlaw::Signature);
        }
        let contents: Self = serde_json::from_str(&line).map_err(|error| unreadable(&error))?;
        if contents.quivive_backup != VERSION {
            return Err(BackupFlaw::Version);
        }
        Ok(contents)
    }
}

fn statement(line: &str) -> String {
    format!("quivive backup {VERSION}\n{line}")
}

impl Listed {
    /// Of a file that is there.
    pub fn of(path: &Path, name: impl Into<String>) -> io::Result<Self> {
        pass(File::open(path)?, &mut io::sink(), name.into())
    }

    /// Copies a file into one that is not there yet, and syncs it.
    pub fn copied(from: &Path, to: &Path, name: impl Into<String>) -> io::Result<Self> {
        let source = File::open(from)?;
        let mut target = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)?;
        let listed = pass(source, &mut target, name.into())?;
        target.sync_all()?;
        Ok(listed)
    }

    /// Copies it out of a backup, and looks whether it is what was listed.
    pub fn take(&self, directory: &Path, to: &Path) -> io::Result<Result<(), BackupFlaw>> {
        match Self::copied(&directory.join(&self.name), to, self.name.clone()) {
            Ok(taken) if taken == *self => Ok(Ok(())),
            Ok(_) => Ok(Err(BackupFlaw::Changed(self.name.clone()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Err(BackupFlaw::Missing(self.name.clone())))
            }
            Err(error) => Err(error),
        }
    }
}

fn pass(mut from: impl Read, to: &mut impl Write, name: String) -> io::Result<Listed> {
    let mut hash = Context::new(&SHA256);
    let mut bytes = 0;
    let mut buffer = vec![0; COPIED_AT_ONCE];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
    Ok(Listed {
        name,
        bytes,
        sha256: hex(hash.finish().as_ref()),
    })
}

#[cfg(test)]
mod tests;
