//! PHC strings: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`, salt and hash in base64.

use ::argon2::password_hash::phc::{Output, ParamsString, PasswordHash as Phc, Salt};
use ::argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Error, Params, Version};
use subtle::ConstantTimeEq as _;

pub(super) const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// The costliest stored hash that is computed: seven times the memory of today's. A hash beyond comes from nobody's
/// default and would hold a thread for seconds.
const MAX_MEMORY_KIB: u32 = 131_072;
const MAX_ITERATIONS: u32 = 16;
const MAX_LANES: u32 = 16;

pub(super) fn params(memory_kib: u32, iterations: u32, lanes: u32) -> Result<Params, Error> {
    Params::new(memory_kib, iterations, lanes, Some(HASH_BYTES))
}

/// What to compute a password into, and what it should come to.
#[derive(Clone)]
pub(super) struct Target {
    params: Params,
    version: Version,
    salt: Salt,
    expected: Option<Output>,
}

impl Target {
    /// For a new hash; no password fits it.
    pub(super) fn fresh(params: &Params, salt: [u8; SALT_BYTES]) -> Self {
        Self {
            params: params.clone(),
            version: Version::V0x13,
            salt: Salt::new(&salt).expect("a salt may have 8 to 64 bytes"),
            expected: None,
        }
    }

    /// A stored hash, or `None` when its format is unknown or its parameters are beyond reason.
    pub(super) fn parse(phc: &str) -> Option<Self> {
        let phc = Phc::new(phc).ok()?;
        if phc.algorithm != ARGON2ID_IDENT {
            return None;
        }
        let params = Params::try_from(&phc).ok()?;
        let within_reason = params.m_cost() <= MAX_MEMORY_KIB
            && params.t_cost() <= MAX_ITERATIONS
            && params.p_cost() <= MAX_LANES
            && params.keyid().is_empty()
            && params.data().is_empty();
        let version = phc
            .version
            .map_or(Ok(Version::V0x10), Version::try_from)
            .ok()?;
        within_reason.then_some(Self {
            params,
            version,
            salt: phc.salt?,
            expected: Some(phc.hash?),
        })
    }

    /// Whether a hash made now would have the same parameters.
    pub(super) fn is_made_by(&self, current: &Params) -> bool {
        let same = |of: fn(&Params) -> u32| of(&self.params) == of(current);
        same(Params::m_cost)
            && same(Params::t_cost)
            && same(Params::p_cost)
            && self.version == Version::V0x13
            && self.salt.len() >= SALT_BYTES
            && self
                .expected
                .is_some_and(|expected| expected.len() == HASH_BYTES)
    }

    /// How many blocks of 1 KiB [`Self::compute`] needs.
    pub(super) fn blocks(&self) -> usize {
        self.params.block_count()
    }

    /// The costly part.
    pub(super) fn compute(&self, password: &[u8], blocks: &mut [Block]) -> Result<Output, Error> {
        let argon2 = Argon2::new(Algorithm::Argon2id, self.version, self.params.clone());
        let mut bytes = [0; Output::MAX_LENGTH];
        let length = self.expected.map_or(HASH_BYTES, |expected| expected.len());
        let bytes = &mut bytes[..length];
        argon2.hash_password_into_with_memory(password, self.salt.as_ref(), bytes, blocks)?;
        Output::new(bytes).map_err(|_| Error::OutputTooLong)
    }

    /// In constant time.
    pub(super) fn fits(&self, computed: &Output) -> bool {
        let expected = self.expected.as_ref();
        expected.is_some_and(|expected| expected.as_bytes().ct_eq(computed.as_bytes()).into())
    }

    /// The PHC string of a fresh hash.
    pub(super) fn phc(&self, computed: Output) -> Option<String> {
        let phc = Phc {
            algorithm: ARGON2ID_IDENT,
            version: Some(self.version.into()),
            params: ParamsString::try_from(&self.params).ok()?,
            salt: Some(self.salt),
            hash: Some(computed),
        };
        Some(phc.to_string())
    }
}
