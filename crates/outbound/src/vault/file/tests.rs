use std::collections::BTreeSet;

use super::*;
use crate::scratch::Scratch;

const NONCE: [u8; 12] = [3; 12];

fn wrapping() -> Wrapping {
    Wrapping::new(&Secret::new([5; 32]))
}

fn open(scratch: &Scratch) -> Result<KeyFile, KeyError> {
    KeyFile::open(&scratch.path().join("k"), wrapping())
}

fn new(scratch: &Scratch) -> KeyFile {
    create(&scratch.path().join("k"), &wrapping()).expect("created");
    open(scratch).expect("opened")
}

/// A key that its name tells.
fn secret(name: &str) -> Secret {
    Secret::new(crate::derivation::sha256(name.as_bytes()))
}

fn append(file: &mut KeyFile, names: &[&str]) {
    let secrets: Vec<Secret> = names.iter().map(|name| secret(name)).collect();
    let keys: Vec<_> = names
        .iter()
        .zip(&secrets)
        .map(|(name, secret)| (*name, secret, NONCE))
        .collect();
    file.append(&keys).expect("written");
}

fn has(file: &KeyFile, name: &str) -> bool {
    match file.find(name).expect("read") {
        Found::Key(key) => {
            assert_eq!(key, secret(name));
            true
        }
        Found::Destroyed | Found::Absent => false,
    }
}

fn bytes(scratch: &Scratch) -> Vec<u8> {
    std::fs::read(scratch.path().join("k")).expect("the file")
}

fn put(scratch: &Scratch, bytes: &[u8]) {
    std::fs::write(scratch.path().join("k"), bytes).expect("written");
}

/// Two batches of two keys, as bytes.
fn two_batches(scratch: &Scratch) -> Vec<u8> {
    let mut file = new(scratch);
    append(&mut file, &["a", "b"]);
    append(&mut file, &["c", "d"]);
    drop(file);
    bytes(scratch)
}

#[test]
fn a_crash_at_any_byte_of_a_write_leaves_whole_records() {
    let scratch = Scratch::new();
    let all = two_batches(&scratch);
    for cut in 3 * BYTES..all.len() {
        put(&scratch, &all[..cut]);
        let mut file = open(&scratch).expect("a crash is no damage");
        assert_eq!(file.len(), cut / BYTES - 1);
        assert!(has(&file, "a") && has(&file, "b"));
        assert_eq!(has(&file, "c"), cut >= 4 * BYTES);
        assert_eq!(bytes(&scratch).len(), cut / BYTES * BYTES);
        // It goes on as if nothing had been.
        append(&mut file, &["d"]);
        drop(file);
        assert!(has(&open(&scratch).expect("opened"), "d"));
    }
}

/// The blocks of a write may reach the disk in any order.
#[test]
fn a_hole_in_the_newest_batch_is_a_crash() {
    let scratch = Scratch::new();
    let mut all = two_batches(&scratch);
    all[3 * BYTES..4 * BYTES].fill(0);
    put(&scratch, &all);
    let file = open(&scratch).expect("a crash is no damage");
    assert!(has(&file, "a") && has(&file, "b") && !has(&file, "c") && !has(&file, "d"));
    assert_eq!(bytes(&scratch).len(), 3 * BYTES);
}

#[test]
fn a_hole_before_it_is_damage_and_nothing_is_cut_off() {
    let scratch = Scratch::new();
    let whole = two_batches(&scratch);
    for at in [0, 9, 41, BYTES, BYTES + 20, 2 * BYTES + 40] {
        let mut all = whole.clone();
        all[at] ^= 1;
        put(&scratch, &all);
        assert!(
            matches!(open(&scratch), Err(KeyError::Malformed { .. })),
            "byte {at}"
        );
        assert_eq!(bytes(&scratch), all, "byte {at}");
    }
    put(&scratch, b"");
    assert!(matches!(open(&scratch), Err(KeyError::Malformed { .. })));
}

#[test]
fn a_changed_key_is_an_error_and_not_absent() {
    let scratch = Scratch::new();
    let mut all = two_batches(&scratch);
    all[BYTES + 90] ^= 1;
    put(&scratch, &all);
    let file = open(&scratch).expect("its name is whole");
    assert!(file.find("a").is_err());
    assert!(has(&file, "b"));
}

/// Two records with their keys exchanged.
#[test]
fn a_key_serves_under_its_own_name_alone() {
    let scratch = Scratch::new();
    let mut all = two_batches(&scratch);
    let (first, second) = (
        BYTES + SECRET.start..2 * BYTES,
        2 * BYTES + SECRET.start..3 * BYTES,
    );
    let key = all[first.clone()].to_vec();
    all.copy_within(second.clone(), first.start);
    all[second].copy_from_slice(&key);
    put(&scratch, &all);
    let file = open(&scratch).expect("the names are whole");
    assert!(file.find("a").is_err() && file.find("b").is_err() && has(&file, "c"));
}

#[test]
fn destruction_cut_short_is_destruction() {
    let scratch = Scratch::new();
    let whole = two_batches(&scratch);
    for overwritten in [
        BYTES + 68..BYTES + 80,
        2 * BYTES - 16..2 * BYTES,
        BYTES + 68..2 * BYTES,
    ] {
        let mut all = whole.clone();
        all[overwritten].fill(0);
        put(&scratch, &all);
        let mut file = open(&scratch).expect("opened");
        assert!(!has(&file, "a") && has(&file, "b"));
        append(&mut file, &["a"]);
        assert!(has(&file, "a"));
    }
}

#[test]
fn colliding_hashes_do_not_mix_names() {
    let scratch = Scratch::new();
    let mut file = new(&scratch);
    file.index.mask = 1;
    let mut left: BTreeSet<String> = (0..20).map(|n| format!("name {n}")).collect();
    for name in &left {
        assert!(!has(&file, name));
        append(&mut file, &[name]);
    }
    while let Some(name) = left.pop_first() {
        assert!(file.destroy(&name).expect("destroyed"));
        assert!(!file.destroy(&name).expect("asked"));
        assert!(!has(&file, &name));
        assert!(left.iter().all(|name| has(&file, name)));
        assert_eq!(file.destroyed().expect("read").len(), 20 - left.len());
        assert_eq!(file.len(), 20);
    }
}

#[test]
fn nonces_and_keys_do_not_show() {
    let scratch = Scratch::new();
    let all = two_batches(&scratch);
    let key = secret("a");
    assert!(
        !all.windows(8)
            .any(|window| key.windows(8).any(|part| part == window))
    );
}
