//! How a message is signed, but for the arithmetic: what is signed, and how keys and signatures are written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretBox, SecretString};

/// The secrets of an endpoint that belong together: one for HMAC-SHA256, which the receiver gets, and the seed of an
/// Ed25519 key, which never leaves.
pub struct SigningKeys {
    hmac: SecretBox<[u8; 32]>,
    seed: SecretBox<[u8; 32]>,
}

impl SigningKeys {
    pub fn new(hmac: [u8; 32], seed: [u8; 32]) -> Self {
        Self {
            hmac: SecretBox::new(Box::new(hmac)),
            seed: SecretBox::new(Box::new(seed)),
        }
    }

    /// From the bytes they were kept as; `None` for any others.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (hmac, seed) = bytes.split_first_chunk()?;
        Some(Self::new(*hmac, seed.try_into().ok()?))
    }

    /// As they are kept: to be sealed.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut bytes = Zeroizing::new([0; 64]);
        let (hmac, seed) = bytes.split_at_mut(32);
        hmac.copy_from_slice(self.hmac_key());
        seed.copy_from_slice(self.seed());
        bytes
    }

    pub fn hmac_key(&self) -> &[u8; 32] {
        self.hmac.expose_secret()
    }

    pub fn seed(&self) -> &[u8; 32] {
        self.seed.expose_secret()
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
    let seconds = seconds.to_string();
    [id.as_bytes(), b".", seconds.as_bytes(), b".", body].concat()
}

/// Signatures as the header has them, in the order they were put.
#[derive(Debug, Default)]
pub struct SignatureHeader(String);

impl SignatureHeader {
    pub fn put_hmac(&mut self, bytes: &[u8]) {
        self.put("v1,", bytes);
    }

    pub fn put_ed25519(&mut self, bytes: &[u8]) {
        self.put("v1a,", bytes);
    }

    fn put(&mut self, version: &str, bytes: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(version);
        STANDARD.encode_string(bytes, &mut self.0);
    }

    /// `None` without any.
    pub fn into_text(self) -> Option<String> {
        (!self.0.is_empty()).then_some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_with_their_names() {
        let keys = SigningKeys::new([7; 32], [8; 32]);
        let secret = keys.secret();
        let text = secret.expose_secret().strip_prefix("whsec_").unwrap();
        assert_eq!(STANDARD.decode(text).unwrap(), [7; 32]);
        let bytes = keys.to_bytes();
        let again = SigningKeys::of_bytes(&*bytes).unwrap();
        assert_eq!((again.hmac_key(), again.seed()), (&[7; 32], &[8; 32]));
        assert!(SigningKeys::of_bytes(&bytes[1..]).is_none());
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
        let mut signatures = SignatureHeader::default();
        signatures.put_hmac(&[0; 3]);
        signatures.put_ed25519(&[255; 3]);
        assert_eq!(signatures.into_text().unwrap(), "v1,AAAA v1a,////");
        assert_eq!(SignatureHeader::default().into_text(), None);
    }
}
