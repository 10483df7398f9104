use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::scratch::{Scratch, ids, now};

fn open(scratch: &Scratch) -> Result<KeyStore, KeyError> {
    KeyStore::open(&scratch.path().join("keys"), ids().as_ref(), now())
}

fn made(scratch: &Scratch) -> KeyStore {
    open(scratch).expect("a key ring")
}

fn file(scratch: &Scratch, starts: &str) -> PathBuf {
    fs::read_dir(scratch.path().join("keys"))
        .expect("the directory")
        .map(|file| file.expect("a file").path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(starts))
        })
        .expect("a file of that name")
}

#[test]
fn the_first_start_makes_everything_for_its_owner_alone() {
    let scratch = Scratch::new();
    assert!(made(&scratch).created());
    assert!(!made(&scratch).created());
    let directory = scratch.path().join("keys");
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&directory), 0o700);
    for starts in [
        "master.key",
        "tokens-",
        "signing-",
        "audit-",
        "keyring.json",
        "subject-keys.dat",
    ] {
        assert_eq!(mode(&file(&scratch, starts)), 0o600, "{starts}");
    }
    assert_eq!(
        fs::read_dir(&directory).expect("the directory").count(),
        6,
        "nothing is left over"
    );
}

#[test]
fn what_is_made_stays_the_same_over_starts() {
    let scratch = Scratch::new();
    let (first, second) = (made(&scratch), made(&scratch));
    assert_eq!(first.current(), second.current());
    let mac = |keys: &KeyStore, purpose| {
        keys.mac(keys.current(), purpose, b"message")
            .expect("its key")
    };
    assert_eq!(mac(&first, "reset"), mac(&second, "reset"));
    assert_eq!(mac(&first, "reset"), mac(&first, "reset"), "from the cache");
    assert_ne!(mac(&first, "reset"), mac(&first, "verify"));
    assert_eq!(
        first.digest("device", b"bytes"),
        second.digest("device", b"bytes")
    );
    assert_ne!(
        first.digest("device", b"bytes"),
        first.digest("source", b"bytes")
    );
    assert_ne!(mac(&first, "device"), first.digest("device", b"message"));
    assert_eq!(first.fingerprints(), second.fingerprints());
    assert_eq!(first.fingerprints().len(), 4);
    assert_ne!(first.fingerprints(), made(&Scratch::new()).fingerprints());
}

#[test]
fn a_key_that_is_not_there_makes_nothing() {
    let scratch = Scratch::new();
    let keys = made(&scratch);
    for kid in ["", "master", "0123456789ab", "../master"] {
        assert_eq!(keys.mac(kid, "reset", b"message"), None, "{kid:?}");
    }
}

#[test]
fn what_others_can_read_is_refused_with_the_remedy() {
    for (starts, mode, remedy) in [
        ("master.key", 0o644, "chmod 600 "),
        ("tokens-", 0o640, "chmod 600 "),
        ("signing-", 0o604, "chmod 600 "),
        ("keyring.json", 0o620, "chmod 600 "),
    ] {
        let scratch = Scratch::new();
        made(&scratch);
        let path = file(&scratch, starts);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        let error = open(&scratch).expect_err("others can read it").to_string();
        assert!(
            error.contains(&format!("{remedy}{}", path.display())),
            "{error}"
        );
        assert!(error.contains(&format!("{mode:03o}")), "{error}");
    }
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("keys")).expect("a directory");
    fs::set_permissions(
        scratch.path().join("keys"),
        fs::Permissions::from_mode(0o755),
    )
    .expect("chmod");
    let error = open(&scratch)
        .expect_err("others can look into it")
        .to_string();
    assert!(error.contains("chmod 700 "), "{error}");
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    for starts in ["master.key", "tokens-", "signing-"] {
        let scratch = Scratch::new();
        made(&scratch);
        let path = file(&scratch, starts);
        fs::write(&path, b"too short").expect("written");
        assert!(matches!(open(&scratch), Err(KeyError::Malformed { path: at, .. }) if at == path));
        fs::remove_file(&path).expect("removed");
        assert!(matches!(open(&scratch), Err(KeyError::Missing { path: at }) if at == path));
    }
    for list in [
        "",
        "{}",
        r#"{"version": 2, "keys": []}"#,
        r#"{"version": 1, "keys": []}"#,
        r#"{"version": 1, "keys": [{"kid": "../../../x/ab", "use": "tokens", "state": "current", "created_at": "2025-11-01T00:00:00Z"}]}"#,
    ] {
        let scratch = Scratch::new();
        made(&scratch);
        fs::write(file(&scratch, "keyring.json"), list).expect("written");
        assert!(
            matches!(open(&scratch), Err(KeyError::Malformed { .. })),
            "{list}"
        );
    }
}

