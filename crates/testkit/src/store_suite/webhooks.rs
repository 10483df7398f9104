use std::collections::BTreeMap;

use quivive_app::ports::{Attempt, Endpoint, StoredRecovery, StoredSecret, Webhooks as _};
use quivive_delivery::CommitError;
use quivive_delivery::subscriber::{StoredReplay, Subscriptions as _};
use quivive_domain::webhook::{Disabled, Order, Pattern, Signatures, Target};
use quivive_domain::{EndpointId, UserId};

use super::fixture::{Fixture, at, hash};

async fn register(f: &Fixture, url: &str) -> Endpoint {
    let endpoint = Endpoint {
        id: EndpointId(f.id()),
        target: Target::parse(url).expect("a URL"),
        description: "the shop's".to_owned(),
        events: ["user.*", "SessionCreated"]
            .map(|text| Pattern::parse(text).expect("a pattern"))
            .into(),
        order: Order::Key,
        signatures: Signatures::V1,
        disabled: None,
        failing_since: None,
        versions: BTreeMap::from([("session.created".to_owned(), 2)]),
        created_by: Some(UserId(f.id())),
        created_at: at(1),
        updated_at: at(1),
        revision: 1,
    };
    f.must(f.db.insert_endpoint(&endpoint, 10)).await;
    endpoint
}

async fn reread(f: &Fixture, id: EndpointId) -> Option<Endpoint> {
    f.db.endpoint(id).await.expect("a read")
}

fn secret(f: &Fixture, endpoint: EndpointId, created_s: i64) -> StoredSecret {
    let id = f.id();
    StoredSecret {
        id,
        endpoint,
        sealed: vec![7; 92],
        public_key: hash(&id),
        created_at: at(created_s),
        expires_at: None,
    }
}

fn attempt(f: &Fixture, endpoint: EndpointId, number: u32) -> Attempt {
    Attempt {
        endpoint,
        event_id: f.id(),
        event_type: "user.login.failed".to_owned(),
        number,
        at: at(i64::from(number)),
        latency_ms: 12,
        status: (number != 2).then_some(500),
        error: Some("answered 500".to_owned()),
    }
}

pub(super) async fn what_is_inserted_is_read_back(f: Fixture) {
    let one = register(&f, "https://one.example/in?key=1").await;
    let bare = Endpoint {
        id: EndpointId(f.id()),
        events: Vec::new(),
        order: Order::None,
        signatures: Signatures::V1a,
        disabled: Some(Disabled::Gone),
        versions: BTreeMap::new(),
        created_by: None,
        ..one.clone()
    };
    f.must(f.db.insert_endpoint(&bare, 10)).await;
    assert_eq!(reread(&f, one.id).await.as_ref(), Some(&one));
    let all = f.db.endpoints().await.expect("a read");
    assert_eq!(all, [one.clone(), bare]);
    assert_eq!(reread(&f, EndpointId(f.id())).await, None);
    let again = f.commit(f.db.insert_endpoint(&one, 10)).await;
    assert!(matches!(again, Err(CommitError::Missed(1))), "{again:?}");
}

pub(super) async fn no_more_endpoints_than_the_limit(f: Fixture) {
    let one = register(&f, "https://one.example").await;
    let racing = (0..20).map(|_| Endpoint {
        id: EndpointId(f.id()),
        ..one.clone()
    });
    let racing = racing.map(|endpoint| f.commit(f.db.insert_endpoint(&endpoint, 5)));
    let done = futures_util::future::join_all(racing).await;
    assert_eq!(done.iter().filter(|done| done.is_ok()).count(), 4);
}

pub(super) async fn a_change_that_was_decided_on_an_older_state_misses(f: Fixture) {
    let one = register(&f, "https://one.example").await;
    f.must([f.db.note_failing(one.id, Some(at(5)))]).await;
    let changed = Endpoint {
        target: Target::parse("https://two.example/").expect("a URL"),
        description: String::new(),
        events: Vec::new(),
        disabled: Some(Disabled::Failing),
        versions: BTreeMap::new(),
        signatures: Signatures::All,
        updated_at: at(9),
        ..one.clone()
    };
    f.must([f.db.update_endpoint(&changed)]).await;
    let want = Endpoint {
        failing_since: Some(at(5)),
        revision: 2,
        ..changed.clone()
    };
    assert_eq!(reread(&f, one.id).await, Some(want.clone()));
    f.misses(f.db.update_endpoint(&changed)).await;
    f.must([f.db.note_failing(one.id, None)]).await;
    let want = Endpoint {
        failing_since: None,
        ..want
    };
    assert_eq!(reread(&f, one.id).await, Some(want));
}

