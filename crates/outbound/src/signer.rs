//! Signatures of webhooks, by aws-lc.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use quivive_app::ports::{ReadyKeys, Signer};
use quivive_domain::webhook::SigningKeys;

use crate::derivation::mac;

/// HMAC-SHA256 (RFC 2104) and Ed25519 (RFC 8032).
#[derive(Debug, Clone, Copy, Default)]
pub struct LcSigner;

fn pair(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed")
}

impl Signer for LcSigner {
    fn with(&self, keys: &SigningKeys) -> Box<dyn ReadyKeys> {
        Box::new(LcKeys {
            hmac: hmac::Key::new(hmac::HMAC_SHA256, keys.hmac_key()),
            pair: pair(keys.seed()),
        })
    }

    fn ed25519_public_key(&self, seed: &[u8; 32]) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(pair(seed).public_key().as_ref());
        bytes
    }
}

struct LcKeys {
    hmac: hmac::Key,
    pair: Ed25519KeyPair,
}

impl ReadyKeys for LcKeys {
    fn hmac_sha256(&self, content: &[u8]) -> [u8; 32] {
        mac(&self.hmac, content)
    }

    fn ed25519(&self, content: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(content).as_ref());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use quivive_domain::webhook::{SignatureHeader, signed_content};

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn the_published_hmac_signature() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let content = signed_content(id, 1_614_265_330, br#"{"test": 2432232314}"#);
        let mut signatures = SignatureHeader::default();
        signatures.put_hmac(&mac(&key, &content));
        assert_eq!(
            signatures.into_text().unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    /// RFC 8032, 7.1, tests 1 and 2.
    #[test]
    fn the_published_ed25519_signatures() {
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ] {
            let seed: [u8; 32] = hex(seed).try_into().unwrap();
            assert_eq!(LcSigner.ed25519_public_key(&seed).to_vec(), hex(public));
            let keys = LcSigner.with(&SigningKeys::new([0; 32], seed));
            let signed = keys.ed25519(&hex(message));
            assert_eq!(signed.to_vec(), hex(signature));
        }
    }
}
