use quivive_app::ports::{Criterion, EventIndex as _, IndexEntry, OpenAttempt, OpenAttempts as _};
use quivive_delivery::retention::{Anchor, Filed, Shelf as _, Signature};
use quivive_delivery::subscriber::{LaneState, StoredLane, Subscriptions as _};
use quivive_delivery::{CommitError, Log as _, Value, Write};

use super::fixture::{Fixture, at};
use super::log::{append, positions};
use super::subscriptions::lane;

/// So many events, all of them in the index.
async fn events(f: &Fixture, count: usize) {
    append(f, &vec![("a.b", "1"); count]).await;
    let events = f.db.read(0, 100).await.expect("a read");
    let entries: Vec<_> = events
        .iter()
        .map(|event| IndexEntry {
            event,
            address: None,
            ip: None,
        })
        .collect();
    f.must(f.db.fill(0, &entries)).await;
}

async fn anchor_at(f: &Fixture, position: u64) -> Anchor {
    let event = f.db.read(position - 1, 1).await.expect("a read").remove(0);
    Anchor {
        position,
        chain: event.chain,
        signature: Some(Signature {
            key_id: "k".to_owned(),
            bytes: vec![7; 64],
        }),
    }
}

async fn cut(f: &Fixture, from: u64, to: u64) -> Result<(), CommitError> {
    let writes = f.db.cut(from, &anchor_at(f, to).await);
    f.commit(writes).await.map(|_| ())
}

async fn missed(f: &Fixture, from: u64, to: u64, why: &str) {
    let done = cut(f, from, to).await;
    assert!(
        matches!(done, Err(CommitError::Missed(0))),
        "{why}: {done:?}"
    );
    let left = positions(&f.db.read(0, 100).await.expect("a read"));
    assert_eq!(left.first(), Some(&(from + 1)), "{why}");
}

pub(super) async fn a_cut_moves_the_anchor_and_takes_log_and_index_along(f: Fixture) {
    events(&f, 6).await;
    let untouched = f.db.anchor().await.expect("a read");
    assert_eq!((untouched.position, untouched.chain), (0, [0; 32]));
    assert_eq!(untouched.signature, None);
    let want = anchor_at(&f, 4).await;
    cut(&f, 0, 4).await.expect("nobody reads");
    assert_eq!(f.db.anchor().await.expect("a read"), want);
    let left = f.db.read(0, 100).await.expect("a read");
    assert_eq!(positions(&left), [5, 6]);
    let kind = Criterion::Type("a.b".to_owned());
    let indexed = f.db.search(&kind, u64::MAX, 100).await.expect("a read");
    assert_eq!(positions(&indexed), [6, 5]);
    assert_eq!(f.db.head().borrow().position, 6);
    // The log goes on where it was.
    append(&f, &[("a.b", "1")]).await;
    let left = f.db.read(4, 100).await.expect("a read");
    assert_eq!(positions(&left), [5, 6, 7]);
}

pub(super) async fn nothing_is_cut_that_somebody_needs(f: Fixture) {
    events(&f, 6).await;
    f.must([f.db.create("mail", 3)]).await;
    missed(&f, 0, 4, "a cursor").await;
    f.must([f.db.advance("mail", 6)]).await;
    let lane = StoredLane {
        done: 2,
        state: LaneState::Parked,
        ..lane(&f, "1")
    };
    f.must([f.db.put_lane("mail", &lane)]).await;
    missed(&f, 0, 3, "a lane").await;
    f.must([f.db.drop_lane("mail", &lane.key)]).await;
    append(&f, &[("a.b", "1")]).await;
    f.must([f.db.advance("mail", 7)]).await;
    missed(&f, 0, 7, "the index").await;
    let elsewhere = cut(&f, 1, 3).await;
    assert!(
        matches!(elsewhere, Err(CommitError::Missed(0))),
        "{elsewhere:?}"
    );
    cut(&f, 0, 6).await.expect("nobody reads below");
}

pub(super) async fn the_floor_is_that_of_the_slowest(f: Fixture) {
    let floor = async || f.db.floor().await.expect("a read");
    events(&f, 6).await;
    assert_eq!(floor().await, 6, "the index");
    let attempt = OpenAttempt {
        workflow_id: f.id(),
        kind: "a.attempted".to_owned(),
        attempted_id: f.id(),
        after: 5,
        deadline: at(9),
        waiting: false,
        node: f.id(),
    };
    f.must([f.db.open(&attempt)]).await;
    assert_eq!(floor().await, 5, "an attempt");
    f.must([f.db.create("mail", 4)]).await;
    assert_eq!(floor().await, 4, "a cursor");
    let lane = StoredLane {
        done: 3,
        state: LaneState::Retrying,
        ..lane(&f, "1")
    };
    f.must([f.db.put_lane("mail", &lane)]).await;
    assert_eq!(floor().await, 3, "a lane");
}

pub(super) async fn a_log_with_a_gap_is_not_cut(f: Fixture) {
    events(&f, 4).await;
    let to = anchor_at(&f, 3).await;
    let remove = Write::one("DELETE FROM event WHERE pos = $1", vec![Value::Int(2)]);
    f.must([remove]).await;
    let done = f.commit(f.db.cut(0, &to)).await;
    assert!(matches!(done, Err(CommitError::Missed(1))), "{done:?}");
}

/// Where parts are large, that is: the tests of partitions have small ones.
pub(super) async fn a_part_that_is_not_old_as_a_whole_stays(f: Fixture) {
    events(&f, 6).await;
    f.must([f.db.create("mail", 3)]).await;
    let to = anchor_at(&f, 6).await;
    let done = f.commit(f.db.drop_part(0, &to)).await;
    assert!(matches!(done, Err(CommitError::Missed(0))), "{done:?}");
    f.must([f.db.advance("mail", 6)]).await;
    f.commit(f.db.drop_part(0, &to))
        .await
        .expect("nobody reads");
    let left = f.db.read(0, 100).await.expect("a read").len();
    match f.db.oldest_part().await.expect("a read") {
        // Such a database is never asked to.
        None => assert_eq!(left, 0),
        Some(end) => assert_eq!((end > 6, left), (true, 6)),
    }
}

pub(super) async fn archives_are_listed_oldest_first(f: Fixture) {
    assert_eq!(f.db.newest_archive().await.expect("a read"), None);
    let filed = |from: u64| Filed {
        from,
        to: from + 9,
        chain: [3; 32],
        recorded_until: at(1),
        file: format!("{from}.gz"),
        digest: [4; 32],
        events: 5,
    };
    let all = [filed(1), filed(11), filed(21)];
    f.must(all.iter().map(|filed| f.db.add_archive(filed)))
        .await;
    f.misses(f.db.add_archive(&all[0])).await;
    assert_eq!(
        f.db.newest_archive().await.expect("a read"),
        Some(filed(21))
    );
    assert_eq!(f.db.archives(0, 2).await.expect("a read"), all[..2]);
    assert_eq!(f.db.archives(11, 2).await.expect("a read"), all[2..]);
    f.must([f.db.remove_archive(&all[0])]).await;
    f.misses(f.db.remove_archive(&all[0])).await;
    assert_eq!(f.db.archives(0, 9).await.expect("a read"), all[1..]);
}
