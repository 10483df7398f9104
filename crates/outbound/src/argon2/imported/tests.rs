//! Against hashes that Python's bcrypt, hashlib and argon2-cffi made, as Django writes them.

use ::argon2::Block;
use quivive_app::ports::UnusableHash;

use super::super::target::Target;

const PASSWORD: &str = "lantern oyster plinth 77";

const HASHES: &[&str] = &[
    "$2a$04$0m72AH/pBvNJIKD2RT1tkufuSO9yucCcpR1Yp5wqgHfUcIOmvLy7C",
    "$2b$04$g5p6iPrRAcCbyRiLQd/whuwt/OTEsQfnVBOM0XymvEO1pJZ8.crI.",
    "$2y$04$kMtj50OJpDIN1H6d2ymmUO4GeMbo72TsmJn5RMY4fE0pQ6WU2SLky",
    "bcrypt$$2b$04$7Uo/4.zcFhE5nhZOuedYeOLaUOoPqGBZZkYe50tsjfXdak0lHEGb6",
    "bcrypt_sha256$$2b$04$Es0Jis4N4BHKWj6ZAAPCXeldHIQ5Z.2IvklKn/RPwgFDS8W0utkVa",
    "pbkdf2_sha256$1000$NaCl22characters000000$95b9d8ygvlk/6th/0tKLft1jGaJk6ol6xTg4pyOhnKY=",
    "pbkdf2_sha1$1000$NaCl$AOqm3YVKh9hU6u1IWHZ6O4DLp4A=",
    "scrypt$16$NaClNaCl$8$2$dcRa4xh7HGAKztHP7x2Ckjh7INUMAufLOWbOAJoxGKDlAmCXTKPpkQ4pNe0iwPIXlBmFd4RJaC65QhfE+3NfuQ==",
    "scrypt$NaClNaCl$16$8$2$dcRa4xh7HGAKztHP7x2Ckjh7INUMAufLOWbOAJoxGKDlAmCXTKPpkQ4pNe0iwPIXlBmFd4RJaC65QhfE+3NfuQ==",
    "$scrypt$ln=4,r=8,p=1$TmFDbE5hQ2w$ki8rXir/6vdCBd+IJzuJiCtVi5goZeOv4x4qDsY7hko",
    "argon2$argon2id$v=19$m=16,t=1,p=2$TmFDbE5hQ2xOYUNsTmFDbA$qUEtkhBN1ueMJwibf5BaqESTM7GqsCMfB6xFssGjARI",
    "argon2$argon2i$v=19$m=16,t=1,p=2$TmFDbE5hQ2xOYUNsTmFDbA$zIz17+HIOCJ4OorZBwG93Uid/bwPKIFbVCZQdT8XYeI",
    "argon2$argon2d$v=19$m=16,t=1,p=2$TmFDbE5hQ2xOYUNsTmFDbA$4j1rD5rMmy0Ep2qXSecC0m4u0AYURpZNg8ZL3c3m0RM",
];

fn fits(hash: &str, password: &str) -> bool {
    let (target, _) = Target::read(hash).unwrap_or_else(|error| panic!("{hash}: {error}"));
    let mut blocks = vec![Block::new(); target.blocks()];
    let computed = target.compute(password.as_bytes(), &mut blocks);
    target.fits(&computed.expect("computed"))
}

#[test]
fn every_form_fits_its_password_alone() {
    for hash in HASHES {
        assert!(fits(hash, PASSWORD), "{hash}");
        assert!(!fits(hash, "lantern oyster plinth 78"), "{hash}");
        assert!(!fits(hash, ""), "{hash}");
    }
}

#[test]
fn what_is_stored_is_read_again_the_same() {
    for hash in HASHES {
        let (_, stored) = Target::read(hash).expect("read");
        assert_eq!(Target::read(&stored).expect("read").1, stored);
        assert!(fits(&stored, PASSWORD), "{stored}");
    }
}

/// As the systems that made them: what comes after 72 bytes never counted.
#[test]
fn bcrypt_reads_72_bytes() {
    let hash = "$2b$04$Ienwh87IpbDtpqR.jkH0j.ijiSx2svuFwJiUglIZMUSS7dmIXpPoW";
    assert!(fits(hash, &"x".repeat(72)));
    assert!(fits(hash, &"x".repeat(100)));
    assert!(!fits(hash, &"x".repeat(71)));
}

