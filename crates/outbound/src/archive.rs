//! Archives of the log: a file for each segment, compressed and signed, in a directory of their own.
//!
//! A file is gzip over lines of JSON: a heading that says which segment it is of, the events as they lie in the log (what
//! is personal still sealed, in base64), and a last line with the SHA-256 of all lines before it and its Ed25519 signature.
//! `zcat` and `jq` read it; what is signed is the text `quivive archive 1`, a line with that SHA-256 in hexadecimal
//! digits, and nothing else.
//!
//! **Guarantees.** A file is on the disk, whole and under its name, before anything relies on it. It is named after its
//! epoch and first position: written again after a crash, it takes its own place.

mod event;
#[cfg(test)]
mod tests;
mod verify;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use quivive_delivery::retention::{Archive, Binder, Heading, Signature};
use quivive_delivery::{Fault, Stored};
use serde::{Deserialize, Serialize};

use crate::derivation::{hex, sha256};
use crate::keys::{KeyError, KeyStore};
use crate::private_file;

pub use verify::{Flaw, Verifier};

/// The version of the format.
const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    quivive_archive: u32,
    from_pos: u64,
    to_pos: u64,
    epoch: u64,
    /// The chain just before `from_pos`, and at `to_pos`, in hexadecimal digits.
    chain_before: String,
    chain: String,
    key_id: String,
    /// Of the key that signs, in base64: 32 bytes.
    public_key: String,
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
struct Tail {
    events: u64,
    sha256: String,
    /// In base64: 64 bytes.
    signature: String,
}

/// What the signature of a file is over.
fn statement(sha256: &str) -> String {
    format!("quivive archive {VERSION}\n{sha256}\n")
}

/// Writes archives, signed with the server's key for what is to be proved later.
pub struct FileArchive {
    directory: PathBuf,
    key_id: String,
    pair: std::sync::Arc<Ed25519KeyPair>,
}

impl FileArchive {
    /// The directory is made when the first file is.
    pub fn new(directory: &Path, keys: &KeyStore) -> Result<Self, KeyError> {
        let key = &keys.audit_keys()[0];
        let pair = Ed25519KeyPair::from_pkcs8(&key.pkcs8)
            .map_err(|error| KeyError::malformed(keys.directory(), error.to_string()))?;
        Ok(Self {
            directory: directory.to_owned(),
            key_id: key.kid.clone(),
            pair: std::sync::Arc::new(pair),
        })
    }
}

impl Archive for FileArchive {
    fn key_id(&self) -> &str {
        &self.key_id
    }

    fn sign(&self, statement: &str) -> Signature {
        Signature {
            key_id: self.key_id.clone(),
            bytes: self.pair.sign(statement.as_bytes()).as_ref().to_vec(),
        }
    }

    fn begin(&self, heading: Heading) -> Box<dyn Binder> {
        let head = Head {
            quivive_archive: VERSION,
            from_pos: heading.from,
            to_pos: heading.to,
            epoch: heading.epoch,
            chain_before: hex(&heading.chain_before),
            chain: hex(&heading.chain),
            key_id: self.key_id.clone(),
            public_key: STANDARD.encode(self.pair.public_key().as_ref()),
        };
        let name = format!("quivive-{}-{:020}.ndjson.gz", heading.epoch, heading.from);
        Box::new(Writing {
            directory: self.directory.clone(),
            pair: std::sync::Arc::clone(&self.pair),
            name,
            head: Some(head),
            lines: GzEncoder::new(Vec::new(), Compression::default()),
            hash: Context::new(&SHA256),
            events: 0,
        })
    }

    fn remove(&self, file: &str) -> Result<(), Fault> {
        match std::fs::remove_file(self.directory.join(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::internal(error)),
            _ => Ok(()),
        }
    }
}

/// A file in memory: a segment is a few megabytes when compressed.
struct Writing {
    directory: PathBuf,
    pair: std::sync::Arc<Ed25519KeyPair>,
    name: String,
    /// Taken when it is written.
    head: Option<Head>,
    lines: GzEncoder<Vec<u8>>,
    hash: Context,
    events: u64,
}

impl Writing {
    /// Adds a line, and gives it to the digest.
    fn line(&mut self, value: &impl Serialize) -> Result<(), Fault> {
        let mut line = serde_json::to_vec(value).map_err(Fault::internal)?;
        line.push(b'\n');
        self.hash.update(&line);
        self.lines.write_all(&line).map_err(Fault::internal)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        match self.head.take() {
            Some(head) => self.line(&head),
            None => Ok(()),
        }
    }
}

impl Binder for Writing {
    fn add(&mut self, event: &Stored) -> Result<(), Fault> {
        self.begin()?;
        self.events += 1;
        self.line(&event::Line::of(event))
    }

    fn finish(mut self: Box<Self>) -> Result<(String, [u8; 32]), Fault> {
        self.begin()?;
        let hash = std::mem::replace(&mut self.hash, Context::new(&SHA256));
        let sha256_of_lines = hex(hash.finish().as_ref());
        let signature = self.pair.sign(statement(&sha256_of_lines).as_bytes());
        let tail = Tail {
            events: self.events,
            sha256: sha256_of_lines,
            signature: STANDARD.encode(signature.as_ref()),
        };
        self.line(&tail)?;
        let Self {
            directory,
            name,
            lines,
            ..
        } = *self;
        let bytes = lines.finish().map_err(Fault::internal)?;
        private_file::directory(&directory).map_err(told)?;
        private_file::write(&directory.join(&name), &bytes).map_err(told)?;
        Ok((name, sha256(&bytes)))
    }
}

fn told(error: KeyError) -> Fault {
    match &error {
        KeyError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            Fault::NoSpace
        }
        _ => Fault::internal(error),
    }
}
