//! What to compute a password into, whoever made the hash, and what it should come to.

use ::argon2::password_hash::phc::Output;
use ::argon2::{Block, Params};
use quivive_app::ports::UnusableHash;
use subtle::ConstantTimeEq as _;

use super::imported::Imported;
use super::phc::{Argon2Hash, SALT_BYTES};

/// More than any hash that is read has.
const MAX_TEXT_BYTES: usize = 512;

/// One stored hash, or the place of one.
#[derive(Clone)]
pub(super) enum Target {
    Argon2(Argon2Hash),
    Imported(Imported),
}

impl Target {
    /// For a new hash; no password fits it.
    pub(super) fn fresh(params: &Params, salt: [u8; SALT_BYTES]) -> Self {
        Self::Argon2(Argon2Hash::fresh(params, salt))
    }

    /// A hash as it is stored, or as another system exported it, with its text as it is to be stored.
    pub(super) fn read(text: &str) -> Result<(Self, String), UnusableHash> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(UnusableHash::Unknown);
        }
        // Django puts the name of its own class before a PHC string.
        let text = match text.strip_prefix("argon2$") {
            Some(phc) => format!("${phc}"),
            None => text.to_owned(),
        };
        let target = if text.starts_with("$argon2") {
            Self::Argon2(Argon2Hash::read(&text)?)
        } else {
            Self::Imported(Imported::read(&text)?)
        };
        Ok((target, text))
    }

    /// Whether a hash made now would have the same parameters.
    pub(super) fn is_made_by(&self, current: &Params) -> bool {
        match self {
            Self::Argon2(hash) => hash.is_made_by(current),
            Self::Imported(_) => false,
        }
    }

    /// How many blocks of 1 KiB [`Self::compute`] needs.
    pub(super) fn blocks(&self) -> usize {
        match self {
            Self::Argon2(hash) => hash.blocks(),
            Self::Imported(_) => 0,
        }
    }

    /// The costly part. `None` when the algorithm refuses what it was asked before.
    pub(super) fn compute(&self, password: &[u8], blocks: &mut [Block]) -> Option<Output> {
        match self {
            Self::Argon2(hash) => hash
                .compute(password, blocks)
                .inspect_err(|error| tracing::error!(%error, "a password hash failed"))
                .ok(),
            Self::Imported(hash) => hash.compute(password),
        }
    }

    /// In constant time.
    pub(super) fn fits(&self, computed: &Output) -> bool {
        let expected = match self {
            Self::Argon2(hash) => hash.expected(),
            Self::Imported(hash) => Some(hash.expected()),
        };
        expected.is_some_and(|expected| expected.as_bytes().ct_eq(computed.as_bytes()).into())
    }

    /// The PHC string of a fresh hash.
    pub(super) fn phc(&self, computed: Output) -> Option<String> {
        match self {
            Self::Argon2(hash) => hash.phc(computed),
            Self::Imported(_) => None,
        }
    }
}
