//! The server's keys, in files of their own beside the database: `<data_dir>/keys/`.
//!
//! | file | what |
//! |---|---|
//! | `master.key` | 32 random bytes: wraps the subject keys, makes keyed digests. Never rotates |
//! | `tokens-<kid>.key` | 32 random bytes: from it comes a key for each purpose of a one-time or refresh token |
//! | `signing-<kid>.key` | Ed25519, PKCS#8 (RFC 8410): signs access tokens |
//! | `audit-<kid>.key` | Ed25519, PKCS#8: signs archives and where the log begins |
//! | `subject-keys.dat` | see [`crate::vault`] |
//! | `keyring.json` | which key is current, which serves on, which is revoked |
//!
//! **Guarantees.** Directory and files are the owner's alone, or the store does not open. What was made is on the disk
//! before anything is made with it. Secrets are wiped from memory when dropped and never shown by Debug.
//!
//! **Not guaranteed.** Secrecy from who reads the owner's files or the process's memory.

mod files;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use quivive_app::ports::{KeyRing, OldKeys, RotatedKeys};
use quivive_delivery::{Ids, Time};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::derivation::{Secret, derive, derive_mac, hex, mac, sha256};

/// Why keys cannot be used. Display says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("{path} can be read by others (mode {mode:03o}): run `chmod {to} {path}`", path = .path.display())]
    Exposed {
        path: PathBuf,
        mode: u32,
        /// The mode it should have.
        to: &'static str,
    },
    #[error("{path} is missing, but other keys are there: restore it from the backup of the keys", path = .path.display())]
    Missing { path: PathBuf },
    #[error("{path} cannot be used ({what}): restore it from the backup of the keys", path = .path.display())]
    Malformed { path: PathBuf, what: String },
    #[error("{path} was made under another master.key: put both back from the same backup", path = .path.display())]
    OtherMaster { path: PathBuf },
    #[error("{path} is in use by another process: stop that one first", path = .path.display())]
    InUse { path: PathBuf },
    #[error("{path}: {source}", path = .path.display())]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl KeyError {
    pub(crate) fn malformed(path: &Path, what: impl Into<String>) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

/// Whether a key makes new things, serves what it made, or is worth nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    Current,
    Previous,
    Revoked,
}

/// A key that signs, or signed: access tokens, or what is to be proved later.
#[derive(Clone)]
pub struct SigningKey {
    pub kid: String,
    pub state: KeyState,
    /// When another took its place.
    pub retired_at: Option<Time>,
    pub(crate) pkcs8: Zeroizing<Vec<u8>>,
    /// The 32 bytes of the public key.
    pub public: [u8; 32],
}

impl SigningKey {
    /// `None` when the bytes are not one Ed25519 key.
    fn read(
        kid: &str,
        state: KeyState,
        retired_at: Option<Time>,
        pkcs8: Zeroizing<Vec<u8>>,
    ) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).ok()?;
        Some(Self {
            kid: kid.to_owned(),
            state,
            retired_at,
            public: pair.public_key().as_ref().try_into().ok()?,
            pkcs8,
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {:?})", self.kid, self.state)
    }
}

/// A root for the HMAC keys of tokens.
struct TokenKey {
    kid: String,
    state: KeyState,
    root: Secret,
}

/// All keys but those of subjects, read once at the start; those that sign access tokens may change while it runs.
pub struct KeyStore {
    created: bool,
    directory: PathBuf,
    master: Secret,
    tokens: Vec<TokenKey>,
    signing: Mutex<Vec<SigningKey>>,
    audit: Vec<SigningKey>,
    /// Keys for one purpose, by the id of what they come from. Both come from the code and the key ring, so they are few.
    subkeys: RwLock<HashMap<(String, &'static str), hmac::Key>>,
}

fn wrapping_key(master: &Secret) -> Secret {
    derive(master, "wrap", "subject keys")
}

/// Stands for the master key where a key id is asked for; no key id is empty.
const MASTER: &str = "";

impl KeyStore {
    /// Reads the keys in `directory`, and makes the directory and every key when there are none yet.
    ///
    /// `ids` gives the randomness and `now` the time of creation of what is made. Blocks on the disk.
    pub fn open(directory: &Path, ids: &dyn Ids, now: Time) -> Result<Self, KeyError> {
        let found = files::open(directory, ids, now)?;
        Ok(Self {
            created: found.created,
            directory: directory.to_owned(),
            master: found.master,
            tokens: found.tokens,
            signing: Mutex::new(found.signing),
            audit: found.audit,
            subkeys: RwLock::default(),
        })
    }

