use std::time::Duration;

use quivive_app::ports::{OpenAttempt, OpenAttempts as _};
use quivive_delivery::Write;
use quivive_delivery::nodes::{Lease, Node, Nodes as _};
use quivive_delivery::seal::{KeptKey, KeptKeys};
use quivive_store::DEAD_AFTER;
use uuid::Uuid;

use super::fixture::{Fixture, at};

async fn lives(f: &Fixture) -> (Node, Uuid) {
    let (node, place) = (
        Node {
            id: f.id(),
            reads: 7,
        },
        f.id(),
    );
    f.db.join(node, place).await.expect("it joins");
    (node, place)
}

const BEAT: &str = "UPDATE node SET beat = $1 WHERE place = $2";

async fn living(f: &Fixture) -> Vec<Node> {
    f.db.living().await.expect("a read")
}

async fn lease(f: &Fixture, name: &str) -> Option<Lease> {
    let leases = f.db.leases().await.expect("a read");
    leases.into_iter().find(|lease| lease.name == name)
}

/// Ages what it says, as time does.
async fn age(f: &Fixture, place: Uuid, by: Duration) {
    let now = f.db.time().await.expect("a read");
    let then = now.checked_sub(by).expect("after 1970");
    f.must([Write::one(BEAT, vec![then.into(), place.into()])])
        .await;
}

pub(super) async fn a_node_lives_while_it_says_so_by_the_databases_clock(f: Fixture) {
    let ((one, place), (two, other)) = (lives(&f).await, lives(&f).await);
    let mut both = vec![one, two];
    both.sort_by_key(|node| node.id);
    assert_eq!(living(&f).await, both);
    let second = Duration::from_secs(1);
    age(&f, place, DEAD_AFTER.checked_sub(second).expect("longer")).await;
    assert_eq!(living(&f).await, both);
    age(&f, place, DEAD_AFTER + second).await;
    assert_eq!(living(&f).await, [two]);
    // It was asleep, and says that it lives, and more than before.
    let more = Node { reads: 8, ..one };
    f.db.beat(more, place).await.expect("it beats");
    assert!(living(&f).await.contains(&more));
    // Another run in the place of one.
    let next = Node {
        id: f.id(),
        reads: 0,
    };
    f.db.join(next, other).await.expect("it joins");
    assert!(!living(&f).await.contains(&two) && living(&f).await.contains(&next));
    f.db.leave(next.id).await.expect("it leaves");
    assert_eq!(living(&f).await, [more]);
}

pub(super) async fn a_lease_is_claimed_once_and_guards_the_commits_of_who_has_it(f: Fixture) {
    let ((one, place), (two, _)) = (lives(&f).await, lives(&f).await);
    let claims = (0..50).map(|i| {
        let node = if i % 2 == 0 { one.id } else { two.id };
        f.db.claim("mail", node, 0)
    });
    assert_eq!(f.race(claims.collect()).await, 1);
    let first = lease(&f, "mail").await.expect("a lease");
    let (owner, other) = if first.node == Some(one.id) {
        (one.id, two.id)
    } else {
        (two.id, one.id)
    };
    assert_eq!((first.epoch, first.wanted, first.needs), (1, None, 0));
    f.misses(f.db.claim("mail", other, 1)).await;
    f.must([f.db.guard("mail", owner, 1)]).await;
    for write in [
        f.db.guard("mail", other, 1),
        f.db.guard("mail", owner, 2),
        f.db.guard("post", owner, 1),
        f.db.release("mail", owner, 2, 0),
    ] {
        f.misses(write).await;
    }
    // Asked for, let go of for who reads more, and taken.
    f.must([f.db.want("mail", other), f.db.unwant("mail", owner)])
        .await;
    assert_eq!(
        lease(&f, "mail").await.expect("a lease").wanted,
        Some(other)
    );
    f.must([
        f.db.unwant("mail", other),
        f.db.release("mail", owner, 1, 7),
    ])
    .await;
    let free = lease(&f, "mail").await.expect("a lease");
    assert_eq!(
        (free.node, free.epoch, free.wanted, free.needs),
        (None, 1, None, 7)
    );
    f.must([f.db.claim("mail", other, 1)]).await;
    f.misses(f.db.guard("mail", owner, 1)).await;
    f.misses(f.db.claim("mail", owner, 2)).await;
    // Of a dead node it is free, and so is what it works on.
    let attempt = OpenAttempt {
        workflow_id: f.id(),
        kind: "user.login.attempted".to_owned(),
        attempted_id: f.id(),
        after: 1,
        deadline: at(1),
        waiting: false,
        node: one.id,
    };
    f.must([f.db.open(&attempt)]).await;
    let abandoned = async |node| {
        let found = f.db.abandoned(node, at(100)).await.expect("a read");
        found.len()
    };
    assert_eq!(
        (abandoned(two.id).await, abandoned(one.id).await),
        (0, 1),
        "late, but its own"
    );
    f.must([f.db.claim("alerts", one.id, 0)]).await;
    age(&f, place, 2 * DEAD_AFTER).await;
    assert_eq!(living(&f).await, [two]);
    assert_eq!(abandoned(two.id).await, 1);
    f.must([f.db.claim("alerts", two.id, 1)]).await;
    assert_eq!(lease(&f, "alerts").await.expect("a lease").epoch, 2);
    f.db.leave(two.id).await.expect("it leaves");
    assert_eq!(lease(&f, "alerts").await.expect("a lease").node, None);
    f.must([f.db.offer("alerts", 9), f.db.offer("new", 9)])
        .await;
    assert_eq!(lease(&f, "alerts").await.expect("a lease").needs, 0);
    let offered = lease(&f, "new").await.expect("a lease");
    assert_eq!((offered.node, offered.epoch, offered.needs), (None, 0, 9));
    f.must([f.db.claim("new", one.id, 0)]).await;
    f.must([f.db.forget("alerts")]).await;
    assert_eq!(lease(&f, "alerts").await, None);
}

pub(super) async fn a_subjects_key_is_kept_once_and_its_end_is_remembered(f: Fixture) {
    let find = async |name: &str| KeptKeys::find(&f.db, name).await.expect("a read");
    assert_eq!(find("s:1").await, None);
    let kept = async |bytes: &[u8]| f.db.keep("s:1", bytes).await.expect("a commit");
    assert!(kept(b"one").await);
    assert!(!kept(b"two").await, "there is one");
    assert_eq!(find("s:1").await, Some(KeptKey::Wrapped(b"one".to_vec())));
    assert!(f.db.destroyed().await.expect("a read").is_empty());
    assert!(f.db.destroy("s:1").await.expect("a commit"));
    assert!(!f.db.destroy("s:1").await.expect("a commit"));
    assert!(
        !f.db.destroy("s:2").await.expect("a commit"),
        "there was none"
    );
    assert_eq!(find("s:1").await, Some(KeptKey::Destroyed));
    assert!(!kept(b"three").await, "it does not come back");
    assert_eq!(f.db.destroyed().await.expect("a read"), ["s:1"]);
}

pub(super) async fn a_note_is_swapped_for_what_was_found(f: Fixture) {
    f.must([f.db.swap_meta("keys", None, "one")]).await;
    f.misses(f.db.swap_meta("keys", None, "other")).await;
    f.must([f.db.swap_meta("keys", Some("one"), "two")]).await;
    f.misses(f.db.swap_meta("keys", Some("one"), "three")).await;
    let noted = f.db.meta("keys").await.expect("a read");
    assert_eq!(noted.as_deref(), Some("two"));
}
