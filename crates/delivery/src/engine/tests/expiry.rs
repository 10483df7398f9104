//! Readers that are older than what they read.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, KeyName, Metadata, Recorder, SharedString, Unit};

use super::*;
use crate::events::SubscriptionExpired;

fn expired(trial: &Trial) -> Vec<SubscriptionExpired> {
    trial.memory.events_of()
}

/// Keeps what is counted.
#[derive(Default)]
struct Counted(Mutex<HashMap<String, Arc<AtomicU64>>>);

impl Counted {
    fn of(&self, name: &str, subscription: &str) -> u64 {
        let all = self.0.lock().unwrap();
        let found = all.get(&format!("{name} {subscription}"));
        found.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &metrics::Key, _: &Metadata<'_>) -> Counter {
        let label = key.labels().next().map_or("", |label| label.value());
        let name = format!("{} {label}", key.name());
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(name).or_default()))
    }

    fn register_gauge(&self, _: &metrics::Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &metrics::Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn what_members_of_a_family_lose_is_counted_as_one() {
    let counted = Counted::default();
    let _counting = metrics::set_default_local_recorder(&counted);
    let trial = Trial::new();
    let script = Script::new(|_| done());
    let names = ["webhook:1", "webhook:2"];
    let filter = Filter::matching(["order.*"]);
    let member = |name| Subscription::durable(name, filter.clone(), script.clone());
    let running = trial.start(names.map(member).into()).await;
    for name in names {
        running.pause(name).await.unwrap();
    }
    for _ in 0..3 {
        trial.memory.append(PLACED, "a");
    }
    running.expire(0, 3).await.unwrap();
    let counted = |figure: &str| counted.of(figure, "webhook");
    until(|| counted("quivive_subscriptions_expired_total") == 2).await;
    assert_eq!(counted("quivive_subscription_events_lost_total"), 6);
}

#[tokio::test(start_paused = true)]
async fn a_parked_lane_loses_what_goes_and_goes_on_after_it() {
    let trial = Trial::new();
    let script = Script::new(|call| match call.position {
        1 => Act::Say(Outcome::GiveUp("no".to_owned())),
        _ => done(),
    });
    let running = trial.start_one(&script).await;
    // One is parked (2 says so), two wait behind it, one is of another key.
    trial.memory.append(PLACED, "bad");
    until(|| trial.memory.events().len() == 2).await;
    trial
        .memory
        .append_all([(PLACED, "bad"), (PLACED, "good"), (PLACED, "bad")]);
    running.drain().await;
    assert_eq!(script.positions(), [1, 4]);
    running.expire(0, 4).await.unwrap();
    until(|| script.positions() == [1, 4, 5]).await;
    until(|| trial.memory.lanes_of("mail").is_empty()).await;
    let told = SubscriptionExpired {
        subscription: "mail".to_owned(),
        from: 0,
        to: 4,
        lost: 2,
    };
    assert_eq!(expired(&trial), [told]);
    running.drain().await;
    assert_eq!(running.status()[0].lanes_parked, 0);
    // Another time there is nothing left to lose.
    running.expire(0, 4).await.unwrap();
    running.drain().await;
    assert_eq!(expired(&trial).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_waits_for_its_time_is_no_different() {
    let trial = Trial::new();
    let script = Script::new(|call| if call.position == 1 { fail() } else { done() });
    let running = trial.start_one(&script).await;
    trial.memory.append_all([(PLACED, "bad"), (PLACED, "bad")]);
    until(|| trial.memory.lanes_of("mail").len() == 1).await;
    running.expire(0, 1).await.unwrap();
    until(|| script.positions().last() == Some(&2)).await;
    assert_eq!(expired(&trial)[0].lost, 1);
}

#[tokio::test(start_paused = true)]
async fn a_paused_subscription_is_moved_on_and_stays_paused() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    let running = trial.start_one(&script).await;
    running.pause("mail").await.unwrap();
    until(|| running.status()[0].paused).await;
    for _ in 0..6_000 {
        trial.memory.append(PLACED, "a");
    }
    sleep(Duration::from_secs(2)).await;
    // Beyond what its window has read: 4,096 events.
    running.expire(0, 5_000).await.unwrap();
    until(|| trial.memory.cursor("mail") == Some(5_000)).await;
    assert_eq!(
        (expired(&trial)[0].from, expired(&trial)[0].lost),
        (0, 5_000)
    );
    assert_eq!((running.status()[0].position, script.count()), (5_000, 0));
    running.resume("mail").await.unwrap();
    running.drain().await;
    let calls = script.positions();
    assert_eq!(calls, (5_001..=6_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_ends_and_only_then_is_passed_over() {
    let trial = Trial::new();
    let script = Script::new(|call| match call.position {
        1 => Act::After(Duration::from_millis(500), Outcome::Done),
        _ => done(),
    });
    let running = trial.start_one(&script).await;
    trial
        .memory
        .append_all([(PLACED, "a"), (PLACED, "a"), (PLACED, "b")]);
    until(|| script.count() == 2).await;
    running.expire(0, 3).await.unwrap();
    running.drain().await;
    assert_eq!(
        script.positions(),
        [1, 3, 2],
        "what waits behind it is delivered"
    );
    assert_eq!(
        running.status()[0].position,
        trial.memory.events().len() as u64
    );
}

#[tokio::test(start_paused = true)]
async fn who_is_past_what_goes_loses_nothing() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    let running = trial.start_one(&script).await;
    trial.memory.append_all([(PLACED, "a"), (PLACED, "b")]);
    running.drain().await;
    running.expire(0, 2).await.unwrap();
    running.drain().await;
    assert!(expired(&trial).is_empty());
    assert_eq!(script.count(), 2);
}
