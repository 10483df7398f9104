//! Several events at once.

use super::*;
use crate::subscriber::{BatchOutcome, Order, on_any_batch, on_batch};

const SECOND: Duration = Duration::from_secs(1);

/// The positions of each call.
type Batches = Arc<Mutex<Vec<Vec<u64>>>>;

/// Handles batches of orders as a plan says, and keeps them.
fn ship(
    seen: &Batches,
    plan: impl Fn(&[u64]) -> BatchOutcome + Send + Sync + 'static,
) -> Subscription {
    let (seen, plan) = (seen.clone(), Arc::new(plan));
    let ship = on_any_batch("siem", move |events: &[Received]| {
        let positions: Vec<_> = events.iter().map(|event| event.stored.position).collect();
        let (seen, plan) = (seen.clone(), plan.clone());
        async move {
            seen.lock().unwrap().push(positions.clone());
            plan(&positions)
        }
    });
    ship.matching(["order.*"]).batch(4, SECOND).concurrency(1)
}

fn seen(batches: &Batches) -> Vec<Vec<u64>> {
    batches.lock().unwrap().clone()
}

fn well(_: &[u64]) -> BatchOutcome {
    Outcome::Done.into()
}

/// Fails as a whole when the bad one is in it.
fn bad(bad: u64, outcome: &'static Outcome) -> impl Fn(&[u64]) -> BatchOutcome {
    move |positions| {
        if positions.contains(&bad) {
            outcome.clone().into()
        } else {
            Outcome::Done.into()
        }
    }
}

fn place(trial: &Trial, keys: &str) {
    let keys: Vec<_> = keys.split(' ').collect();
    trial
        .memory
        .append_all(keys.into_iter().map(|key| (PLACED, key)));
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_goes_at_once_and_one_that_is_not_after_a_while() {
    let trial = Trial::new();
    let batches = Batches::default();
    let began = Instant::now();
    let running = trial.start(vec![ship(&batches, well)]).await;
    place(&trial, "a b c d e f");
    until(|| seen(&batches).len() == 1).await;
    assert!(began.elapsed() < SECOND);
    running.drain().await;
    assert_eq!(seen(&batches), [vec![1, 2, 3, 4], vec![5, 6]]);
    let waited = began.elapsed();
    assert!(waited >= SECOND && waited < SECOND * 5 / 4, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_holds_one_event_of_a_key_unless_there_is_no_order() {
    let trial = Trial::new();
    let batches = Batches::default();
    let running = trial.start(vec![ship(&batches, well)]).await;
    place(&trial, "a a b a");
    running.drain().await;
    assert_eq!(seen(&batches), [vec![1, 3], vec![2], vec![4]]);

    let trial = Trial::new();
    let batches = Batches::default();
    let running = trial
        .start(vec![ship(&batches, well).order(Order::None)])
        .await;
    place(&trial, "a a b a");
    running.drain().await;
    assert_eq!(seen(&batches), [[1, 2, 3, 4]]);
}

#[tokio::test(start_paused = true)]
async fn each_event_has_its_own_outcome() {
    let trial = Trial::new();
    let batches = Batches::default();
    let once = |positions: &[u64]| {
        let first = positions.len() == 4;
        let each = positions.iter().map(|position| match position {
            2 if first => Outcome::Retry("later".to_owned()),
            3 => Outcome::GiveUp("never".to_owned()),
            _ => Outcome::Done,
        });
        BatchOutcome::Each(each.collect())
    };
    let running = trial.start(vec![ship(&batches, once)]).await;
    place(&trial, "a b c d");
    running.drain().await;
    assert_eq!(seen(&batches), [vec![1, 2, 3, 4], vec![2]]);
    assert_eq!(trial.state(&running, 3).0, DeliveryState::Parked);
    assert_eq!(trial.state(&running, 2).0, DeliveryState::Done);
}

static RETRY: Outcome = Outcome::Retry(String::new());

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_whole_is_halved_once_and_its_events_then_come_alone() {
    let trial = Trial::new();
    let batches = Batches::default();
    let running = trial.start(vec![ship(&batches, bad(3, &RETRY))]).await;
    place(&trial, "a b c d");
    running.drain().await;
    let first = seen(&batches)[..3].to_vec();
    assert_eq!(first, [vec![1, 2, 3, 4], vec![1, 2], vec![3, 4]]);
    until(|| trial.state(&running, 4).0 == DeliveryState::Done).await;
    assert_eq!(trial.state(&running, 3).0, DeliveryState::Retrying);
    assert!(seen(&batches)[3..].iter().all(|batch| batch.len() == 1));
    until(|| running.status()[0].lanes_parked == 1).await;
    assert_eq!(trial.state(&running, 3), (DeliveryState::Parked, 12, None));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_parked_for_the_panic_of_another() {
    let trial = Trial::new();
    let batches = Batches::default();
    let panics = |positions: &[u64]| {
        assert!(
            !positions.contains(&1) && !positions.contains(&4),
            "as planned"
        );
        Outcome::Done.into()
    };
    let running = trial.start(vec![ship(&batches, panics)]).await;
    place(&trial, "a b c d");
    until(|| running.status()[0].lanes_parked == 2).await;
    running.drain().await;
    let state = |position| trial.state(&running, position).0;
    until(|| state(2) == DeliveryState::Done && state(3) == DeliveryState::Done).await;
    assert_eq!(
        (state(1), state(4)),
        (DeliveryState::Parked, DeliveryState::Parked)
    );
}

#[tokio::test(start_paused = true)]
async fn when_both_halves_fail_it_is_the_target() {
    let trial = Trial::new();
    let batches = Batches::default();
    let away = |_: &[u64]| BatchOutcome::from(Outcome::Retry("away".to_owned()));
    let running = trial.start(vec![ship(&batches, away)]).await;
    let keys: Vec<_> = (0..40).map(|key| key.to_string()).collect();
    place(&trial, &keys.join(" "));
    until(|| running.status()[0].broken).await;
    assert_eq!(running.status()[0].lanes_retrying, 0);
}

async fn count(orders: &[Received<OrderPlaced>]) -> Result<(), crate::Fault> {
    assert!(orders.iter().all(|order| order.stored.position != 2));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_one_type_may_have_a_condition() {
    let trial = Trial::new();
    let counting = on_batch::<OrderPlaced>("count", count).when(|order| order.stored.position != 2);
    let running = trial.start(vec![counting.into()]).await;
    place(&trial, "a b c");
    running.drain().await;
    assert_eq!(running.status()[0].lanes_retrying, 0);
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_one_event_takes_no_batches() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    let error = trial
        .try_start(vec![mail(&script).batch(4, SECOND)])
        .await
        .err();
    assert!(matches!(error, Some(StartError::NoBatch(name)) if &*name == "mail"));
}
