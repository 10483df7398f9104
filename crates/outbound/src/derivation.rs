//! One secret, many keys: HKDF with SHA-256 (RFC 5869), a label for each use.
//!
//! Two labels give two keys that tell nothing of each other or of the root, so that a key for one purpose is worth
//! nothing for another.

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// Bound into every key. A change of how keys are derived changes it, and with it every key.
const SALT: &[u8] = b"quivive keys 1";

/// 32 bytes that are wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// The key of that label. `purpose` comes second, so that no purpose can imitate another label.
pub(crate) fn derive(root: &[u8; 32], label: &'static str, purpose: &str) -> Secret {
    let mut key = Secret::default();
    Salt::new(HKDF_SHA256, SALT)
        .extract(root)
        .expand(&[label.as_bytes(), b"/", purpose.as_bytes()], HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .expect("HKDF gives up to 8,160 bytes, and 32 are asked for");
    key
}

/// The same, as a key for HMAC-SHA-256 (RFC 2104).
pub(crate) fn derive_mac(root: &[u8; 32], label: &'static str, purpose: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, derive(root, label, purpose).as_slice())
}

pub(crate) fn mac(key: &hmac::Key, message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(key, message);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_purposes_do_not_run_into_each_other() {
        let root = [7; 32];
        let keys = [
            derive(&root, "tokens", "reset"),
            derive(&root, "tokens", "verify"),
            derive(&root, "digest", "reset"),
            derive(&[8; 32], "tokens", "reset"),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(keys[..n].iter().all(|other| other != key));
        }
        assert_eq!(derive(&root, "tokens", "reset"), keys[0]);
    }

    /// A change of these bytes would end every token and every sealed field. Computed with another implementation.
    #[test]
    fn what_is_derived_stays_the_same() {
        assert_eq!(
            hex(derive(&[7; 32], "tokens", "reset").as_slice()),
            "43fd01dbb9c9892e336fdadb7e60bad899ce6f343dbf28208b646c1c205ea9ef"
        );
    }
}