#[test]
fn a_first_start_cut_short_goes_on_with_what_it_left() {
    let scratch = Scratch::new();
    let before = made(&scratch);
    fs::remove_file(file(&scratch, "keyring.json")).expect("removed");
    fs::remove_file(file(&scratch, "signing-")).expect("removed");
    let after = made(&scratch);
    assert!(!after.created());
    assert_eq!(before.current(), after.current());
    assert_eq!(before.fingerprints()[..2], after.fingerprints()[..2]);
    assert_ne!(before.fingerprints()[2], after.fingerprints()[2]);
    // Without the master key nothing that is there can be read; a new one would bury it.
    fs::remove_file(file(&scratch, "keyring.json")).expect("removed");
    fs::remove_file(file(&scratch, "master.key")).expect("removed");
    assert!(matches!(open(&scratch), Err(KeyError::Missing { .. })));
}

#[test]
fn the_list_says_which_key_serves() {
    let scratch = Scratch::new();
    let old = made(&scratch);
    let path = file(&scratch, "keyring.json");
    let list = fs::read_to_string(&path).expect("the list");
    fs::remove_file(&path).expect("removed");
    // A second key of each use, as a rotation would make it.
    let aside: Vec<PathBuf> = ["tokens-", "signing-"]
        .map(|starts| file(&scratch, starts))
        .into();
    for key in &aside {
        fs::rename(key, key.with_extension("aside")).expect("renamed");
    }
    let new = made(&scratch);
    for key in &aside {
        fs::rename(key.with_extension("aside"), key).expect("renamed back");
    }
    let mut both: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let newer: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("the list")).expect("JSON");
    for key in both["keys"].as_array_mut().expect("keys") {
        key["state"] = "previous".into();
    }
    both["keys"]
        .as_array_mut()
        .expect("keys")
        .extend(newer["keys"].as_array().expect("keys").clone());
    fs::write(&path, both.to_string()).expect("written");

    let keys = made(&scratch);
    assert_eq!(keys.current(), new.current());
    assert_eq!(keys.signing_keys()[0].kid, new.signing_keys()[0].kid);
    assert_eq!(keys.signing_keys().len(), 2);
    assert_eq!(
        keys.mac(old.current(), "reset", b"message"),
        old.mac(old.current(), "reset", b"message")
    );

    fs::write(&path, both.to_string().replace("previous", "revoked")).expect("written");
    let keys = made(&scratch);
    assert_eq!(keys.mac(old.current(), "reset", b"message"), None);
    assert_eq!(keys.signing_keys().len(), 1);
}

#[test]
fn debug_shows_no_secret() {
    let scratch = Scratch::new();
    let keys = made(&scratch);
    let shown = format!("{keys:?} {:?}", keys.signing_keys());
    assert!(
        !shown.contains(&hex(&*keys.master)) && !shown.contains("pkcs8"),
        "{shown}"
    );
}

#[test]
fn a_new_signing_key_is_on_the_disk_and_older_ones_are_forgotten_in_their_time() {
    let scratch = Scratch::new();
    let keys = made(&scratch);
    let lifetime = std::time::Duration::from_mins(15);
    let rotate = |old, after: u64| {
        let at = now() + std::time::Duration::from_secs(after);
        let rotated = keys.rotate_signing(old, lifetime, ids().as_ref(), at);
        rotated.expect("rotated")
    };
    let first = rotate(OldKeys::ServeOn, 1);
    let second = rotate(OldKeys::ServeOn, 900);
    assert_eq!(second.retired, first.new);
    let serving = |keys: &KeyStore| -> Vec<String> {
        let keys = keys.signing_keys().into_iter();
        keys.map(|key| key.kid).collect()
    };
    let three = [second.new.clone(), first.new.clone(), first.retired.clone()];
    for keys in [&keys, &made(&scratch)] {
        assert_eq!(serving(keys), three);
    }
    // The very first one was retired a lifetime ago.
    let third = rotate(OldKeys::ServeOn, 901);
    let three = [third.new.clone(), second.new.clone(), first.new.clone()];
    for keys in [&keys, &made(&scratch)] {
        assert_eq!(serving(keys), three);
    }
    let fourth = rotate(OldKeys::Revoked, 902);
    for keys in [&keys, &made(&scratch)] {
        assert_eq!(serving(keys), [fourth.new.as_str()]);
    }
    let files = fs::read_dir(scratch.path().join("keys")).expect("the directory");
    let left = files
        .map(|file| file.expect("a file").file_name())
        .filter(|name| name.to_string_lossy().starts_with("signing-"));
    let only = format!("signing-{}.key", fourth.new);
    assert_eq!(left.collect::<Vec<_>>(), [only.as_str()]);
    assert_eq!(
        keys.current(),
        made(&scratch).current(),
        "the others are as before"
    );
}

#[test]
fn without_its_list_no_key_is_rotated() {
    let scratch = Scratch::new();
    let keys = made(&scratch);
    let before = keys.signing_keys()[0].kid.clone();
    fs::remove_file(file(&scratch, "keyring.json")).expect("removed");
    let lifetime = std::time::Duration::from_mins(15);
    let rotated = keys.rotate_signing(OldKeys::Revoked, lifetime, ids().as_ref(), now());
    assert!(matches!(rotated, Err(KeyError::Missing { .. })));
    assert_eq!(keys.signing_keys()[0].kid, before);
}
