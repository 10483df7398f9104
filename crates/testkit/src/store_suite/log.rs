use std::collections::HashSet;

use quivive_app::ports::OpenAttempts as _;
use quivive_delivery::chain::{GENESIS, Walk};
use quivive_delivery::log::{Appender, Record};
use quivive_delivery::seal::SealKey;
use quivive_delivery::{
    Actor, Body, CommitError, Context, Envelope, Key, Log as _, Priority, Stored, Transaction,
    Write,
};
use uuid::Uuid;

use super::fixture::{Fixture, at};

/// Not a cipher: what is sealed must come back as the bytes that went in, whatever they are.
struct Mask;

impl SealKey for Mask {
    fn name(&self) -> &'static str {
        "user:1"
    }

    fn seal(&self, _: &[u8], plain: &[u8]) -> Vec<u8> {
        plain.iter().map(|byte| byte ^ 0xff).collect()
    }

    fn open(&self, _: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        Some(self.seal(&[], sealed))
    }

    fn digest(&self, _: &[u8]) -> [u8; 32] {
        [0; 32]
    }
}

fn envelope(f: &Fixture, kind: &str, key: &str) -> Envelope {
    Envelope {
        workflow_id: f.id(),
        correlation_id: f.id(),
        ..Envelope::first(f.id(), kind, Key::new("account", key), at(1))
    }
}

/// A record without personal fields.
fn plain(envelope: Envelope) -> Record {
    let body = Body {
        open: b"{}".to_vec(),
        personal: None,
    };
    Appender::new().record(envelope, body, None, None)
}

/// Appends events of that type and key, each in its own commit.
pub(super) async fn append(f: &Fixture, events: &[(&str, &str)]) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for (kind, key) in events {
        let envelope = Envelope {
            subject: Some(format!("account:{key}")),
            ..envelope(f, kind, key)
        };
        ids.push(envelope.id);
        commit(f, Vec::new(), vec![plain(envelope)])
            .await
            .expect("a commit");
    }
    ids
}

/// Appends as many events of one workflow and one chain of causes.
pub(super) async fn append_related(f: &Fixture, workflow: Uuid, correlation: Uuid, count: usize) {
    let record = |_| {
        plain(Envelope {
            workflow_id: workflow,
            correlation_id: correlation,
            ..envelope(f, "a.b", "1")
        })
    };
    let records = (0..count).map(record).collect();
    commit(f, Vec::new(), records).await.expect("a commit");
}

/// The head covers it when this answers, whenever the store gives positions.
async fn commit(f: &Fixture, writes: Vec<Write>, records: Vec<Record>) -> Result<(), CommitError> {
    let head = f.db.head().borrow().position;
    let (count, position) = (records.len() as u64, head + 1);
    let done = f.db.commit(Transaction { writes, records }).await?;
    if let Some(first) = done.first_position {
        assert_eq!(first, if count == 0 { head } else { position });
        assert_eq!(f.db.head().borrow().position, head + count);
    }
    f.db.settled().await;
    Ok(())
}

pub(super) fn positions(events: &[Stored]) -> Vec<u64> {
    events.iter().map(|event| event.position).collect()
}

fn walk(events: &[Stored]) -> Walk {
    let mut walk = Walk::from(0, GENESIS);
    for event in events {
        walk.step(event).expect("the chain holds");
    }
    walk
}

