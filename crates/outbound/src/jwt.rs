//! Access tokens: JSON Web Tokens of type `at+jwt` (RFC 9068), signed with Ed25519 (RFC 8037).
//!
//! This is the one place that signs or verifies them. A token's header is not trusted for anything but to pick one of our
//! own keys: the algorithm belongs to the key (RFC 8725, 3.1), and a header that says anything beyond `alg`, `typ` and
//! `kid` is refused, so that no extension, embedded key or address in it is ever looked at.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use quivive_app::ports::{AccessClaims, AccessTokens, OldKeys, Read, RotatedKeys};
use quivive_delivery::{Fault, Ids, Time};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::keys::{KeyStore, SigningKey};

/// Ours have about 600; anything longer is refused unread.
const MAX_TOKEN_BYTES: usize = 4_096;
/// How far ahead the clock of another node may be.
const MAX_IAT_AHEAD_S: i64 = 60;
const TYPE: &str = "at+jwt";

/// A header must be this and nothing else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OurHeader {
    alg: String,
    typ: String,
    kid: String,
}

impl OurHeader {
    fn parse(encoded: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(encoded).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Names compare as RFC 9068, 4 and RFC 7515, 4.1.9 say: the type without regard to case, with or without its prefix.
    fn is_ours(&self) -> bool {
        self.alg == "EdDSA"
            && (self.typ.eq_ignore_ascii_case(TYPE)
                || self.typ.eq_ignore_ascii_case("application/at+jwt"))
    }
}

/// The one claim that ours never have and a verifier must respect all the same (RFC 7519, 4.1.5).
#[derive(Deserialize)]
struct NotBefore {
    nbf: Option<i64>,
}

struct KnownKey {
    kid: String,
    key: DecodingKey,
    /// From then on nothing that it signed is good.
    until: Option<Time>,
    jwk: Value,
}

impl KnownKey {
    fn serves(&self, now: Time) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The keys between two changes.
struct Ring {
    generation: u64,
    header: Header,
    signing: EncodingKey,
    known: Vec<KnownKey>,
}

impl Ring {
    /// Of keys that are not revoked, the current one first.
    fn of(keys: &[SigningKey], lifetime: Duration, generation: u64) -> Self {
        let current = &keys[0];
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(current.kid.clone());
        let known = |key: &SigningKey| KnownKey {
            kid: key.kid.clone(),
            key: DecodingKey::from_ed_der(&key.public),
            until: key.retired_at.map(|at| at + lifetime),
            jwk: jwk(key),
        };
        Self {
            generation,
            header,
            signing: EncodingKey::from_ed_der(&current.pkcs8),
            known: keys.iter().map(known).collect(),
        }
    }
}

/// Signs with the current key, verifies with every one that is not revoked and whose tokens may be in their time.
pub struct JwtTokens {
    issuer: String,
    audience: String,
    /// Of a token.
    lifetime: Duration,
    validation: Validation,
    ring: RwLock<Arc<Ring>>,
    keys: Arc<KeyStore>,
    ids: Arc<dyn Ids>,
}

impl JwtTokens {
    /// For one issuer and one audience, compared byte for byte, and tokens that live that long.
    pub fn new(
        keys: Arc<KeyStore>,
        ids: Arc<dyn Ids>,
        issuer: &str,
        audience: &str,
        lifetime: Duration,
    ) -> Self {
        // The library reads the wall clock, so it is left the signature alone.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        let ring = Ring::of(&keys.signing_keys(), lifetime, 0);
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            lifetime,
            validation,
            ring: RwLock::new(Arc::new(ring)),
            keys,
            ids,
        }
    }

    fn ring(&self) -> Arc<Ring> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&ring)
    }

    fn is_in_force(&self, claims: &AccessClaims, not_before: &NotBefore, now: Time) -> bool {
        let now = now.as_second();
        claims.iss == self.issuer
            && claims.aud == self.audience
            && now < claims.exp
            && claims.iat <= now.saturating_add(MAX_IAT_AHEAD_S)
            && claims.iat < claims.exp
            && not_before.nbf.is_none_or(|nbf| nbf <= now)
    }
}

/// RFC 8037, 2.
fn jwk(key: &SigningKey) -> Value {
    json!({
        "kty": "OKP",
        "crv": "Ed25519",
        "x": URL_SAFE_NO_PAD.encode(key.public),
        "kid": key.kid,
        "use": "sig",
        "alg": "EdDSA",
    })
}

impl AccessTokens for JwtTokens {
    fn sign(&self, claims: &AccessClaims) -> Result<String, Fault> {
        let ring = self.ring();
        encode(&ring.header, claims, &ring.signing).map_err(Fault::internal)
    }

    fn verify(&self, token: &str, now: Time) -> Option<AccessClaims> {
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        let mut parts = token.split('.');
        let (header, payload) = (parts.next()?, parts.next()?);
        let (_signature, None) = (parts.next()?, parts.next()) else {
            return None;
        };
        let header = OurHeader::parse(header).filter(OurHeader::is_ours)?;
        let ring = self.ring();
        let known = ring.known.iter().find(|known| known.kid == header.kid)?;
        let mut claims: AccessClaims = decode(token, &known.key, &self.validation).ok()?.claims;
        // Whoever has a retired key could write any time: no token outlives its key.
        if let Some(until) = known.until {
            claims.exp = claims.exp.min(until.as_second());
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let not_before = serde_json::from_slice(&payload).ok()?;
        self.is_in_force(&claims, &not_before, now)
            .then_some(claims)
    }

    fn generation(&self) -> u64 {
        self.ring().generation
    }

    fn jwks(&self, now: Time) -> Value {
        let ring = self.ring();
        let serving = ring.known.iter().filter(|known| known.serves(now));
        json!({ "keys": serving.map(|known| &known.jwk).collect::<Vec<_>>() })
    }

    fn rotate(&self, old: OldKeys, now: Time) -> Read<'_, RotatedKeys> {
        let (keys, ids, lifetime) = (Arc::clone(&self.keys), Arc::clone(&self.ids), self.lifetime);
        Box::pin(async move {
            let rotating = tokio::task::spawn_blocking(move || {
                keys.rotate_signing(old, lifetime, ids.as_ref(), now)
            });
            let rotated = rotating.await.map_err(Fault::internal)?;
            let rotated = rotated.map_err(Fault::internal)?;
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            // Read under the lock: of two at once the last one has both.
            let keys = self.keys.signing_keys();
            *ring = Arc::new(Ring::of(&keys, lifetime, ring.generation + 1));
            Ok(rotated)
        })
    }
}

impl fmt::Debug for JwtTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtTokens")
            .field("issuer", &self.issuer)
            .field("kid", &self.ring().header.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
