//! PHC strings: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`, salt and hash in base64.

use ::argon2::password_hash::phc::{Output, ParamsString, PasswordHash as Phc, Salt};
use ::argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Error, Params, Version};
use quivive_app::ports::UnusableHash;

pub(super) const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// The costliest stored hash that is computed: seven times the memory of today's. A hash beyond comes from nobody's
/// default and would hold a thread for seconds.
pub(super) const MAX_MEMORY_KIB: u32 = 131_072;
const MAX_ITERATIONS: u32 = 16;
pub(super) const MAX_LANES: u32 = 16;

pub(super) fn params(memory_kib: u32, iterations: u32, lanes: u32) -> Result<Params, Error> {
    Params::new(memory_kib, iterations, lanes, Some(HASH_BYTES))
}

/// Argon2, and what it should come to.
#[derive(Clone)]
pub(super) struct Argon2Hash {
    algorithm: Algorithm,
    params: Params,
    version: Version,
    salt: Salt,
    expected: Option<Output>,
}

impl Argon2Hash {
    /// For a new hash; no password fits it.
    pub(super) fn fresh(params: &Params, salt: [u8; SALT_BYTES]) -> Self {
        Self {
            algorithm: Algorithm::Argon2id,
            params: params.clone(),
            version: Version::V0x13,
            salt: Salt::new(&salt).expect("a salt may have 8 to 64 bytes"),
            expected: None,
        }
    }

    /// A stored hash, or why it cannot be computed: its parameters may be beyond reason.
    pub(super) fn read(text: &str) -> Result<Self, UnusableHash> {
        let malformed = || UnusableHash::Malformed("Argon2");
        let phc = Phc::new(text).map_err(|_| malformed())?;
        let algorithm = Algorithm::try_from(phc.algorithm.as_str()).map_err(|_| malformed())?;
        let params = Params::try_from(&phc).map_err(|_| malformed())?;
        within("Argon2 m (KiB)", params.m_cost(), MAX_MEMORY_KIB)?;
        within("Argon2 t", params.t_cost(), MAX_ITERATIONS)?;
        within("Argon2 p", params.p_cost(), MAX_LANES)?;
        let version = phc
            .version
            .map_or(Ok(Version::V0x10), Version::try_from)
            .map_err(|_| malformed())?;
        if !params.keyid().is_empty() || !params.data().is_empty() {
            return Err(malformed());
        }
        Ok(Self {
            algorithm,
            params,
            version,
            salt: phc.salt.ok_or_else(malformed)?,
            expected: Some(phc.hash.ok_or_else(malformed)?),
        })
    }

    /// Whether a hash made now would have the same parameters.
    pub(super) fn is_made_by(&self, current: &Params) -> bool {
        let same = |of: fn(&Params) -> u32| of(&self.params) == of(current);
        same(Params::m_cost)
            && same(Params::t_cost)
            && same(Params::p_cost)
            && self.algorithm == Algorithm::Argon2id
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
        let argon2 = Argon2::new(self.algorithm, self.version, self.params.clone());
        let mut bytes = [0; Output::MAX_LENGTH];
        let length = self.expected.map_or(HASH_BYTES, |expected| expected.len());
        let bytes = &mut bytes[..length];
        argon2.hash_password_into_with_memory(password, self.salt.as_ref(), bytes, blocks)?;
        Output::new(bytes).map_err(|_| Error::OutputTooLong)
    }

    /// What a fitting password comes to; nothing where none fits.
    pub(super) fn expected(&self) -> Option<&Output> {
        self.expected.as_ref()
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

/// Refuses a cost above what is computed here.
pub(super) fn within(
    what: &'static str,
    given: impl Into<u64>,
    most: impl Into<u64>,
) -> Result<(), UnusableHash> {
    let (given, most) = (given.into(), most.into());
    if given <= most {
        return Ok(());
    }
    Err(UnusableHash::TooCostly { what, given, most })
}