pub(super) async fn a_rotation_leaves_the_newest_and_the_one_before(f: Fixture) {
    let one = register(&f, "https://one.example").await;
    let other = register(&f, "https://two.example").await;
    let others = secret(&f, other.id, 1);
    f.must([f.db.insert_secret(&others)]).await;
    let secrets = [1, 2, 3].map(|second| secret(&f, one.id, second));
    f.must([f.db.insert_secret(&secrets[0])]).await;
    f.misses(f.db.insert_secret(&secrets[0])).await;
    for (newer, until) in [(&secrets[1], at(100)), (&secrets[2], at(200))] {
        let mut writes = f.db.retire_secrets(one.id, until);
        writes.push(f.db.insert_secret(newer));
        f.must(writes).await;
    }
    let before = StoredSecret {
        expires_at: Some(at(200)),
        ..secrets[1].clone()
    };
    let found = f.db.secrets(one.id).await.expect("a read");
    assert_eq!(found, [secrets[2].clone(), before]);
    let found = f.db.secrets(other.id).await.expect("a read");
    assert_eq!(found, [others]);
}

pub(super) async fn the_newest_attempts_are_kept(f: Fixture) {
    let one = register(&f, "https://one.example").await;
    let other = register(&f, "https://two.example").await;
    let attempts = [1, 2, 3].map(|number| attempt(&f, one.id, number));
    f.must(
        attempts
            .iter()
            .map(|attempt| f.db.insert_attempt(f.id(), attempt)),
    )
    .await;
    let others = attempt(&f, other.id, 1);
    f.must([f.db.insert_attempt(f.id(), &others)]).await;
    f.must([f.db.trim_attempts(one.id, 2)]).await;
    let found = f.db.attempts(one.id).await.expect("a read");
    assert_eq!(found, [attempts[2].clone(), attempts[1].clone()]);
    let found = f.db.attempts(other.id).await.expect("a read");
    assert_eq!(found, [others]);
}

fn replay(f: &Fixture, generation: u32, from: u64, to: u64) -> StoredReplay {
    StoredReplay {
        name: format!("webhook@{generation}"),
        subscription: "webhook".to_owned(),
        generation,
        from,
        to: Some(to),
        by: f.id(),
    }
}

pub(super) async fn a_recovery_is_a_replay_and_the_last_one_is_kept(f: Fixture) {
    let one = register(&f, "https://one.example").await;
    let recovery = async || f.db.recovery(one.id, "webhook").await.expect("a read");
    f.misses(f.db.begin_recovery(one.id, "webhook")).await;
    assert_eq!(recovery().await, None);
    for (generation, after, upto) in [(2, 4, 9), (3, 0, 12)] {
        let replay = replay(&f, generation, after + 1, upto);
        let note = f.db.begin_recovery(one.id, "webhook");
        f.must([f.db.put_replay(&replay), note]).await;
        let begun = StoredRecovery {
            generation,
            after,
            upto,
            sent: 0,
            under_way: true,
        };
        assert_eq!(recovery().await, Some(begun));
        for of in [generation, generation, generation - 1] {
            f.must([f.db.count_recovered(one.id, of)]).await;
        }
        f.must([f.db.end_replay(&replay.name)]).await;
        let done = StoredRecovery {
            sent: 2,
            under_way: false,
            ..begun
        };
        assert_eq!(recovery().await, Some(done));
    }
    // Another replay of it is none.
    f.must([f.db.put_replay(&replay(&f, 4, 1, 2))]).await;
    assert!(recovery().await.is_some_and(|last| !last.under_way));
    f.must(f.db.delete_endpoint(one.id)).await;
    f.must([f.db.count_recovered(one.id, 3)]).await;
    assert_eq!(recovery().await, None);
}

pub(super) async fn an_endpoint_goes_with_all_it_has(f: Fixture) {
    let one = register(&f, "https://one.example").await;
    let other = register(&f, "https://two.example").await;
    for id in [one.id, other.id] {
        let (secret, attempt) = (secret(&f, id, 1), attempt(&f, id, 1));
        f.must([
            f.db.insert_secret(&secret),
            f.db.insert_attempt(f.id(), &attempt),
        ])
        .await;
    }
    f.must(f.db.delete_endpoint(one.id)).await;
    f.misses(f.db.delete_endpoint(one.id).remove(0)).await;
    // What was under way when it went leaves nothing.
    f.must([f.db.insert_attempt(f.id(), &attempt(&f, one.id, 2))])
        .await;
    for (id, left) in [(one.id, 0), (other.id, 1)] {
        let secrets = f.db.secrets(id).await.expect("a read").len();
        let attempts = f.db.attempts(id).await.expect("a read").len();
        assert_eq!((secrets, attempts), (left, left));
    }
    assert_eq!(reread(&f, one.id).await, None);
}
