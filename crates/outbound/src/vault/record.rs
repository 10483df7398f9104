//! The records of the file of subject keys: all of 128 bytes, so that each lies within one sector of the disk and the
//! start of the next is known without reading this one.
//!
//! ```text
//! 0..8     check: the start of the SHA-256 of bytes 8..68
//! 8..16    from where on the file was not yet synced when this was written, as a record's number
//! 16       version, 1
//! 17       length of the name
//! 18..68   name, then zeros
//! 68..80   nonce
//! 80..128  key, wrapped by AES-256-GCM under the wrapping key, the name being authenticated with it
//! ```
//!
//! Destroyed is what has zeros from 68 on. The check does not cover them, so that a destroyed record still has its name
//! and its place.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::derivation::{Secret, sha256};

pub(super) const BYTES: usize = 128;
/// The longest name of a key. The product's have 38: `s:` and an account's id.
pub(super) const MAX_NAME_BYTES: usize = 50;

const VERSION: u8 = 1;
const CHECK: usize = 8;
const CHECKED: std::ops::Range<usize> = CHECK..NONCE;
const NAME: usize = 18;
const NONCE: usize = NAME + MAX_NAME_BYTES;
const WRAPPED: usize = NONCE + NONCE_LEN;
/// What is overwritten when a key is destroyed.
pub(super) const SECRET: std::ops::Range<usize> = NONCE..BYTES;
pub(super) const WRAPPED_BYTES: usize = SECRET.end - SECRET.start;

/// The first record tells what the file is.
const MAGIC: &[u8; 32] = b"quivive subject keys, version 1\n";
const MAGIC_AT: usize = 8;
const FINGERPRINT_AT: usize = MAGIC_AT + MAGIC.len();
const FINGERPRINT_BYTES: usize = 16;

pub(super) type Record = [u8; BYTES];

/// Wraps and unwraps the keys of subjects.
pub(super) struct Wrapping {
    key: LessSafeKey,
    fingerprint: [u8; FINGERPRINT_BYTES],
}

impl Wrapping {
    pub(super) fn new(secret: &Secret) -> Self {
        let digest = sha256(
            &[
                b"fingerprint of the wrapping key".as_slice(),
                secret.as_slice(),
            ]
            .concat(),
        );
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        fingerprint.copy_from_slice(&digest[..FINGERPRINT_BYTES]);
        Self {
            key: aes_256_gcm(secret),
            fingerprint,
        }
    }

    /// The first record of a new file.
    pub(super) fn header(&self) -> Record {
        let mut record = [0; BYTES];
        record[MAGIC_AT..FINGERPRINT_AT].copy_from_slice(MAGIC);
        record[FINGERPRINT_AT..FINGERPRINT_AT + FINGERPRINT_BYTES]
            .copy_from_slice(&self.fingerprint);
        let check = sha256(&record[CHECK..]);
        record[..CHECK].copy_from_slice(&check[..CHECK]);
        record
    }

    /// The record of a key. `name` has at most [`MAX_NAME_BYTES`].
    pub(super) fn wrap(
        &self,
        name: &str,
        key: &Secret,
        nonce: [u8; NONCE_LEN],
        unsynced_from: u32,
    ) -> Record {
        let mut record = [0; BYTES];
        record[8..16].copy_from_slice(&u64::from(unsynced_from).to_le_bytes());
        record[16] = VERSION;
        record[17] = u8::try_from(name.len()).expect("names are checked before");
        record[NAME..NAME + name.len()].copy_from_slice(name.as_bytes());
        let check = sha256(&record[CHECKED]);
        record[..CHECK].copy_from_slice(&check[..CHECK]);
        record[NONCE..WRAPPED].copy_from_slice(&nonce);
        record[SECRET].copy_from_slice(&self.wrap_alone(name, key, nonce));
        record
    }

    /// Nonce and wrapped key, as a record ends with them.
    pub(super) fn wrap_alone(
        &self,
        name: &str,
        key: &Secret,
        nonce: [u8; NONCE_LEN],
    ) -> [u8; WRAPPED_BYTES] {
        let mut bytes = [0; WRAPPED_BYTES];
        bytes[..NONCE_LEN].copy_from_slice(&nonce);
        let (secret, tag) = bytes[NONCE_LEN..].split_at_mut(key.len());
        secret.copy_from_slice(key.as_slice());
        let made = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                secret,
            )
            .expect("AES-GCM seals 32 bytes");
        tag.copy_from_slice(made.as_ref());
        bytes
    }

    /// The key in a record that was not destroyed, or `None` when its bytes were changed.
    pub(super) fn unwrap(&self, record: &Record, name: &str) -> Option<Secret> {
        self.unwrap_alone(&record[SECRET], name)
    }

    /// The key in what [`Self::wrap_alone`] gave, or `None` when that was changed.
    pub(super) fn unwrap_alone(&self, wrapped: &[u8], name: &str) -> Option<Secret> {
        let (nonce, sealed) = wrapped.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = zeroize::Zeroizing::new([0; WRAPPED_BYTES - NONCE_LEN]);
        if sealed.len() != bytes.len() {
            return None;
        }
        bytes.copy_from_slice(sealed);
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(name.as_bytes()), bytes.as_mut_slice())
            .ok()?;
        let mut key = Secret::default();
        key.copy_from_slice(plain);
        Some(key)
    }
}

/// AES-256-GCM (NIST SP 800-38D) under a key.
pub(super) fn aes_256_gcm(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes"))
}

/// What the first record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    Ours,
    OtherMaster,
    Unknown,
}

pub(super) fn header(record: &Record, wrapping: &Wrapping) -> Header {
    let ours = wrapping.header();
    if *record == ours {
        Header::Ours
    } else if record[MAGIC_AT..FINGERPRINT_AT] == *MAGIC
        && record[..CHECK] == sha256(&record[CHECK..])[..CHECK]
    {
        Header::OtherMaster
    } else {
        Header::Unknown
    }
}

/// A record's name, or `None` when it is none.
pub(super) fn name(record: &Record) -> Option<&str> {
    let length = usize::from(record[17]);
    let whole = record[16] == VERSION
        && length <= MAX_NAME_BYTES
        && record[..CHECK] == sha256(&record[CHECKED])[..CHECK];
    if !whole {
        return None;
    }
    std::str::from_utf8(&record[NAME..NAME + length]).ok()
}

/// From where on the file was not yet synced when this record was written.
pub(super) fn unsynced_from(record: &Record) -> u64 {
    u64::from_le_bytes([
        record[8], record[9], record[10], record[11], record[12], record[13], record[14],
        record[15],
    ])
}

/// Whether the key was overwritten, also if that was cut short: a nonce or a tag of zeros does not happen by chance.
pub(super) fn is_destroyed(record: &Record) -> bool {
    let zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    zero(&record[NONCE..WRAPPED]) || zero(&record[BYTES - 16..])
}
