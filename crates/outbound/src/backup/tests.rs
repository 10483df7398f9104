use std::fs;
use std::path::Path;

use quivive_delivery::Time;
use quivive_delivery::seal::Vault as _;

use super::{BackupFlaw, Contents, LIST, Listed};
use crate::archive::Verifier;
use crate::keys::KeyStore;
use crate::scratch::{Scratch, ids};
use crate::vault::FileVault;

fn keys(directory: &Path) -> KeyStore {
    KeyStore::open(directory, ids().as_ref(), Time::UNIX_EPOCH).expect("keys")
}

/// A backup of one file, and who can verify it.
fn backup(scratch: &Scratch) -> (KeyStore, Contents) {
    let keys = keys(&scratch.path().join("keys"));
    fs::write(scratch.path().join("source"), vec![7; 300_000]).expect("written");
    let to = scratch.path().join("quivive.db");
    let mut contents = Contents::new(1, (7, 1), &[9; 32], Time::UNIX_EPOCH);
    let listed = Listed::copied(&scratch.path().join("source"), &to, "quivive.db");
    contents.files.push(listed.expect("copied"));
    contents.write(scratch.path(), &keys).expect("signed");
    (keys, contents)
}

fn read(scratch: &Scratch) -> Result<Contents, BackupFlaw> {
    let verifier = Verifier::of(&scratch.path().join("keys")).expect("keys");
    Contents::read(scratch.path(), &verifier)
}

#[test]
fn a_whole_backup_is_read_as_it_was_written() {
    let scratch = Scratch::new();
    let (_keys, contents) = backup(&scratch);
    assert_eq!(read(&scratch).expect("whole"), contents);
    assert_eq!(contents.bytes(), 300_000);
    let taken = contents.files[0].take(scratch.path(), &scratch.path().join("taken"));
    taken.expect("read").expect("as listed");
}

#[test]
fn a_list_that_was_changed_or_cut_short_is_told() {
    let scratch = Scratch::new();
    let (_keys, contents) = backup(&scratch);
    let path = scratch.path().join(LIST);
    let whole = fs::read_to_string(&path).expect("the list");
    let first = whole.lines().next().expect("a line").len();
    for text in [
        whole.replace("\"position\":7", "\"position\":8"),
        whole.replace(&contents.files[0].sha256, &"0".repeat(64)),
        whole.replacen("\"created_at\"", " \"created_at\"", 1),
    ] {
        assert_ne!(text, whole);
        fs::write(&path, text).expect("written");
        assert!(matches!(read(&scratch), Err(BackupFlaw::Signature)));
    }
    for length in [0, 10, first, first + 5] {
        fs::write(&path, &whole[..length]).expect("written");
        assert!(
            matches!(read(&scratch), Err(BackupFlaw::Unreadable(_))),
            "{length}"
        );
    }
    fs::remove_file(&path).expect("removed");
    assert!(matches!(read(&scratch), Err(BackupFlaw::NoList)));
}

#[test]
fn another_servers_list_is_not_ours() {
    let scratch = Scratch::new();
    backup(&scratch);
    let others = Scratch::new();
    drop(keys(&others.path().join("keys")));
    let verifier = Verifier::of(&others.path().join("keys")).expect("keys");
    let read = Contents::read(scratch.path(), &verifier);
    assert!(matches!(read, Err(BackupFlaw::Signature)));
}

#[test]
fn a_file_that_was_changed_or_cut_short_is_told() {
    let scratch = Scratch::new();
    let (_keys, contents) = backup(&scratch);
    let (file, listed) = (scratch.path().join("quivive.db"), &contents.files[0]);
    let mut bytes = fs::read(&file).expect("the file");
    let take = |n: u32| {
        let to = scratch.path().join(format!("taken-{n}"));
        listed
            .take(scratch.path(), &to)
            .expect("no failure of the disk")
    };
    bytes[150_000] ^= 1;
    fs::write(&file, &bytes).expect("written");
    assert!(matches!(take(1), Err(BackupFlaw::Changed(_))));
    bytes[150_000] ^= 1;
    fs::write(&file, &bytes).expect("written");
    assert!(take(2).is_ok());
    fs::write(&file, &bytes[..299_999]).expect("written");
    assert!(matches!(take(3), Err(BackupFlaw::Changed(_))));
    fs::remove_file(&file).expect("removed");
    assert!(matches!(take(4), Err(BackupFlaw::Missing(_))));
}

#[tokio::test]
async fn a_copy_of_the_keys_opens_what_the_keys_sealed_and_knows_who_was_erased() {
    let scratch = Scratch::new();
    let original = keys(&scratch.path().join("keys"));
    let vault = FileVault::open(&original, ids()).expect("a vault");
    let sealed = vault
        .key("s:ada")
        .await
        .expect("a key")
        .seal(b"", b"secret");
    vault.key("s:bob").await.expect("a key");
    vault.destroy("s:bob").await.expect("destroyed");
    let copy = scratch.path().join("copy");
    let bytes = vault.copy_with(&original, &copy).await.expect("copied");
    // What comes after it is not in it.
    vault.key("s:cleo").await.expect("a key");
    drop(vault);

    let copied = keys(&copy);
    assert!(!copied.created());
    assert_eq!(copied.fingerprints(), original.fingerprints());
    let vault = FileVault::open(&copied, ids()).expect("a vault");
    let ada = vault.existing("s:ada").await.expect("read").expect("there");
    assert_eq!(ada.open(b"", &sealed).as_deref(), Some(&b"secret"[..]));
    assert_eq!(vault.destroyed().await.expect("read"), ["s:bob"]);
    assert!(vault.existing("s:cleo").await.expect("read").is_none());
    assert!(bytes >= 4 * 128 + 3 * 32);
}
