//! Hashes that other systems made: verified until the first sign-in, never made here.
//!
//! | form | whose |
//! |---|---|
//! | `$2a$12$…`, `$2b$…`, `$2y$…` | bcrypt, from nearly everywhere |
//! | `bcrypt$$2b$12$…`, `bcrypt_sha256$$2b$12$…` | Django's two of bcrypt |
//! | `pbkdf2_sha256$1000000$salt$hash`, `pbkdf2_sha1$…` | Django's default, and its older one |
//! | `scrypt$16384$salt$8$5$hash` | Django's |
//! | `$scrypt$ln=16,r=8,p=1$salt$hash` | PHC, as passlib and others write it |
//!
//! Each has a bound, of about a second of a core and the memory of the costliest Argon2: a hash beyond it would hold one of
//! few threads at every guess.

use std::num::NonZeroU32;

use ::argon2::password_hash::phc::{Output, PasswordHash as Phc};
use aws_lc_rs::pbkdf2;
use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD, STANDARD_NO_PAD};
use quivive_app::ports::UnusableHash;
use zeroize::{Zeroize as _, Zeroizing};

use super::phc::{MAX_LANES, MAX_MEMORY_KIB, within};
use crate::derivation::{hex, sha256};

/// 2^14 rounds: some 900 ms.
const MAX_BCRYPT_COST: u32 = 14;
/// Django begins with 1,500,000 in its newest version, and raises it by a fifth with each.
const MAX_PBKDF2_ITERATIONS: u32 = 4_000_000;
/// N times r times p, blocks of 128 bytes: 512 MiB are gone through twice.
const MAX_SCRYPT_BLOCKS: u64 = 1 << 22;
/// What is left of r when memory and blocks are bounded: it makes the other buffers.
const MAX_SCRYPT_R: u32 = 64;

/// bcrypt reads no more of a password, and what it was compared with was cut, too.
const BCRYPT_BYTES: usize = 72;

/// The last character stands for fewer bits than it could; what others leave in the rest means nothing.
const BCRYPT_BASE64: GeneralPurpose =
    GeneralPurpose::new(&BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));

#[derive(Clone)]
pub(super) struct Imported {
    function: Function,
    expected: Output,
}

#[derive(Clone)]
enum Function {
    Bcrypt {
        cost: u32,
        salt: [u8; 16],
        /// Of the password's SHA-256 in hexadecimal digits, so that all of it counts.
        prehashed: bool,
    },
    Pbkdf2 {
        algorithm: pbkdf2::Algorithm,
        iterations: NonZeroU32,
        salt: Vec<u8>,
    },
    Scrypt {
        params: scrypt::Params,
        salt: Vec<u8>,
    },
}

impl Imported {
    pub(super) fn read(text: &str) -> Result<Self, UnusableHash> {
        if let Some(hash) = text.strip_prefix("bcrypt_sha256$") {
            return bcrypt(hash, true);
        }
        if let Some(hash) = text.strip_prefix("bcrypt$") {
            return bcrypt(hash, false);
        }
        if let Some(rest) = text.strip_prefix("pbkdf2_sha256$") {
            return pbkdf2(rest, pbkdf2::PBKDF2_HMAC_SHA256);
        }
        if let Some(rest) = text.strip_prefix("pbkdf2_sha1$") {
            return pbkdf2(rest, pbkdf2::PBKDF2_HMAC_SHA1);
        }
        if text.starts_with("$scrypt$") {
            return scrypt_phc(text);
        }
        if let Some(rest) = text.strip_prefix("scrypt$") {
            return scrypt_django(rest);
        }
        if text.starts_with("$2") {
            return bcrypt(text, false);
        }
        Err(UnusableHash::Unknown)
    }

    pub(super) fn expected(&self) -> &Output {
        &self.expected
    }

    /// The costly part.
    pub(super) fn compute(&self, password: &[u8]) -> Option<Output> {
        let mut bytes = [0; Output::MAX_LENGTH];
        let out = &mut bytes[..self.expected.len()];
        match &self.function {
            Function::Bcrypt {
                cost,
                salt,
                prehashed,
            } => {
                let mut key = Zeroizing::new(Vec::with_capacity(password.len() + 1));
                if *prehashed {
                    let mut digest = hex(&sha256(password));
                    key.extend_from_slice(digest.as_bytes());
                    digest.zeroize();
                } else {
                    key.extend_from_slice(password);
                }
                key.push(0);
                key.truncate(BCRYPT_BYTES);
                out.copy_from_slice(&bcrypt::bcrypt(*cost, *salt, &key)[..out.len()]);
            }
            Function::Pbkdf2 {
                algorithm,
                iterations,
                salt,
            } => pbkdf2::derive(*algorithm, *iterations, salt, password, out),
            Function::Scrypt { params, salt } => {
                scrypt::scrypt(password, salt, params, out).ok()?;
            }
        }
        Output::new(out).ok()
    }
}

