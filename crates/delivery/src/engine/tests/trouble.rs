//! A subscription as a whole: whose turn it is, a target that is away, pauses, undoing.

use super::*;
use Priority::{Critical, High, Low, Normal};

use crate::code::Code;
use crate::events::{CircuitClosed, CircuitOpened, EventDeadLettered, UndoRequested};

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|key| format!("account:{key:04}")).collect()
}

fn place(trial: &Trial, keys: &[String]) {
    trial
        .memory
        .append_all(keys.iter().map(|key| (PLACED, key.as_str())));
}

#[tokio::test(start_paused = true)]
async fn the_most_important_goes_first_but_never_before_its_key() {
    let trial = Trial::new();
    let script = Script::new(|_| Act::After(Duration::from_millis(10), Outcome::Done));
    let running = trial.start(vec![mail(&script).concurrency(1)]).await;
    trial.memory.append_ranked([
        (PLACED, "a", Normal),
        (PLACED, "b", Low),
        (PLACED, "c", Normal),
        (PLACED, "a", Critical),
        (PLACED, "d", High),
        (PLACED, "b", Critical),
    ]);
    running.drain().await;
    assert_eq!(script.positions(), [5, 1, 4, 3, 2, 6]);
}

#[tokio::test(start_paused = true)]
async fn the_most_important_of_the_due_lanes_goes_first() {
    let trial = Trial::new();
    let script = Script::new(|call| match call.attempt {
        1 => Act::Say(Outcome::RetryAfter(HOUR, "later".to_owned())),
        _ => Act::After(Duration::from_millis(10), Outcome::Done),
    });
    let running = trial.start(vec![mail(&script).concurrency(1)]).await;
    for (key, priority) in [("a", Low), ("b", Normal), ("c", Critical)] {
        trial.memory.append_ranked([(PLACED, key, priority)]);
        running.drain().await;
        millis(10).await;
    }
    // All are due when it goes on, the least important first.
    running.pause("mail").await.unwrap();
    sleep(2 * HOUR).await;
    running.resume("mail").await.unwrap();
    until(|| running.status()[0].lanes_retrying == 0).await;
    assert_eq!(script.positions(), [1, 2, 3, 3, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn while_the_target_is_away_no_attempt_is_spent_and_no_lane_is_made() {
    let trial = Trial::new();
    let script = Script::new(|_| fail());
    let running = trial
        .start(vec![mail(&script).target("smtp.example.org")])
        .await;
    place(&trial, &keys(1000));
    until(|| running.status()[0].broken).await;
    let calls = script.count();
    assert!((20..=40).contains(&calls), "{calls}");
    sleep(Duration::from_secs(20)).await;
    assert_eq!(
        (script.count(), running.status()[0].lanes_retrying),
        (calls, 0)
    );
    let opened = trial.memory.events_of::<CircuitOpened>();
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].target, "smtp.example.org");

    // Probes at 30 s, 60 s later, 120 s later: each is an attempt like any other.
    sleep(Duration::from_secs(80)).await;
    assert_eq!(
        (script.count(), running.status()[0].lanes_retrying),
        (calls + 2, 2)
    );
    script.change(|_| done());
    running.drain().await;
    assert!(!running.status()[0].broken);
    until(|| running.status()[0].lanes_retrying == 0).await;
    assert_eq!(running.status()[0].lanes_parked, 0);
    let closed = trial.memory.events_of::<CircuitClosed>();
    assert_eq!(
        (
            closed.len(),
            trial.memory.events_of::<CircuitOpened>().len()
        ),
        (1, 1)
    );
    for position in 1..=1000 {
        assert!(script.calls_of(position).len() <= 3, "{position}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_breaker_every_event_is_on_its_own() {
    let trial = Trial::new();
    let script = Script::new(|_| fail());
    let running = trial.start(vec![mail(&script).breaker(false)]).await;
    place(&trial, &keys(100));
    running.drain().await;
    assert_eq!(running.status()[0].lanes_retrying, 100);
}

#[tokio::test(start_paused = true)]
async fn one_bad_key_of_few_does_not_hold_up_the_others() {
    let trial = Trial::new();
    let script = Script::new(|call| if call.key == "bad" { fail() } else { done() });
    let running = trial.start_one(&script).await;
    for _ in 0..60 {
        trial.memory.append_all([(PLACED, "bad"), (PLACED, "good")]);
        sleep(Duration::from_secs(1)).await;
        assert!(!running.status()[0].broken);
    }
}

#[tokio::test(start_paused = true)]
async fn when_keys_fail_in_numbers_all_is_paused_until_it_is_resumed() {
    let mut trial = Trial::new();
    let refuse = |call: &Call| match call.position % 4 {
        0 => Act::Say(Outcome::GiveUp("no".to_owned())),
        _ => done(),
    };
    let script = Script::new(refuse);
    let running = trial.start_one(&script).await;
    place(&trial, &keys(1000));
    until(|| running.status()[0].paused).await;
    let parked = running.status()[0].lanes_parked;
    assert!((20..40).contains(&parked), "{parked}");
    let opened = trial.memory.events_of::<CircuitOpened>();
    assert_eq!((opened[0].target.as_str(), opened[0].failures), ("*", 20));
    let calls = script.count();
    sleep(HOUR).await;
    assert_eq!(script.count(), calls);

    // A restart changes nothing of it.
    trial.stop().await;
    let running = trial.start_one(&script).await;
    sleep(HOUR).await;
    assert!(running.status()[0].paused && script.count() == calls);
    script.change(|_| done());
    running.resume("mail").await.unwrap();
    running.drain().await;
    assert_eq!(running.status()[0].lanes_parked, parked);
    assert_eq!(trial.memory.events_of::<CircuitClosed>()[0].target, "*");
    assert_eq!(trial.memory.events_of::<EventDeadLettered>().len(), parked);
}

const HOUR: Duration = Duration::from_hours(1);

#[tokio::test(start_paused = true)]
async fn an_operator_pauses_and_resumes() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    let running = trial.start_one(&script).await;
    running.pause("mail").await.unwrap();
    assert!(trial.memory.condition("mail").unwrap().paused);
    assert!(matches!(
        running.pause("mail").await,
        Err(Declined::WrongState)
    ));
    assert!(matches!(
        running.pause("mial").await,
        Err(Declined::NotFound)
    ));
    trial.memory.append(PLACED, "a");
    sleep(HOUR).await;
    assert_eq!((script.count(), running.status()[0].lag), (0, 1));
    running.resume("mail").await.unwrap();
    assert!(matches!(
        running.resume("mail").await,
        Err(Declined::WrongState)
    ));
    running.drain().await;
    assert_eq!(script.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn undoing_is_told_in_the_commit_that_ends_the_event() {
    let trial = Trial::new();
    let script = Script::new(|_| Act::Say(Outcome::Undo(Code::new("no_stock"))));
    let running = trial.start_one(&script).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    let cause = trial.memory.event(1).unwrap().envelope;
    let requested = trial.memory.events_of::<UndoRequested>();
    assert_eq!(
        requested,
        [UndoRequested {
            subscription: "mail".to_owned(),
            event_id: cause.id,
            event_type: PLACED.to_owned(),
            reason: Code::new("no_stock"),
        }]
    );
    let told = trial.memory.event(2).unwrap().envelope;
    assert_eq!((told.causation_id, told.key), (Some(cause.id), cause.key));
    assert_eq!(script.count(), 1);
}