#[test]
fn a_hash_that_would_hold_a_thread_for_long_is_refused_and_says_the_bound() {
    let salted = "$NaClNaCl$8$1$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let tail = "$TmFDbE5hQ2xOYUNsTmFDbA$qUEtkhBN1ueMJwibf5BaqESTM7GqsCMfB6xFssGjARI";
    let bcrypt = "sKXyfC2OPxTMiaKuQ3WAw.8GR6xNxVCMPh8NU1gVTRVPMT1WjKZBG";
    let cases = [
        (format!("$2b$31${bcrypt}"), "bcrypt cost", 31, 14),
        (format!("$2b$15${bcrypt}"), "bcrypt cost", 15, 14),
        (
            "pbkdf2_sha256$1000000000$salt$AAAAAAAAAAAAAAAAAAAAAA==".to_owned(),
            "PBKDF2 iterations",
            1_000_000_000,
            4_000_000,
        ),
        // 128 times N times r is 4 GiB.
        (
            format!("scrypt$4194304{salted}"),
            "scrypt memory (KiB)",
            4_194_304,
            131_072,
        ),
        (
            format!("$scrypt$ln=22,r=8,p=1{tail}"),
            "scrypt memory (KiB)",
            4_194_304,
            131_072,
        ),
        (
            format!("$scrypt$ln=17,r=8,p=16{tail}"),
            "scrypt N·r·p",
            16_777_216,
            4_194_304,
        ),
        (
            format!("$scrypt$ln=4,r=2000000,p=1{tail}"),
            "scrypt r",
            2_000_000,
            64,
        ),
        (
            format!("$argon2id$v=19$m=4194304,t=1,p=1{tail}"),
            "Argon2 m (KiB)",
            4_194_304,
            131_072,
        ),
        (
            format!("$argon2id$v=19$m=65536,t=1000,p=1{tail}"),
            "Argon2 t",
            1_000,
            16,
        ),
    ];
    for (hash, what, given, most) in cases {
        let refused = Target::read(&hash).err();
        let want = UnusableHash::TooCostly { what, given, most };
        assert_eq!(refused, Some(want), "{hash}");
    }
}

#[test]
fn what_is_no_hash_is_refused_whatever_it_looks_like() {
    let long = format!("pbkdf2_sha256$1000${}$AAAA", "s".repeat(600));
    for text in [
        "",
        "hunter2",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
        "$2b$04$short",
        "$2b$xx$g5p6iPrRAcCbyRiLQd/whuwt/OTEsQfnVBOM0XymvEO1pJZ8.crI.",
        "$2x$04$g5p6iPrRAcCbyRiLQd/whuwt/OTEsQfnVBOM0XymvEO1pJZ8.crI.",
        "$2b$03$g5p6iPrRAcCbyRiLQd/whuwt/OTEsQfnVBOM0XymvEO1pJZ8.crI.",
        "$2b$04$g5p6iPrRAcCbyRiLQd/whuwt/OTEsQfnVBOM0XymvEO1pJZ8.crI\u{e9}",
        "pbkdf2_sha256$0$salt$95b9d8ygvlk/6th/0tKLft1jGaJk6ol6xTg4pyOhnKY=",
        "pbkdf2_sha256$+10$salt$95b9d8ygvlk/6th/0tKLft1jGaJk6ol6xTg4pyOhnKY=",
        "pbkdf2_sha256$1000$salt$AAAA",
        "pbkdf2_sha256$1000$salt$",
        "scrypt$15$NaClNaCl$8$1$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "scrypt$16$NaClNaCl$0$1$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "$scrypt$ln=4,r=8,p=1$TmFDbE5hQ2w",
        "$argon2id$v=19$m=16,t=1,p=2$TmFDbE5hQ2xOYUNsTmFDbA",
        "$argon2id$v=18$m=16,t=1,p=2$TmFDbE5hQ2xOYUNsTmFDbA$qUEtkhBN1ueMJwibf5BaqESTM7GqsCMfB6xFssGjARI",
        &long,
    ] {
        let refused = Target::read(text).err();
        let refused = refused.unwrap_or_else(|| panic!("{text} was read"));
        assert!(!matches!(refused, UnusableHash::TooCostly { .. }), "{text}");
    }
}