pub(super) async fn events_are_read_as_they_were_written(f: Fixture) {
    let empty = *f.db.head().borrow();
    assert_eq!((empty.position, empty.epoch, empty.chain), (0, 1, GENESIS));
    let bare = envelope(&f, "a.bare", "1");
    let full = Envelope {
        version: 7,
        priority: Priority::Critical,
        causation_id: Some(bare.id),
        subject: Some("user:1".to_owned()),
        actor: Actor {
            kind: "user".into(),
            id: Some(f.id()),
        },
        request_id: Some("r-1".to_owned()),
        traceparent: Some("00-1".to_owned()),
        ..envelope(&f, "a.full", "2")
    };
    let body = Body {
        open: br#"{"n":1}"#.to_vec(),
        personal: Some(br#"{"email":"a@b"}"#.to_vec()),
    };
    let context = Context {
        ip: Some("192.0.2.1".to_owned()),
        agent: None,
    };
    let sealed = {
        let appender = Appender::new();
        let context = appender.context(&context, full.workflow_id, &Mask);
        appender.record(full.clone(), body, context, Some(&Mask))
    };
    let records = vec![plain(bare.clone()), sealed];
    commit(&f, Vec::new(), records).await.expect("a commit");
    assert_eq!(f.db.head().borrow().position, 2);

    let events = f.db.read(0, 10).await.expect("a read");
    assert_eq!(positions(&events), [1, 2]);
    assert_eq!([&events[0].envelope, &events[1].envelope], [&bare, &full]);
    assert_eq!((&events[0].context, &events[0].personal), (&None, &None));
    assert_eq!(
        (events[0].body.as_slice(), events[1].body.as_slice()),
        (&b"{}"[..], &br#"{"n":1}"#[..])
    );
    let opened = |sealed: &Option<quivive_delivery::seal::Sealed>| {
        let sealed = sealed.as_ref().expect("sealed");
        assert_eq!(sealed.key, "user:1");
        Mask.open(&[], &sealed.bytes).expect("whole")
    };
    assert_eq!(opened(&events[1].personal), br#"{"email":"a@b"}"#);
    assert_eq!(opened(&events[1].context), br#"{"i":"192.0.2.1"}"#);
    assert!(events.iter().all(|event| event.epoch == 1));
    walk(&events);

    append(&f, &[("b.c", "1"), ("b.c", "2"), ("b.c", "3")]).await;
    assert_eq!(
        positions(&f.db.read(1, 3).await.expect("a read")),
        [2, 3, 4]
    );
    assert!(f.db.read(5, 3).await.expect("a read").is_empty());
    assert!(f.db.read(0, 0).await.expect("a read").is_empty());
}

pub(super) async fn the_chain_holds_over_parallel_commits(f: Fixture) {
    let submitted: Vec<_> = (0..100)
        .map(|n| {
            let records = (0..n % 4)
                .map(|_| plain(envelope(&f, "a.b", "1")))
                .collect();
            f.db.commit(Transaction {
                writes: Vec::new(),
                records,
            })
        })
        .collect();
    let mut first = Vec::new();
    for commit in submitted {
        first.push(commit.await.expect("a commit").first_position);
    }
    let given: Vec<u64> = first.iter().copied().flatten().collect();
    assert!(
        given.is_sorted() && [0, first.len()].contains(&given.len()),
        "applied in the order of submission where positions are given at once: {first:?}"
    );
    f.db.settled().await;
    let events = f.db.read(0, 1000).await.expect("a read");
    assert_eq!(positions(&events), (1..=150).collect::<Vec<_>>());
    let head = *f.db.head().borrow();
    walk(&events)
        .finish(head.position, &head.chain)
        .expect("the head is the last link");
    assert_eq!(f.db.stored_head().await.expect("a read"), head);
    let ids: HashSet<_> = events.iter().map(|event| event.envelope.id).collect();
    assert_eq!(ids.len(), 150);
}

pub(super) async fn what_names_no_passing_row_is_applied_in_its_order(f: Fixture) {
    let mut ids = Vec::new();
    let submitted: Vec<_> = (0..200)
        .map(|n| {
            let envelope = envelope(&f, "a.b", "1");
            ids.push(envelope.id);
            f.db.commit(Transaction {
                writes: vec![f.db.set_meta("last", &n.to_string())],
                records: vec![plain(envelope)],
            })
        })
        .collect();
    for commit in submitted {
        commit.await.expect("a commit");
    }
    f.db.settled().await;
    let events = f.db.read(0, 1000).await.expect("a read");
    let applied: Vec<_> = events.iter().map(|event| event.envelope.id).collect();
    assert_eq!(applied, ids);
    let last = f.db.meta("last").await.expect("a read");
    assert_eq!(last.as_deref(), Some("199"));
}

pub(super) async fn what_missed_leaves_nothing(f: Fixture) {
    append(&f, &[("a.b", "1")]).await;
    let head = *f.db.head().borrow();
    let writes = vec![f.db.set_meta("name", "value"), f.db.close(f.id())];
    let records = vec![plain(envelope(&f, "a.b", "1"))];
    let done = commit(&f, writes, records).await;
    assert!(matches!(done, Err(CommitError::Missed(1))), "{done:?}");
    assert_eq!(*f.db.head().borrow(), head);
    assert_eq!(f.db.meta("name").await.expect("a read"), None);
    append(&f, &[("a.b", "1")]).await;
    let events = f.db.read(0, 10).await.expect("a read");
    assert_eq!(positions(&events), [1, 2]);
    walk(&events);
}

pub(super) async fn a_note_replaces_the_one_before(f: Fixture) {
    assert_eq!(f.db.meta("key").await.expect("a read"), None);
    f.must([f.db.set_meta("key", "one"), f.db.set_meta("other", "else")])
        .await;
    f.must([f.db.set_meta("key", "two")]).await;
    f.must([f.db.set_meta("gone", "soon"), f.db.unset_meta("gone")])
        .await;
    f.misses(f.db.unset_meta("gone")).await;
    assert_eq!(f.db.meta("gone").await.expect("a read"), None);
    assert_eq!(
        f.db.meta("key").await.expect("a read").as_deref(),
        Some("two")
    );
    assert_eq!(
        f.db.meta("other").await.expect("a read").as_deref(),
        Some("else")
    );
}
