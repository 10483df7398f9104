use quivive_delivery::Time;

use super::*;
use crate::scratch::{Scratch, ids, now};

fn store(scratch: &Scratch) -> KeyStore {
    let now: Time = now();
    KeyStore::open(&scratch.path().join("keys"), ids().as_ref(), now).expect("a key ring")
}

fn vault(scratch: &Scratch) -> FileVault {
    FileVault::open(&store(scratch), ids()).expect("a vault")
}

#[tokio::test]
async fn what_is_sealed_opens_after_a_restart() {
    let scratch = Scratch::new();
    let first = vault(&scratch);
    let key = first.key("s:ann").await.expect("a key");
    let sealed = key.seal(b"event 1", b"ann@example.com");
    let digest = key.digest(b"ann@example.com");
    assert_eq!(key.name(), "s:ann");
    assert_ne!(
        sealed,
        key.seal(b"event 1", b"ann@example.com"),
        "each has its nonce"
    );
    drop(first);

    let second = vault(&scratch);
    let key = second
        .existing("s:ann")
        .await
        .expect("read")
        .expect("there");
    assert_eq!(
        key.open(b"event 1", &sealed).as_deref(),
        Some(b"ann@example.com".as_slice())
    );
    assert_eq!(key.digest(b"ann@example.com"), digest);
    let empty = key.seal(b"", b"");
    assert_eq!(key.open(b"", &empty).as_deref(), Some(b"".as_slice()));
}

#[tokio::test]
async fn what_was_changed_does_not_open() {
    let scratch = Scratch::new();
    let vault = vault(&scratch);
    let key = vault.key("s:ann").await.expect("a key");
    let other = vault.key("s:bob").await.expect("a key");
    let sealed = key.seal(b"event 1", b"plain");
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(key.open(b"event 1", &changed), None, "byte {at}");
        assert_eq!(key.open(b"event 1", &sealed[..at]), None, "cut at {at}");
    }
    assert_eq!(key.open(b"event 2", &sealed), None);
    assert_eq!(other.open(b"event 1", &sealed), None);
    assert_ne!(other.digest(b"plain"), key.digest(b"plain"));
}

#[tokio::test]
async fn a_destroyed_key_is_gone_everywhere() {
    let scratch = Scratch::new();
    let first = vault(&scratch);
    let sealed = first
        .key("s:ann")
        .await
        .expect("a key")
        .seal(b"1", b"plain");
    let file = scratch.path().join("keys").join(FILE);
    let before = std::fs::read(&file).expect("the file");
    assert!(first.destroy("s:ann").await.expect("destroyed"));
    assert!(!first.destroy("s:ann").await.expect("asked"));
    assert!(first.existing("s:ann").await.expect("read").is_none());

    let after = std::fs::read(&file).expect("the file");
    assert_eq!(before.len(), after.len());
    let secret = before.len() - 60..;
    assert!(after[secret.clone()].iter().all(|byte| *byte == 0));
    assert!(before[secret].iter().any(|byte| *byte != 0));
    drop(first);

    let second = vault(&scratch);
    assert!(second.existing("s:ann").await.expect("read").is_none());
    let lost = second.key("s:ann").await.expect("a key");
    assert_eq!(lost.open(b"1", &sealed), None);
    // What is sealed under that name from now on, nobody opens: not even who asks again.
    let sealed = lost.seal(b"1", b"plain");
    assert!(second.existing("s:ann").await.expect("read").is_none());
    let again = second.key("s:ann").await.expect("a key");
    assert_eq!(again.open(b"1", &sealed), None);
    second.key("s:bob").await.expect("a key");
    assert_eq!(second.destroyed().await.expect("read"), ["s:ann"]);
    assert_eq!(
        std::fs::read(&file).expect("the file").len(),
        before.len() + 128
    );
}

#[tokio::test]
async fn many_at_once_get_one_key_each_name() {
    let scratch = Scratch::new();
    let vault = vault(&scratch);
    let names: Vec<String> = (0..500).map(|n| format!("s:{}", n % 100)).collect();
    let asked: Vec<_> = names.iter().map(|name| vault.key(name)).collect();
    let mut digests = std::collections::HashMap::new();
    for (name, key) in names.iter().zip(asked) {
        let digest = key.await.expect("a key").digest(b"x");
        assert_eq!(*digests.entry(name).or_insert(digest), digest, "{name}");
    }
    assert_eq!(digests.len(), 100);
    let length = std::fs::metadata(scratch.path().join("keys").join(FILE))
        .expect("the file")
        .len();
    assert_eq!(length, 101 * 128);
}

#[tokio::test]
async fn names_have_their_limit() {
    let scratch = Scratch::new();
    let vault = vault(&scratch);
    let longest = "x".repeat(50);
    assert_eq!(vault.key(&longest).await.expect("a key").name(), longest);
    assert!(matches!(
        vault.key(&"x".repeat(51)).await,
        Err(Fault::Internal(_))
    ));
    assert!(vault.key("").await.is_ok());
}

#[test]
fn one_process_at_a_time() {
    let scratch = Scratch::new();
    let keys = store(&scratch);
    let first = FileVault::open(&keys, ids()).expect("a vault");
    assert!(matches!(
        FileVault::open(&keys, ids()),
        Err(KeyError::InUse { .. })
    ));
    drop(first);
    assert!(FileVault::open(&keys, ids()).is_ok());
}

#[test]
fn another_master_key_is_noticed() {
    let (one, other) = (Scratch::new(), Scratch::new());
    let (keys, stranger) = (store(&one), store(&other));
    std::fs::copy(stranger.directory().join(FILE), keys.directory().join(FILE)).expect("copied");
    assert!(matches!(
        FileVault::open(&keys, ids()),
        Err(KeyError::OtherMaster { .. })
    ));
    std::fs::remove_file(keys.directory().join(FILE)).expect("removed");
    assert!(matches!(
        FileVault::open(&keys, ids()),
        Err(KeyError::Missing { .. })
    ));
}
