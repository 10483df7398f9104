//! How a message is signed, but for the arithmetic: what is signed, and how keys and signatures are written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretBox, SecretString};

/// The secrets of an endpoint that belong together: one for HMAC-SHA256, which the receiver gets, and the seed of an
/// Ed25519 key, which never leaves.
pub struct SigningKeys {
    bytes: SecretBox<[u8; 64]>,
}

impl SigningKeys {
    /// The first half is the HMAC key, the second one the seed.
    pub fn of(bytes: &[u8; 64]) -> Self {
        Self {
            bytes: SecretBox::new(Box::new(*bytes)),
        }
    }

    /// As they are kept: to be sealed.
    pub fn bytes(&self) -> &[u8; 64] {
        self.bytes.expose_secret()
    }

    pub fn hmac_key(&self) -> &[u8] {
        &self.bytes()[..32]
    }

    pub fn seed(&self) -> &[u8] {
        &self.bytes()[32..]
    }

    /// What the receiver verifies `v1` with.
    pub fn secret(&self) -> SecretString {
        let text = Zeroizing::new(STANDARD.encode(self.hmac_key()));
        format!("whsec_{}", *text).into()
    }

    /// What the receiver verifies `v1a` with.
    pub fn public_key(bytes: &[u8; 32]) -> String {
        format!("whpk_{}", STANDARD.encode(bytes))
    }
}

/// What is signed: the id, the time in seconds, and the body as it is sent.
pub fn signed_content(id: &str, seconds: i64, body: &[u8]) -> Vec<u8> {
    let mut content = format!("{id}.{seconds}.").into_bytes();
    content.extend_from_slice(body);
    content
}

/// A signature as the header has it.
pub fn hmac_signature(bytes: &[u8]) -> String {
    format!("v1,{}", STANDARD.encode(bytes))
}

pub fn ed25519_signature(bytes: &[u8]) -> String {
    format!("v1a,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_with_their_names() {
        let mut bytes = [7; 64];
        bytes[32..].fill(8);
        let keys = SigningKeys::of(&bytes);
        let secret = keys.secret();
        let text = secret.expose_secret().strip_prefix("whsec_").unwrap();
        assert_eq!(STANDARD.decode(text).unwrap(), keys.hmac_key());
        assert_eq!((keys.hmac_key(), keys.seed()), (&[7; 32][..], &[8; 32][..]));
        let public = SigningKeys::public_key(&[9; 32]);
        assert_eq!(
            STANDARD
                .decode(public.strip_prefix("whpk_").unwrap())
                .unwrap(),
            [9; 32]
        );
    }

    #[test]
    fn what_is_signed() {
        assert_eq!(
            signed_content("msg_1", 1_614_265_330, b"{}"),
            b"msg_1.1614265330.{}"
        );
        assert_eq!(hmac_signature(&[0; 3]), "v1,AAAA");
        assert_eq!(ed25519_signature(&[0; 3]), "v1a,AAAA");
    }
}
