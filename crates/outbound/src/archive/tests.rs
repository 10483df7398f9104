use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use quivive_delivery::retention::{Anchor, Filed};
use quivive_delivery::seal::Sealed;
use quivive_delivery::{Actor, Envelope, Key, Priority};
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::scratch::{Scratch, ids, now};

fn keys(scratch: &Scratch) -> KeyStore {
    KeyStore::open(&scratch.path().join("keys"), ids().as_ref(), now()).expect("a key ring")
}

fn verifier(scratch: &Scratch) -> Verifier {
    Verifier::of(&scratch.path().join("keys")).expect("a key ring")
}

fn event(position: u64) -> Stored {
    Stored {
        position,
        epoch: 1,
        recorded_at: now(),
        envelope: Envelope {
            id: Uuid::from_u128(position.into()),
            kind: "user.login.failed".to_owned(),
            version: 1,
            key: Key::new("account", 7),
            priority: Priority::High,
            time: now(),
            workflow_id: Uuid::from_u128(1),
            correlation_id: Uuid::from_u128(2),
            causation_id: None,
            subject: Some("ada".to_owned()),
            actor: Actor {
                kind: "anonymous".into(),
                id: None,
            },
            request_id: None,
            traceparent: None,
        },
        context: Some(Sealed {
            key: "s:ada".to_owned(),
            bytes: vec![1, 2, 3],
        }),
        body: br#"{"reason":"invalid_credentials"}"#.to_vec(),
        personal: None,
        chain: [9; 32],
    }
}

/// An archive of positions 5 to 9, of which two are kept.
fn filed(scratch: &Scratch) -> Filed {
    let archive = FileArchive::new(&scratch.path().join("archive"), &keys(scratch)).expect("keys");
    let mut binder = archive.begin(Heading {
        from: 5,
        to: 9,
        chain_before: [4; 32],
        chain: [9; 32],
        epoch: 1,
    });
    for position in [6, 9] {
        binder.add(&event(position)).expect("in memory");
    }
    let (file, digest) = binder.finish().expect("written");
    Filed {
        from: 5,
        to: 9,
        chain: [9; 32],
        recorded_until: now(),
        file,
        digest,
        events: 2,
    }
}

fn check(scratch: &Scratch, filed: &Filed) -> Result<[u8; 32], Flaw> {
    verifier(scratch).archive(&scratch.path().join("archive"), filed)
}

/// The lines of a file, changed, with the digest that the database would then have.
fn changed(scratch: &Scratch, filed: &Filed, change: impl FnOnce(&mut Vec<String>)) -> Filed {
    let path = scratch.path().join("archive").join(&filed.file);
    let bytes = fs::read(&path).expect("it is there");
    let mut text = String::new();
    io::Read::read_to_string(
        &mut flate2::read::GzDecoder::new(bytes.as_slice()),
        &mut text,
    )
    .expect("gzip of text");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for line in &lines {
        writeln!(encoder, "{line}").expect("in memory");
    }
    let bytes = encoder.finish().expect("in memory");
    fs::write(&path, &bytes).expect("written");
    Filed {
        digest: sha256(&bytes),
        ..filed.clone()
    }
}

#[test]
fn an_archive_is_private_and_verifies() {
    let scratch = Scratch::new();
    let filed = filed(&scratch);
    assert_eq!(filed.file, "quivive-1-00000000000000000005.ndjson.gz");
    let path = scratch.path().join("archive").join(&filed.file);
    let mode = fs::metadata(path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(check(&scratch, &filed), Ok([4; 32]));
    // Written again, it is the same file in the same place.
    assert_eq!(self::filed(&scratch), filed);
}

#[test]
fn plain_tools_read_it() {
    let scratch = Scratch::new();
    let filed = filed(&scratch);
    let path = scratch.path().join("archive").join(&filed.file);
    let output = Command::new("gzip")
        .arg("-dc")
        .arg(path)
        .output()
        .expect("gzip");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(
        (&lines[0]["from_pos"], &lines[0]["to_pos"]),
        (&5.into(), &9.into())
    );
    assert_eq!(lines[1]["position"], 6);
    assert_eq!(lines[1]["data"]["reason"], "invalid_credentials");
    assert_eq!(lines[1]["context"]["sealed"], "AQID");
    assert_eq!(lines[3]["events"], 2);
    // What is signed can be made again from the text alone.
    let signed = &text[..=text.trim_end().rfind('\n').expect("lines")];
    assert_eq!(lines[3]["sha256"], hex(&sha256(signed.as_bytes())));
}

#[test]
fn whatever_is_changed_is_found() {
    let scratch = Scratch::new();
    let whole = filed(&scratch);
    let one_bit = |lines: &mut Vec<String>| lines[1] = lines[1].replace("ada", "eve");
    let other = changed(&scratch, &whole, one_bit);
    assert_eq!(check(&scratch, &whole), Err(Flaw::Changed));
    // Also where the database was changed to fit.
    assert_eq!(check(&scratch, &other), Err(Flaw::Content));

    filed(&scratch);
    let shorter = changed(&scratch, &whole, |lines| {
        lines.remove(2);
    });
    assert_eq!(check(&scratch, &shorter), Err(Flaw::Content));

    filed(&scratch);
    let signed_anew = changed(&scratch, &whole, |lines| {
        one_bit(lines);
        let text = lines[..3].join("\n") + "\n";
        let digest = hex(&sha256(text.as_bytes()));
        let mut tail: Value = serde_json::from_str(&lines[3]).expect("JSON");
        tail["sha256"] = digest.into();
        lines[3] = tail.to_string();
    });
    assert_eq!(check(&scratch, &signed_anew), Err(Flaw::Signature));

    filed(&scratch);
    let other_segment = Filed {
        to: 8,
        ..whole.clone()
    };
    assert_eq!(check(&scratch, &other_segment), Err(Flaw::OtherSegment));
    fs::remove_file(scratch.path().join("archive").join(&whole.file)).expect("there");
    assert!(matches!(check(&scratch, &whole), Err(Flaw::Unreadable(_))));
}

#[test]
fn an_anchor_holds_what_the_key_signed_and_no_other_key_signs_it() {
    let scratch = Scratch::new();
    let archive = FileArchive::new(scratch.path(), &keys(&scratch)).expect("keys");
    let mut anchor = Anchor {
        position: 9,
        chain: [9; 32],
        signature: None,
    };
    assert!(
        !verifier(&scratch).anchor(&anchor),
        "cut, and nobody signed it"
    );
    anchor.signature = Some(archive.sign(&anchor.statement()));
    assert!(verifier(&scratch).anchor(&anchor));
    let moved = Anchor {
        position: 10,
        ..anchor.clone()
    };
    assert!(!verifier(&scratch).anchor(&moved));
    let other = Scratch::new();
    drop(keys(&other));
    assert!(!verifier(&other).anchor(&anchor));
    let nowhere = Verifier::of(&other.path().join("nowhere")).expect("no keys are no error");
    assert!(!nowhere.anchor(&anchor));
    let untouched = Anchor {
        position: 0,
        chain: [0; 32],
        signature: None,
    };
    assert!(nowhere.anchor(&untouched));
}

#[test]
fn what_is_removed_may_be_gone() {
    let scratch = Scratch::new();
    let filed = filed(&scratch);
    let archive = FileArchive::new(&scratch.path().join("archive"), &keys(&scratch)).expect("keys");
    archive.remove(&filed.file).expect("it is there");
    archive.remove(&filed.file).expect("it is gone");
}
