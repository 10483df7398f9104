//! Order within a key, freedom between keys.

use super::*;
use crate::subscriber::Order;

#[tokio::test(start_paused = true)]
async fn a_key_keeps_its_order_through_quick_retries_while_others_flow() {
    let trial = Trial::new();
    let script = Script::new(|call| match (call.position, call.attempt) {
        (1, 1 | 2) => fail(),
        _ => done(),
    });
    let running = trial.start_one(&script).await;
    trial
        .memory
        .append_all([(PLACED, "a"), (PLACED, "b"), (PLACED, "a"), (PLACED, "b")]);
    running.drain().await;
    assert_eq!(script.positions(), [1, 2, 4, 1, 1, 3]);
    let times: Vec<_> = script
        .calls_of(1)
        .iter()
        .map(|call| call.at.as_millis())
        .collect();
    assert_eq!((times[1] - times[0], times[2] - times[1]), (50, 250));
    assert!(trial.memory.lanes_of("mail").is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_event_of_a_key_is_under_way_at_a_time() {
    let trial = Trial::new();
    let script = Script::new(|_| Act::After(Duration::from_millis(10), Outcome::Done));
    let running = trial.start_one(&script).await;
    trial
        .memory
        .append_all((0..30).map(|n| (PLACED, if n % 3 == 0 { "a" } else { "b" })));
    running.drain().await;
    for key in ["a", "b"] {
        let calls: Vec<_> = script
            .calls()
            .into_iter()
            .filter(|call| call.key == key)
            .collect();
        assert!(calls.is_sorted_by_key(|call| call.position));
        assert!(
            calls
                .windows(2)
                .all(|pair| pair[1].at >= pair[0].at + Duration::from_millis(10))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn more_are_under_way_while_the_target_keeps_up() {
    let trial = Trial::new();
    let script = Script::new(|call| match call.position {
        101 => Act::After(
            Duration::from_millis(10),
            Outcome::Retry("not now".to_owned()),
        ),
        _ => Act::After(Duration::from_millis(10), Outcome::Done),
    });
    let running = trial
        .start(vec![mail(&script).concurrency(2).growing_to(8)])
        .await;
    let keys: Vec<_> = (0..130).map(|n| n.to_string()).collect();
    trial
        .memory
        .append_all(keys[..100].iter().map(|key| (PLACED, key.as_str())));
    running.drain().await;
    // How many begin together, in the order in which they do.
    let rounds = |calls: &[Call]| -> Vec<usize> {
        let together = calls.chunk_by(|one, next| one.at == next.at);
        together.map(<[Call]>::len).collect()
    };
    let calls = script.calls();
    let grown = rounds(&calls);
    assert_eq!(grown[..8], [2, 3, 4, 5, 6, 7, 8, 8]);
    trial
        .memory
        .append_all(keys[100..].iter().map(|key| (PLACED, key.as_str())));
    running.drain().await;
    let after = rounds(&script.calls()[calls.len()..]);
    assert_eq!(after[0], 8);
    // Halved by the one, and grown again by the others that ended with it.
    assert_eq!(after[1], 6, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_allowed() {
    let trial = Trial::new();
    let script = Script::new(|_| Act::After(Duration::from_millis(10), Outcome::Done));
    let mut mail = mail(&script);
    mail.concurrency = 3;
    let running = trial.start(vec![mail]).await;
    let keys: Vec<_> = (0..12).map(|n| n.to_string()).collect();
    trial
        .memory
        .append_all(keys.iter().map(|key| (PLACED, key.as_str())));
    until(|| script.count() > 0).await;
    assert_eq!(running.status()[0].in_flight, 3);
    running.drain().await;
    for call in script.calls() {
        assert!(
            script
                .calls()
                .iter()
                .filter(|other| other.at == call.at)
                .count()
                <= 3
        );
    }
}

#[tokio::test(start_paused = true)]
async fn without_order_a_key_holds_nothing_up() {
    let trial = Trial::new();
    let script = Script::new(|call| if call.position == 1 { fail() } else { done() });
    let mut mail = mail(&script);
    mail.order = Order::None;
    mail.retry.max_attempts = 4;
    let running = trial.start(vec![mail]).await;
    trial.memory.append_all([(PLACED, "a"), (PLACED, "a")]);
    running.drain().await;
    assert_eq!(trial.state(&running, 2).0, DeliveryState::Done);
    until(|| running.status()[0].lanes_parked == 1).await;
    assert_eq!(script.calls_of(1).len(), 4);
    assert_eq!(trial.state(&running, 1).0, DeliveryState::Parked);
}

#[tokio::test(start_paused = true)]
async fn a_hang_gets_a_lane_after_a_second_and_delays_nobody() {
    let trial = Trial::new();
    let script = Script::new(|call| {
        if call.key == "stuck" {
            Act::Hang
        } else {
            done()
        }
    });
    let mut mail = mail(&script);
    mail.concurrency = 1;
    let running = trial.start(vec![mail]).await;
    trial.memory.append_all([
        (PLACED, "stuck"),
        (PLACED, "free"),
        (PLACED, "stuck"),
        (PLACED, "free"),
    ]);
    millis(999).await;
    assert_eq!(
        (
            running.status()[0].position,
            running.status()[0].lanes_retrying
        ),
        (0, 0)
    );
    assert_eq!(script.positions(), [1]);
    millis(2).await;
    let status = running.status().remove(0);
    assert_eq!(
        (status.position, status.lanes_retrying, status.in_flight),
        (4, 1, 1)
    );
    assert_eq!(script.positions(), [1, 2, 4]);
    assert_eq!(trial.state(&running, 3).0, DeliveryState::Waiting);

    // The lane is written at once, and the hanging delivery ends at its timeout.
    millis(1).await;
    let lane = trial.memory.lanes_of("mail").remove(0);
    assert_eq!(
        (lane.done, lane.attempts, lane.state),
        (0, 1, LaneState::Retrying)
    );
    millis(1000).await;
    assert_eq!(trial.memory.cursor("mail"), Some(4));
    script.change(|_| done());
    until(|| running.status()[0].lanes_retrying == 0).await;
    assert_eq!(script.positions(), [1, 2, 4, 1, 3]);
    assert!(script.calls_of(1)[1].at >= Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ends_after_its_key_got_a_lane_ends_the_lane() {
    let trial = Trial::new();
    let script = Script::new(|call| match call.position {
        1 => Act::After(Duration::from_secs(5), Outcome::Done),
        _ => done(),
    });
    let running = trial.start_one(&script).await;
    trial
        .memory
        .append_all([(PLACED, "a"), (PLACED, "a"), (PLACED, "b")]);
    millis(6000).await;
    assert_eq!(script.positions(), [1, 3, 2]);
    assert_eq!(running.status()[0].lanes_retrying, 0);
    millis(2000).await;
    assert!(trial.memory.lanes_of("mail").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_tried_again_once() {
    let trial = Trial::new();
    let script = Script::new(|call| match (call.position, call.attempt) {
        (1, 1) | (2, _) => Act::Panic,
        _ => done(),
    });
    let running = trial.start_one(&script).await;
    trial
        .memory
        .append_all([(PLACED, "a"), (PLACED, "b"), (PLACED, "b"), (PLACED, "c")]);
    running.drain().await;
    assert_eq!(script.calls_of(1).len(), 2);
    assert_eq!(script.calls_of(2).len(), 2);
    assert!(script.calls_of(3).is_empty());
    assert_eq!(trial.state(&running, 1).0, DeliveryState::Done);
    assert_eq!(
        trial.state(&running, 2),
        (DeliveryState::Parked, 2, Some("panicked".to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn every_subscription_gets_what_it_wants_and_no_more() {
    let trial = Trial::new();
    let (all, some) = (Script::new(|_| done()), Script::new(|_| done()));
    let filter = Filter::matching(["payment.*"]);
    let subscriptions = vec![
        mail(&all),
        Subscription::durable("some", filter, some.clone()),
    ];
    let running = trial.start(subscriptions).await;
    trial
        .memory
        .append_all([(PLACED, "a"), ("payment.card.failed", "a"), (PLACED, "a")]);
    running.drain().await;
    assert_eq!(all.positions(), [1, 2, 3]);
    assert_eq!(some.positions(), [2]);
    let event = trial.memory.event(1).unwrap();
    let states: Vec<_> = now(running.delivery_of(&event))
        .iter()
        .map(|status| status.state)
        .collect();
    assert_eq!(states, [DeliveryState::Done, DeliveryState::Skipped]);
    assert_eq!(running.status()[1].position, 3);
}