    /// Whether this start made the keys.
    pub fn created(&self) -> bool {
        self.created
    }

    /// Where they are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The keys of access tokens, the current one first; none is revoked.
    pub fn signing_keys(&self) -> Vec<SigningKey> {
        let signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        signing.clone()
    }

    /// Makes a new key that signs access tokens, in place of the current one. Older ones are forgotten once nothing they
    /// signed can be good any more: tokens live for `lifetime`. Blocks on the disk; it is there when this answers.
    pub fn rotate_signing(
        &self,
        old: OldKeys,
        lifetime: Duration,
        ids: &dyn Ids,
        now: Time,
    ) -> Result<RotatedKeys, KeyError> {
        let mut signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        let retired = signing[0].kid.clone();
        *signing = files::rotate_signing(&self.directory, old, now - lifetime, ids, now)?;
        Ok(RotatedKeys {
            new: signing[0].kid.clone(),
            retired,
        })
    }

    /// Copies them into a directory, which is made; those of subjects are the vault's to copy. None rotates meanwhile.
    pub(crate) fn copy(&self, directory: &Path) -> Result<u64, KeyError> {
        let _still = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        files::copy(&self.directory, directory)
    }

    /// The keys of archives and anchors, the current one first; none is revoked.
    pub fn audit_keys(&self) -> &[SigningKey] {
        &self.audit
    }

    /// The ids and public halves of those in a directory, for who only verifies; none where there are no keys.
    pub fn audit_public_keys(directory: &Path) -> Result<Vec<(String, [u8; 32])>, KeyError> {
        let keys = files::existing_audit_keys(directory)?;
        Ok(keys.into_iter().map(|key| (key.kid, key.public)).collect())
    }

    /// The name of each key in use with a digest that tells it from others and reveals nothing of it, safe to keep in the
    /// database: nodes compare them at start.
    pub fn fingerprints(&self) -> Vec<(String, String)> {
        let of_root = |root| hex(&derive(root, "fingerprint", "")[..16]);
        let tokens = self.tokens.iter();
        let signing = self.signing_keys();
        let signing = signing.iter().map(|key| ("signing", key));
        let audit = self.audit.iter().map(|key| ("audit", key));
        std::iter::once(("master".to_owned(), of_root(&self.master)))
            .chain(tokens.map(|key| (format!("tokens-{}", key.kid), of_root(&key.root))))
            .chain(signing.chain(audit).map(|(usage, key)| {
                let digest = sha256(&key.public);
                (format!("{usage}-{}", key.kid), hex(&digest[..16]))
            }))
            .collect()
    }

    /// The key that wraps the keys of subjects.
    pub(crate) fn wrapping_key(&self) -> Secret {
        wrapping_key(&self.master)
    }

    /// Computes under the key of that purpose, which is derived at its first use.
    fn under(&self, kid: &str, root: &Secret, purpose: &'static str, message: &[u8]) -> [u8; 32] {
        let name = (kid.to_owned(), purpose);
        let known = self.subkeys.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known.get(&name) {
            return mac(key, message);
        }
        drop(known);
        let label = if kid == MASTER { "digest" } else { "tokens" };
        let key = derive_mac(root, label, purpose);
        let result = mac(&key, message);
        let mut known = self.subkeys.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(name, key);
        result
    }
}

impl KeyRing for KeyStore {
    fn current(&self) -> &str {
        &self.tokens[0].kid
    }

    fn mac(&self, key: &str, purpose: &'static str, message: &[u8]) -> Option<[u8; 32]> {
        let key = self.tokens.iter().find(|known| known.kid == key)?;
        Some(self.under(&key.kid, &key.root, purpose, message))
    }

    fn digest(&self, purpose: &'static str, bytes: &[u8]) -> [u8; 32] {
        self.under(MASTER, &self.master, purpose, bytes)
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore")
            .field("directory", &self.directory)
            .field("current", &self.current())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
