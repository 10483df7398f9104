//! Events of a version that only a newer program reads.

use super::*;
use crate::event::Past;
use crate::log::{Appender, Log as _};
use crate::{Body, Transaction};

/// [`OrderPlaced`] as a newer program has it.
#[derive(Debug, Event)]
#[event(
    type = "order.placed",
    version = 2,
    name = "OrderPlaced",
    audit = "ORDER_PLACED",
    past = [V1]
)]
struct Newer {}

const V1: Past = Past {
    schema: "{}",
    upcast: |_| {},
};

async fn start_newer(trial: &Trial, subscriptions: Vec<Subscription>) -> Running {
    let mut catalogue = Catalogue::new(|_| Class {
        priority: Priority::High,
        category: "operation",
    });
    catalogue.add::<Newer>(None, &[]).unwrap();
    catalogue.add::<CardFailed>(None, &[]).unwrap();
    events::register(&mut catalogue).unwrap();
    let parts = parts(&trial.connection, catalogue, trial.tasks.clone());
    Engine::new(parts, subscriptions).start().await.unwrap()
}

pub(super) async fn append(trial: &Trial, version: u32, key: &str) {
    let id = uuid::Uuid::from_u128(1000 + trial.memory.events().len() as u128);
    let mut envelope = crate::fakes::envelope(id, PLACED, key, crate::Time::UNIX_EPOCH);
    envelope.version = version;
    let body = Body {
        open: b"{}".to_vec(),
        personal: None,
    };
    let record = Appender::new().record(envelope, body, None, None);
    let transaction = Transaction {
        writes: vec![],
        records: vec![record],
    };
    trial.connection.commit(transaction).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_newer_version_holds_the_subscription_and_is_no_poison() {
    let mut trial = Trial::new();
    let (script, cards) = (Script::new(|_| done()), Script::new(|_| done()));
    let both = || {
        let cards = Subscription::durable("cards", Filter::matching(["payment.*"]), cards.clone());
        vec![mail(&script), cards]
    };
    append(&trial, 1, "a").await;
    append(&trial, 2, "b").await;
    append(&trial, 1, "a").await;
    let running = trial.start(both()).await;
    until(|| trial.memory.cursor("mail") == Some(1) && trial.memory.cursor("cards") == Some(3))
        .await;
    millis(3_600_000).await;
    assert_eq!(script.positions(), [1], "nothing after it is delivered");
    let status = running.status();
    assert_eq!(
        (status[0].held, status[0].position, status[0].lag),
        (true, 1, 2)
    );
    assert!(!status[1].held, "whoever does not want it goes on");
    assert_eq!(trial.state(&running, 2).0, DeliveryState::Waiting);
    assert_eq!(trial.count("delivery.dead_lettered"), 0);
    assert!(trial.memory.lanes_of("mail").is_empty());

    trial.stop().await;
    start_newer(&trial, both()).await.drain().await;
    let mut positions = script.positions();
    positions.sort_unstable();
    assert_eq!(positions, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_newer_version_in_a_lane_holds_its_key_alone() {
    let mut trial = Trial::new();
    let failing = Script::new(|call| if call.key == "b" { fail() } else { done() });
    append(&trial, 1, "b").await;
    append(&trial, 2, "b").await;
    start_newer(&trial, vec![mail(&failing)])
        .await
        .drain()
        .await;
    trial.stop().await;
    assert_eq!(trial.memory.lanes_of("mail").len(), 1);

    let script = Script::new(|_| done());
    let running = trial.start_one(&script).await;
    append(&trial, 1, "a").await;
    until(|| script.positions().contains(&1) && script.positions().contains(&3)).await;
    let reads = trial.memory.backlog_reads();
    millis(3_600_000).await;
    assert!(!script.positions().contains(&2));
    assert!(
        trial.memory.backlog_reads() - reads <= 61,
        "it is seldom looked at"
    );
    assert_eq!(running.status()[0].lanes_parked, 0);

    trial.stop().await;
    let script = Script::new(|_| done());
    start_newer(&trial, vec![mail(&script)]).await;
    until(|| script.positions() == [2]).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_read_with_a_newer_event_is_not_passed_over_when_that_goes() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    for (version, key) in [(2, "a"), (1, "b"), (1, "c")] {
        append(&trial, version, key).await;
    }
    let running = trial.start_one(&script).await;
    until(|| running.status()[0].held).await;
    append(&trial, 1, "d").await;
    millis(1000).await;
    // The newer one is older than the log is kept.
    running.expire(0, 1).await.unwrap();
    running.drain().await;
    assert_eq!(script.positions(), [2, 3, 4]);
}