/// `$2b$12$`, 22 characters of salt, 31 of the hash.
fn bcrypt(text: &str, prehashed: bool) -> Result<Imported, UnusableHash> {
    let malformed = || UnusableHash::Malformed("bcrypt");
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|version| text.strip_prefix(version))
        .ok_or_else(malformed)?;
    let (cost, tail) = rest.split_once('$').ok_or_else(malformed)?;
    let cost: u32 = number(cost).ok_or_else(malformed)?;
    within("bcrypt cost", cost, MAX_BCRYPT_COST)?;
    if cost < 4 || tail.len() != 53 || !tail.is_ascii() {
        return Err(malformed());
    }
    let decoded = |part: &str| BCRYPT_BASE64.decode(part).map_err(|_| malformed());
    let (salt, hash) = (decoded(&tail[..22])?, decoded(&tail[22..])?);
    Ok(Imported {
        function: Function::Bcrypt {
            cost,
            salt: salt.try_into().map_err(|_| malformed())?,
            prehashed,
        },
        expected: Output::new(&hash).map_err(|_| malformed())?,
    })
}

/// `iterations$salt$hash`: the salt is text, the hash base64.
fn pbkdf2(rest: &str, algorithm: pbkdf2::Algorithm) -> Result<Imported, UnusableHash> {
    let malformed = || UnusableHash::Malformed("PBKDF2");
    let [iterations, salt, hash] = parts(rest).ok_or_else(malformed)?;
    let iterations: u64 = number(iterations).ok_or_else(malformed)?;
    within("PBKDF2 iterations", iterations, MAX_PBKDF2_ITERATIONS)?;
    let iterations = u32::try_from(iterations).ok().and_then(NonZeroU32::new);
    Ok(Imported {
        function: Function::Pbkdf2 {
            algorithm,
            iterations: iterations.ok_or_else(malformed)?,
            salt: salt.as_bytes().to_vec(),
        },
        expected: output(hash).ok_or_else(malformed)?,
    })
}

/// `N$salt$r$p$hash`, or with the salt first; the salt is text, the hash base64.
fn scrypt_django(rest: &str) -> Result<Imported, UnusableHash> {
    let malformed = || UnusableHash::Malformed("scrypt");
    let [first, second, r, p, hash] = parts(rest).ok_or_else(malformed)?;
    let (n, salt) = match number::<u64>(first) {
        Some(n) => (n, second),
        None => (number(second).ok_or_else(malformed)?, first),
    };
    if !n.is_power_of_two() {
        return Err(malformed());
    }
    let (r, p) = number(r).zip(number(p)).ok_or_else(malformed)?;
    Ok(Imported {
        function: Function::Scrypt {
            params: scrypt_params(n.ilog2(), r, p)?,
            salt: salt.as_bytes().to_vec(),
        },
        expected: output(hash).ok_or_else(malformed)?,
    })
}

fn scrypt_phc(text: &str) -> Result<Imported, UnusableHash> {
    let malformed = || UnusableHash::Malformed("scrypt");
    let phc = Phc::new(text).map_err(|_| malformed())?;
    let param = |name| phc.params.get_decimal(name).ok_or_else(malformed);
    let params = scrypt_params(param("ln")?, param("r")?, param("p")?)?;
    Ok(Imported {
        function: Function::Scrypt {
            params,
            salt: phc.salt.ok_or_else(malformed)?.to_vec(),
        },
        expected: phc.hash.ok_or_else(malformed)?,
    })
}

fn scrypt_params(log_n: u32, r: u32, p: u32) -> Result<scrypt::Params, UnusableHash> {
    let malformed = || UnusableHash::Malformed("scrypt");
    within("scrypt r", r, MAX_SCRYPT_R)?;
    within("scrypt p", p, MAX_LANES)?;
    // No N that is beyond all reason may wrap around.
    let n = 1u64.checked_shl(log_n.min(40)).unwrap_or(u64::MAX);
    let memory_kib = n * u64::from(r) / 8;
    within("scrypt memory (KiB)", memory_kib, MAX_MEMORY_KIB)?;
    within(
        "scrypt N·r·p",
        n * u64::from(r) * u64::from(p),
        MAX_SCRYPT_BLOCKS,
    )?;
    let log_n = u8::try_from(log_n).map_err(|_| malformed())?;
    if log_n == 0 {
        return Err(malformed());
    }
    scrypt::Params::new(log_n, r, p).map_err(|_| malformed())
}

fn parts<const N: usize>(text: &str) -> Option<[&str; N]> {
    let all: Vec<&str> = text.split('$').collect();
    all.try_into()
        .ok()
        .filter(|parts: &[&str; N]| parts.iter().all(|part| !part.is_empty()))
}

/// Digits alone.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A hash in base64, with its padding or without it.
fn output(text: &str) -> Option<Output> {
    let bytes = STANDARD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .ok()?;
    // A part of a hash would be as good as none.
    (bytes.len() >= 16)
        .then(|| Output::new(&bytes).ok())
        .flatten()
}

#[cfg(test)]
mod tests;
