//! What binds a password exchange to the connection under it: a hash of the certificate (RFC 5929, section 4).

use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Object identifiers of signatures, encoded, with the hash that stands for each; MD5 and SHA-1 give way to SHA-256.
const SIGNATURES: [(&[u8], Hash); 8] = [
    // RSA, PKCS #1: md5, sha1, sha256, sha384, sha512
    (&[42, 134, 72, 134, 247, 13, 1, 1, 4], Hash::Sha256),
    (&[42, 134, 72, 134, 247, 13, 1, 1, 5], Hash::Sha256),
    (&[42, 134, 72, 134, 247, 13, 1, 1, 11], Hash::Sha256),
    (&[42, 134, 72, 134, 247, 13, 1, 1, 12], Hash::Sha384),
    (&[42, 134, 72, 134, 247, 13, 1, 1, 13], Hash::Sha512),
    // ECDSA: sha256, sha384, sha512
    (&[42, 134, 72, 206, 61, 4, 3, 2], Hash::Sha256),
    (&[42, 134, 72, 206, 61, 4, 3, 3], Hash::Sha384),
    (&[42, 134, 72, 206, 61, 4, 3, 4], Hash::Sha512),
];

#[derive(Clone, Copy)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// `tls-server-end-point` of a certificate in DER. `None` where its signature names no single hash, as Ed25519 does not.
pub fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let signature = signature(certificate)?;
    let (_, hash) = SIGNATURES.iter().find(|(id, _)| *id == signature)?;
    Some(match hash {
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

const SEQUENCE: u8 = 0x30;
const IDENTIFIER: u8 = 0x06;

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { algorithm OBJECT IDENTIFIER, … }, … }`
fn signature(certificate: &[u8]) -> Option<&[u8]> {
    let (whole, _) = element(SEQUENCE, certificate)?;
    let (_, after) = element(SEQUENCE, whole)?;
    let (algorithm, _) = element(SEQUENCE, after)?;
    Some(element(IDENTIFIER, algorithm)?.0)
}

/// The content of the element at the beginning, and what comes after it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 3 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        (length, rest)
    };
    (*found == tag).then_some(())?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_signatures_own() {
        let certificate = |id: &[u8]| {
            let length = |n: usize| u8::try_from(n).expect("short");
            let mut der = vec![SEQUENCE, 0x82, 0, length(id.len()) + 6, SEQUENCE, 0];
            der.extend([SEQUENCE, length(id.len()) + 2, IDENTIFIER, length(id.len())]);
            der.extend(id);
            der
        };
        for (id, length) in [
            (SIGNATURES[1].0, 32),
            (SIGNATURES[6].0, 48),
            (SIGNATURES[7].0, 64),
        ] {
            let hash = server_end_point(&certificate(id));
            assert_eq!(hash.map(|hash| hash.len()), Some(length));
        }
        // Ed25519.
        assert!(server_end_point(&certificate(&[43, 101, 112])).is_none());
        let whole = certificate(SIGNATURES[0].0);
        for cut in 0..whole.len() {
            assert!(server_end_point(&whole[..cut]).is_none(), "{cut}");
        }
    }
}
