//! Whether an archive and a beginning of the log are what a server's key vouched for.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use quivive_delivery::retention::{Anchor, Filed, Signature};

use super::{Head, Tail, VERSION, statement};
use crate::derivation::{hex, sha256};
use crate::keys::{KeyError, KeyStore};

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error("cannot be read: {0}")]
    Unreadable(String),
    #[error("is not the file that was written: its SHA-256 is another")]
    Changed,
    #[error("is no archive of this version")]
    Format,
    #[error("is of another segment than the database says")]
    OtherSegment,
    #[error("is signed by no key of this server")]
    Signature,
    #[error("does not hold what was signed")]
    Content,
}

/// Knows the public keys of a server.
#[derive(Debug, Default)]
pub struct Verifier {
    keys: HashMap<String, [u8; 32]>,
}

impl Verifier {
    /// With the keys in a directory; without any where there are none. Makes nothing.
    pub fn of(directory: &Path) -> Result<Self, KeyError> {
        Ok(Self {
            keys: KeyStore::audit_public_keys(directory)?
                .into_iter()
                .collect(),
        })
    }

    /// Whether retention cut the log there.
    pub fn anchor(&self, anchor: &Anchor) -> bool {
        match &anchor.signature {
            None => anchor.position == 0 && anchor.chain == [0; 32],
            Some(signature) => self.signed(&anchor.statement(), signature),
        }
    }

    /// Whether one of the keys signed it.
    pub(crate) fn signed(&self, statement: &str, signature: &Signature) -> bool {
        self.keys.get(&signature.key_id).is_some_and(|public| {
            let key = UnparsedPublicKey::new(&ED25519, public);
            key.verify(statement.as_bytes(), &signature.bytes).is_ok()
        })
    }

    /// Whether a file is the archive that the database notes, whole and signed. Gives the chain just before it.
    pub fn archive(&self, directory: &Path, filed: &Filed) -> Result<[u8; 32], Flaw> {
        let unreadable = |error: std::io::Error| Flaw::Unreadable(error.to_string());
        let bytes = std::fs::read(directory.join(&filed.file)).map_err(unreadable)?;
        if sha256(&bytes) != filed.digest {
            return Err(Flaw::Changed);
        }
        let mut lines = BufReader::new(GzDecoder::new(bytes.as_slice()));
        let (mut hash, mut events) = (Context::new(&SHA256), 0_u64);
        let mut line = Vec::new();
        let mut next = |line: &mut Vec<u8>| {
            line.clear();
            lines.read_until(b'\n', line).map_err(unreadable)
        };
        next(&mut line)?;
        let head: Head = serde_json::from_slice(&line).map_err(|_| Flaw::Format)?;
        hash.update(&line);
        // The last line is not of what is signed, and only the end tells which one it is.
        let mut last = Vec::new();
        while next(&mut line)? > 0 {
            if !last.is_empty() {
                hash.update(&last);
                events += 1;
            }
            std::mem::swap(&mut last, &mut line);
        }
        let tail: Tail = serde_json::from_slice(&last).map_err(|_| Flaw::Format)?;
        if head.quivive_archive != VERSION {
            return Err(Flaw::Format);
        }
        let segment = (head.from_pos, head.to_pos, head.chain.as_str());
        if segment != (filed.from, filed.to, hex(&filed.chain).as_str()) {
            return Err(Flaw::OtherSegment);
        }
        if tail.sha256 != hex(hash.finish().as_ref())
            || tail.events != events
            || events != filed.events
        {
            return Err(Flaw::Content);
        }
        let signature = Signature {
            key_id: head.key_id,
            bytes: STANDARD.decode(&tail.signature).map_err(|_| Flaw::Format)?,
        };
        if !self.signed(&statement(&tail.sha256), &signature) {
            return Err(Flaw::Signature);
        }
        unhex(&head.chain_before).ok_or(Flaw::Format)
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}
