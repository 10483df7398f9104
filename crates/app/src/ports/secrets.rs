//! What is slow or secret: password hashing, the server's keys, access tokens.

use std::sync::Arc;

use quivive_delivery::{Fault, Time};
use quivive_domain::{Password, PasswordHash, Role, SessionId, UserId};
use uuid::Uuid;

use super::Read;

/// A place in the hashing queue. Dropping it gives the place back.
pub type HashTicket = Arc<dyn std::any::Any + Send + Sync>;

/// Whether a password fits a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub matches: bool,
    /// The hash was made with older parameters; make a new one while the password is at hand.
    pub outdated: bool,
}

/// Why a hash from elsewhere cannot be taken over. Display says what to do instead; it never repeats the hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusableHash {
    #[error(
        "no password hash of a known form: give bcrypt, Argon2, scrypt, or PBKDF2 as Django writes it"
    )]
    Unknown,
    #[error("no whole {0} hash: export it again")]
    Malformed(&'static str),
    /// Each comparison would hold a thread, or its memory, for too long.
    #[error(
        "{what} is {given}, and {most} is the most that is computed: leave the hash out, and let its owner reset the password"
    )]
    TooCostly {
        what: &'static str,
        given: u64,
        most: u64,
    },
}

/// Who asks for a place in the hashing queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    First,
    /// Who had one, and left it to others while there was nothing to hash.
    Again,
}

/// Password hashing: slow on purpose, in threads and memory of its own.
pub trait PasswordHasher: Send + Sync {
    /// A hash that another system made, as it is to be stored. It is verified like one of our own and replaced by one at
    /// the first sign-in.
    fn read(&self, text: &str) -> Result<PasswordHash, UnusableHash>;

    /// A place in the bounded queue, for one workflow; [`Fault::Busy`] when it is full.
    fn admit(&self, entrance: Entrance) -> Result<HashTicket, Fault>;

    /// Of the time that hashes were under way lately, the part for which they had a core, from 0 to 1. 1 where it is not known.
    fn core_time(&self) -> f64;

    fn hash(&self, ticket: &HashTicket, password: &Password) -> Read<'_, PasswordHash>;

    /// `None` as hash: the same work against a hash that nothing fits, so that an unknown account costs what a known does.
    fn verify(
        &self,
        ticket: &HashTicket,
        password: &Password,
        hash: Option<&PasswordHash>,
    ) -> Read<'_, Verdict>;
}

/// Keys of the server, apart from the database. What they make is compared in constant time.
pub trait KeyRing: Send + Sync {
    /// The id of the key that new tokens are made with.
    fn current(&self) -> &str;

    /// HMAC-SHA-256 under the key of that id for that purpose; `None` when there is no such key any more.
    fn mac(&self, key: &str, purpose: &'static str, message: &[u8]) -> Option<[u8; 32]>;

    /// A keyed digest that outlives rotations: for devices and the like, never for secrets.
    fn digest(&self, purpose: &'static str, bytes: &[u8]) -> [u8; 32];
}

/// What an access token says. Times are seconds since 1970, as in RFC 9068.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AccessClaims {
    pub iss: String,
    pub aud: String,
    pub sub: UserId,
    pub iat: i64,
    pub exp: i64,
    pub jti: Uuid,
    pub sid: SessionId,
    /// Who asked for it: the server's own API and pages, for there are no others yet. RFC 9068 will have it there.
    pub client_id: String,
    pub roles: Vec<Role>,
    /// The global token version it was issued under.
    pub gv: u32,
    /// The user's.
    pub uv: u32,
    pub amr: Vec<String>,
    pub auth_time: i64,
}

/// What becomes of keys that signed until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldKeys {
    /// What they signed stays good as long as it would have been.
    ServeOn,
    /// Somebody else may have them: what they signed is good for nothing.
    Revoked,
}

/// The keys before and after a rotation, by their ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotatedKeys {
    pub new: String,
    pub retired: String,
}

/// Signs and verifies access tokens: the one place that does.
pub trait AccessTokens: Send + Sync {
    fn sign(&self, claims: &AccessClaims) -> Result<String, Fault>;

    /// The claims of a token that one of our keys signed, of type `at+jwt`, for this issuer and audience, and in its time.
    fn verify(&self, token: &str, now: Time) -> Option<AccessClaims>;

    /// Another number after each change of the keys: what was verified before it says nothing any more.
    fn generation(&self) -> u64;

    /// The public keys of tokens that may be good, as a JSON Web Key Set (RFC 7517).
    fn jwks(&self, now: Time) -> serde_json::Value;

    /// A new key signs from now on. It is on the disk when this answers.
    fn rotate(&self, old: OldKeys, now: Time) -> Read<'_, RotatedKeys>;
}
