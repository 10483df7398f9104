use quivive_app::ports::{Criterion, EventIndex as _, IndexEntry, Related, Tag};
use quivive_delivery::{Log as _, Stored, Transaction};
use quivive_store::Database;

use super::fixture::Fixture;
use super::log::{append, positions};

const ADA: Tag = Tag([7; 16]);
const HERE: Tag = Tag([8; 16]);

/// Adds the events after `after` and up to `upto`: those at even positions about Ada, those at odd ones from here.
async fn fill(db: &Database, after: u64, upto: u64) -> bool {
    let events = db.read(after, 100).await.expect("a read");
    let events = events.iter().filter(|event| event.position <= upto);
    let entries: Vec<_> = events
        .map(|event| IndexEntry {
            event,
            address: (event.position % 2 == 0).then_some(ADA),
            ip: (event.position % 2 == 1).then_some(HERE),
        })
        .collect();
    let writes = db.fill(after, &entries);
    let transaction = Transaction {
        writes,
        records: Vec::new(),
    };
    db.commit(transaction).await.is_ok()
}

/// Six events of two types and two subjects; the index has four of them.
async fn six(f: &Fixture) -> Vec<Stored> {
    append(
        f,
        &[
            ("a.b", "1"),
            ("c.d", "1"),
            ("a.b", "2"),
            ("a.b", "1"),
            ("c.d", "2"),
            ("a.b", "1"),
        ],
    )
    .await;
    assert!(fill(&f.db, 0, 4).await);
    f.db.read(0, 10).await.expect("a read")
}

async fn found(f: &Fixture, criterion: Criterion, below: u64, limit: u32) -> Vec<u64> {
    positions(&f.db.search(&criterion, below, limit).await.expect("a read"))
}

pub(super) async fn the_index_finds_what_it_reaches_newest_first(f: Fixture) {
    let events = six(&f).await;
    assert_eq!(f.db.reaches().await.expect("a read"), 4);
    let kind = || Criterion::Type("a.b".to_owned());
    assert_eq!(found(&f, kind(), u64::MAX, 10).await, [4, 3, 1]);
    assert_eq!(found(&f, kind(), u64::MAX, 2).await, [4, 3]);
    assert_eq!(found(&f, kind(), 3, 10).await, [1]);
    let subject = |name: &str| Criterion::Subject(name.to_owned());
    assert_eq!(
        found(&f, subject("account:1"), u64::MAX, 10).await,
        [4, 2, 1]
    );
    assert_eq!(
        found(&f, subject("account:3"), u64::MAX, 10).await,
        [0_u64; 0]
    );
    assert_eq!(
        found(&f, Criterion::Address(ADA), u64::MAX, 10).await,
        [4, 2]
    );
    assert_eq!(found(&f, Criterion::Ip(HERE), u64::MAX, 10).await, [3, 1]);
    assert_eq!(
        found(&f, Criterion::Ip(ADA), u64::MAX, 10).await,
        [0_u64; 0]
    );
    let third = &events[2].envelope;
    let (workflow, correlation) = (third.workflow_id, third.correlation_id);
    assert_eq!(found(&f, Criterion::Workflow(workflow), 9, 9).await, [3]);
    assert_eq!(
        found(&f, Criterion::Correlation(correlation), 9, 9).await,
        [3]
    );
    assert_eq!(
        found(&f, Criterion::Correlation(workflow), 9, 9).await,
        [0_u64; 0]
    );
    let all = f.db.search(&kind(), 2, 1).await.expect("a read");
    assert_eq!(all[0].envelope, events[0].envelope);
}

pub(super) async fn who_is_forgotten_is_not_found_by_tags(f: Fixture) {
    let _ = six(&f).await;
    f.must([f.db.forget("account:1")]).await;
    let ada = found(&f, Criterion::Address(ADA), u64::MAX, 10).await;
    assert_eq!(ada, [0_u64; 0]);
    let here = found(&f, Criterion::Ip(HERE), u64::MAX, 10).await;
    assert_eq!(here, [3]);
    let subject = Criterion::Subject("account:1".to_owned());
    assert_eq!(found(&f, subject, u64::MAX, 10).await, [4, 2, 1]);
}

pub(super) async fn the_index_is_filled_where_it_ends(f: Fixture) {
    six(&f).await;
    assert!(!fill(&f.db, 3, 6).await, "it reaches further");
    assert!(!fill(&f.db, 5, 6).await, "it would leave a gap");
    assert_eq!(f.db.reaches().await.expect("a read"), 4);
    assert!(fill(&f.db, 4, 6).await);
    assert_eq!(f.db.reaches().await.expect("a read"), 6);
    let kind = Criterion::Type("c.d".to_owned());
    assert_eq!(found(&f, kind, u64::MAX, 10).await, [5, 2]);
}

pub(super) async fn an_event_is_found_by_its_id_however_new_it_is(f: Fixture) {
    let events = six(&f).await;
    for event in &events {
        let id = event.envelope.id;
        let position = f.db.position_of(id).await.expect("a read");
        assert_eq!(position, Some(event.position));
        let found = f.db.event_by_id(id).await.expect("a read");
        assert_eq!(
            found.map(|event| event.envelope),
            Some(event.envelope.clone())
        );
    }
    let nobody = f.id();
    assert_eq!(f.db.position_of(nobody).await.expect("a read"), None);
    assert!(f.db.event_by_id(nobody).await.expect("a read").is_none());
}

pub(super) async fn what_belongs_together_is_found_oldest_first(f: Fixture) {
    let (workflow, correlation) = (f.id(), f.id());
    super::log::append_related(&f, workflow, correlation, 5).await;
    append(&f, &[("a.b", "1")]).await;
    assert!(fill(&f.db, 0, 3).await);
    for id in [
        Related::Workflow(workflow),
        Related::Correlation(correlation),
    ] {
        let related = async |limit| positions(&f.db.related(id, limit).await.expect("a read"));
        assert_eq!(related(10).await, [1, 2, 3, 4, 5]);
        assert_eq!(related(4).await, [1, 2, 3, 4]);
        assert_eq!(related(2).await, [1, 2]);
    }
    let other = f.db.related(Related::Workflow(correlation), 10).await;
    assert!(other.expect("a read").is_empty());
}
