//! Access tokens: JSON Web Tokens of type `at+jwt` (RFC 9068), signed with Ed25519 (RFC 8037).
//!
//! This is the one place that signs or verifies them. A token's header is not trusted for anything but to pick one of our
//! own keys: the algorithm belongs to the key (RFC 8725, 3.1), and a header that says anything beyond `alg`, `typ` and
//! `kid` is refused, so that no extension, embedded key or address in it is ever looked at.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use quivive_app::ports::{AccessClaims, AccessTokens};
use quivive_delivery::{Fault, Time};
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
}

/// Signs with the current key, verifies with every one that is not revoked.
pub struct JwtTokens {
    issuer: String,
    audience: String,
    header: Header,
    signing: EncodingKey,
    known: Vec<KnownKey>,
    validation: Validation,
    jwks: Value,
}

impl JwtTokens {
    /// For one issuer and one audience, compared byte for byte.
    pub fn new(keys: &KeyStore, issuer: &str, audience: &str) -> Self {
        let keys = keys.signing_keys();
        let current = &keys[0];
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(current.kid.clone());
        // The library reads the wall clock, so it is left the signature alone.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        Self {
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
            header,
            signing: EncodingKey::from_ed_der(&current.pkcs8),
            known: keys
                .iter()
                .map(|key| KnownKey {
                    kid: key.kid.clone(),
                    key: DecodingKey::from_ed_der(&key.public),
                })
                .collect(),
            validation,
            jwks: json!({ "keys": keys.iter().map(jwk).collect::<Vec<_>>() }),
        }
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
        encode(&self.header, claims, &self.signing).map_err(Fault::internal)
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
        let known = self.known.iter().find(|known| known.kid == header.kid)?;
        let claims: AccessClaims = decode(token, &known.key, &self.validation).ok()?.claims;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let not_before = serde_json::from_slice(&payload).ok()?;
        self.is_in_force(&claims, &not_before, now)
            .then_some(claims)
    }

    fn jwks(&self) -> Value {
        self.jwks.clone()
    }
}

impl fmt::Debug for JwtTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtTokens")
            .field("issuer", &self.issuer)
            .field("kid", &self.header.kid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
