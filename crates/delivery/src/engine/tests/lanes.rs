//! Keys in trouble: backoff, catching up, parking.

use super::*;
use crate::events::EventDeadLettered;
use crate::fault::Fault;
use crate::log::CommitError;

/// Longer than any wait in a lane.
const HOURS: Duration = Duration::from_hours(7);

#[tokio::test(start_paused = true)]
async fn after_two_quick_tries_the_key_gets_a_lane_and_others_flow() {
    let trial = Trial::new();
    let script = Script::new(|call| if call.key == "bad" { fail() } else { done() });
    let running = trial.start_one(&script).await;
    trial
        .memory
        .append_all([(PLACED, "bad"), (PLACED, "bad"), (PLACED, "good")]);
    running.drain().await;
    let status = running.status().remove(0);
    assert_eq!(
        (status.position, status.lag, status.lanes_retrying),
        (3, 0, 1)
    );
    assert_eq!(
        trial.state(&running, 1),
        (DeliveryState::Retrying, 3, Some("it failed".to_owned()))
    );
    assert_eq!(trial.state(&running, 2), (DeliveryState::Waiting, 0, None));
    assert_eq!(script.positions(), [1, 3, 1, 1]);

    trial.memory.append_all([(PLACED, "good"), (PLACED, "bad")]);
    running.drain().await;
    script.change(|_| done());
    until(|| running.status()[0].lanes_retrying == 0).await;
    let bad: Vec<_> = script
        .calls()
        .into_iter()
        .filter(|call| call.key == "bad")
        .collect();
    assert!(bad.is_sorted_by_key(|call| call.position), "{bad:?}");
    assert_eq!(bad.last().unwrap().position, 5);
    until(|| trial.memory.lanes_of("mail").is_empty()).await;
    assert_eq!(trial.memory.cursor("mail"), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_lane_waits_ever_longer_with_jitter_and_is_parked_after_twelve_attempts() {
    let trial = Trial::new();
    let script = Script::new(|_| fail());
    let running = trial.start_one(&script).await;
    trial.memory.append(PLACED, "bad");
    until(|| running.status()[0].lanes_parked == 1).await;
    let calls = script.calls();
    assert_eq!(calls.len(), 12);
    let mut ceiling = Duration::from_secs(1);
    let mut waited = Vec::new();
    for pair in calls[2..].windows(2) {
        let wait = pair[1].at.abs_diff(pair[0].at);
        assert!(
            wait <= ceiling + Duration::from_millis(2),
            "{wait:?} of at most {ceiling:?}"
        );
        waited.push(wait.as_secs_f64() / ceiling.as_secs_f64());
        ceiling = (ceiling * 4).min(Duration::from_hours(6));
    }
    assert!(
        waited.iter().any(|part| *part < 0.5) && waited.iter().any(|part| *part > 0.5),
        "{waited:?}"
    );

    until(|| {
        trial
            .memory
            .lanes_of("mail")
            .iter()
            .any(|lane| lane.state == LaneState::Parked)
    })
    .await;
    let letters = trial.memory.events_of::<EventDeadLettered>();
    let dead = trial.memory.event(1).unwrap().envelope;
    assert_eq!(
        letters,
        [EventDeadLettered {
            subscription: "mail".to_owned(),
            event_id: dead.id,
            event_type: PLACED.to_owned(),
            attempts: 12,
            error_class: "transient".into(),
        }]
    );
    let told = trial.memory.event(2).unwrap().envelope;
    assert_eq!(told.key.as_str(), "system:delivery");
    assert_eq!(told.causation_id, Some(dead.id));
    assert_eq!(
        (told.actor.kind.as_ref(), told.priority),
        ("system", Priority::High)
    );

    // Nothing is tried again, what follows waits, others flow.
    trial.memory.append_all([(PLACED, "bad"), (PLACED, "good")]);
    running.drain().await;
    sleep(HOURS).await;
    assert_eq!(script.calls_of(1).len(), 12);
    assert_eq!(trial.state(&running, 3).0, DeliveryState::Waiting);
    assert!(script.calls_of(3).is_empty());
    assert!(!script.calls_of(4).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lane_is_parked_when_it_is_too_old() {
    let trial = Trial::new();
    let script = Script::new(|_| fail());
    let mut mail = mail(&script);
    mail.retry.max_attempts = 1000;
    mail.retry.max_age = Duration::from_hours(1);
    let running = trial.start(vec![mail]).await;
    trial.memory.append(PLACED, "bad");
    until(|| running.status()[0].lanes_parked == 1).await;
    let last = script.calls().last().unwrap().at;
    assert!((3600..3602).contains(&last.as_secs()), "{last:?}");
    assert!(script.count() < 50, "the last attempt is one");
}

#[tokio::test(start_paused = true)]
async fn giving_up_parks_at_once() {
    let trial = Trial::new();
    let script = Script::new(|call| match call.position {
        1 => Act::Say(Outcome::GiveUp("no such address ".repeat(100))),
        _ => done(),
    });
    let running = trial.start_one(&script).await;
    trial.memory.append(PLACED, "bad");
    until(|| trial.memory.events().len() == 2).await;
    assert_eq!(script.calls_of(1).len(), 1);
    let lane = trial.memory.lanes_of("mail").remove(0);
    assert_eq!(
        (lane.state, lane.error.chars().count()),
        (LaneState::Parked, 500)
    );
    assert_eq!(
        trial.memory.events_of::<EventDeadLettered>()[0]
            .error_class
            .as_str(),
        "permanent"
    );
    running.drain().await;
    assert_eq!(running.status()[0].lanes_parked, 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_asks_for_time_gets_it() {
    let trial = Trial::new();
    let script = Script::new(|call| match call.attempt {
        1 => Act::Say(Outcome::RetryAfter(
            Duration::from_secs(90),
            "slow down".to_owned(),
        )),
        _ => done(),
    });
    let running = trial.start_one(&script).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    until(|| running.status()[0].lanes_retrying == 0).await;
    let calls = script.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls[1].at >= calls[0].at + Duration::from_secs(90));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_does_not_end_fails_at_its_timeout() {
    let trial = Trial::new();
    let script = Script::new(|call| if call.attempt == 1 { Act::Hang } else { done() });
    let mut mail = mail(&script);
    mail.timeout = Duration::from_millis(400);
    let running = trial.start(vec![mail]).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    let calls = script.calls();
    assert_eq!(calls.len(), 2);
    let wait = calls[1].at.abs_diff(calls[0].at).as_millis();
    assert!((450..460).contains(&wait), "{wait}");
}

#[tokio::test(start_paused = true)]
async fn a_long_backlog_is_read_in_parts_and_in_order() {
    let trial = Trial::new();
    let script = Script::new(|call| {
        if call.position == 1 && call.attempt < 5 {
            fail()
        } else {
            done()
        }
    });
    let running = trial.start_one(&script).await;
    trial.memory.append_all((0..500).map(|_| (PLACED, "bad")));
    running.drain().await;
    until(|| running.status()[0].lanes_retrying == 0).await;
    let mut expected = vec![1; 5];
    expected.extend(2..=500);
    assert_eq!(script.positions(), expected);
    // What the lane held itself is not read again.
    assert_eq!(trial.memory.backlog_reads(), (500_u64 - 64).div_ceil(64));
}

#[tokio::test(start_paused = true)]
async fn a_full_window_does_not_wait_for_the_quick_attempts_of_a_few() {
    let trial = Trial::new();
    let script = Script::new(|call| if call.key == "bad" { fail() } else { done() });
    let running = trial.start_one(&script).await;
    let good = (0..10_000).map(|_| (PLACED, "good"));
    trial
        .memory
        .append_all(std::iter::once((PLACED, "bad")).chain(good));
    let began = Instant::now();
    until(|| script.count() > 10_000).await;
    assert!(
        began.elapsed() < Duration::from_millis(40),
        "{:?}",
        began.elapsed()
    );
    until(|| running.status()[0].lanes_retrying == 1).await;
    // The quick attempt has its time in the lane.
    let bad = script.calls_of(1);
    assert_eq!(bad.len(), 1);
    until(|| script.calls_of(1).len() == 2).await;
    let wait = script.calls_of(1)[1].at.abs_diff(bad[0].at).as_millis();
    assert!((50..70).contains(&wait), "{wait}");
}

#[tokio::test(start_paused = true)]
async fn a_full_window_in_which_many_failed_waits_for_their_quick_attempts() {
    let trial = Trial::new();
    let script = Script::new(|call| if call.attempt == 1 { fail() } else { done() });
    let mut mail = mail(&script);
    mail.breaker = false;
    let running = trial.start(vec![mail]).await;
    let keys: Vec<_> = (0..5_000).map(|key| format!("k:{key}")).collect();
    let events = keys.iter().map(|key| (PLACED, key.as_str()));
    trial.memory.append_all(events);
    until(|| script.count() == 10_000).await;
    assert_eq!(running.status()[0].lanes_retrying, 0);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_that_cannot_be_read_is_read_later() {
    let trial = Trial::new();
    let script = Script::new(|call| {
        if call.position == 1 && call.attempt < 5 {
            fail()
        } else {
            done()
        }
    });
    let running = trial.start_one(&script).await;
    trial.memory.append_all((0..100).map(|_| (PLACED, "bad")));
    running.drain().await;
    until(|| {
        running.status()[0].lanes_retrying == 0 || {
            // Every second read fails.
            trial
                .memory
                .fail_reads(u32::from(trial.memory.backlog_reads().is_multiple_of(2)));
            false
        }
    })
    .await;
    assert_eq!(script.positions()[5..], (2..=100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_arrives_while_the_lane_ends_is_delivered_once_and_in_order() {
    // Every commit takes a while to answer, and events keep arriving.
    for wait in [0, 1, 3, 10, 40] {
        let trial = Trial::new();
        trial.memory.answer_after(Duration::from_millis(wait));
        let script = Script::new(|call| match call.attempt {
            1..4 if call.position % 7 == 1 => fail(),
            _ if call.position % 3 == 0 => Act::After(Duration::from_millis(2), Outcome::Done),
            _ => done(),
        });
        let running = trial.start_one(&script).await;
        for _ in 0..200 {
            trial.memory.append(PLACED, "a");
            millis(7).await;
        }
        running.drain().await;
        until(|| running.status()[0].lanes_retrying == 0).await;
        let mut positions = script.positions();
        assert!(positions.is_sorted(), "{positions:?}");
        positions.dedup();
        assert_eq!(positions, (1..=200).collect::<Vec<_>>());
        assert!(script.calls_of(2).len() == 1 && script.calls_of(1).len() == 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_that_fails_is_made_again_with_its_letters() {
    let trial = Trial::new();
    let script = Script::new(|call| match call.position {
        1 => Act::Say(Outcome::GiveUp("no".to_owned())),
        _ => done(),
    });
    let running = trial.start_one(&script).await;
    trial.memory.fail_commits([
        CommitError::Fault(Fault::NoSpace),
        CommitError::Fault(Fault::NoSpace),
    ]);
    trial.memory.append(PLACED, "bad");
    until(|| !trial.memory.lanes_of("mail").is_empty()).await;
    assert_eq!(trial.memory.events_of::<EventDeadLettered>().len(), 1);
    running.drain().await;
    millis(2000).await;
    assert_eq!(
        trial.memory.cursor("mail"),
        Some(1),
        "the letter is not wanted"
    );
}
