//! What operators decide about dead letters.

use std::num::NonZeroU32;

use uuid::Uuid;

use super::*;
use crate::envelope::Key;
use crate::events::{DeadLettersDiscarded, DeadLettersRedriven};
use crate::subscriber::{Choice, ErrorClass};

const OPERATOR: Uuid = Uuid::from_u128(7);

pub(super) fn by() -> Decider {
    Decider {
        by: OPERATOR,
        workflow_id: Uuid::from_u128(8),
        correlation_id: Uuid::from_u128(9),
        causation_id: Some(Uuid::from_u128(10)),
    }
}

fn key(value: &str) -> Choice {
    Choice {
        key: Some(Key::stored(value.to_owned())),
        ..Choice::default()
    }
}

fn give_up() -> Act {
    Act::Say(Outcome::GiveUp("no".to_owned()))
}

/// A subscription that gave up on these events, all in the database.
async fn parked(trial: &Trial, script: &Arc<Script>, keys: &[&str]) -> Running {
    // So many keys in trouble would open the breaker and pause it.
    let running = trial.start(vec![mail(script).breaker(false)]).await;
    trial
        .memory
        .append_all(keys.iter().map(|key| (PLACED, *key)));
    running.drain().await;
    let mut distinct = keys.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let all = Choice::default();
    until(|| now(running.dead_letters("mail", &all)) == distinct.len() as u64).await;
    running
}

#[tokio::test(start_paused = true)]
async fn a_redriven_lane_delivers_what_was_parked_and_then_what_waited() {
    let trial = Trial::new();
    let script = Script::new(|_| give_up());
    let running = parked(&trial, &script, &["bad", "bad", "worse", "bad"]).await;
    script.change(|_| done());
    let count = running.redrive("mail", key("bad"), None, by()).await;
    assert_eq!(count.unwrap(), 1);
    running.drain().await;
    until(|| trial.memory.lanes_of("mail").len() == 1).await;
    let again = &script.positions()[2..];
    assert_eq!(again, [1, 2, 4]);
    assert_eq!(
        trial.memory.events_of::<DeadLettersRedriven>(),
        [DeadLettersRedriven {
            subscription: "mail".to_owned(),
            count: 1,
            by: OPERATOR,
        }]
    );
    let told = trial.memory.events().pop().unwrap().envelope;
    assert_eq!(told.kind, "delivery.redriven");
    assert_eq!(
        (told.workflow_id, told.correlation_id),
        (by().workflow_id, by().correlation_id)
    );
    assert_eq!(told.causation_id, by().causation_id);
}

#[tokio::test(start_paused = true)]
async fn a_discarded_event_is_passed_over_and_the_key_goes_on() {
    let trial = Trial::new();
    let script = Script::new(|call| {
        if call.position == 1 {
            give_up()
        } else {
            done()
        }
    });
    let running = parked(&trial, &script, &["bad", "bad", "bad"]).await;
    let reason = "a duplicate".to_owned();
    let count = running.discard("mail", key("bad"), reason.clone(), by());
    assert_eq!(count.await.unwrap(), 1);
    running.drain().await;
    until(|| trial.memory.lanes_of("mail").is_empty()).await;
    assert_eq!(script.positions(), [1, 2, 3]);
    assert_eq!(trial.state(&running, 1).0, DeliveryState::Done);
    assert_eq!(
        trial.memory.events_of::<DeadLettersDiscarded>(),
        [DeadLettersDiscarded {
            subscription: "mail".to_owned(),
            count: 1,
            by: OPERATOR,
            reason,
        }]
    );
}

#[tokio::test(start_paused = true)]
async fn a_redriven_event_has_all_its_attempts_again() {
    let trial = Trial::new();
    let script = Script::new(|_| fail());
    let mut mail = mail(&script);
    mail.retry.max_attempts = 4;
    mail.retry.max_age = Duration::from_hours(1);
    let running = trial.start(vec![mail]).await;
    trial.memory.append(PLACED, "bad");
    let all = Choice::default();
    until(|| now(running.dead_letters("mail", &all)) == 1).await;
    assert_eq!(script.count(), 4);
    // Older than any event may be tried.
    sleep(Duration::from_hours(2)).await;
    running.redrive("mail", all, None, by()).await.unwrap();
    until(|| running.status()[0].lanes_parked == 1).await;
    assert_eq!(script.count(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_choice_is_all_that_it_says() {
    let trial = Trial::new();
    let script = Script::new(|call| match call.key.as_str() {
        "poison" => Act::Say(Outcome::Poison("unreadable".to_owned())),
        _ => give_up(),
    });
    let running = parked(&trial, &script, &["poison", "a"]).await;
    let later = trial.memory.lanes_of("mail")[0].due;
    sleep(Duration::from_hours(1)).await;
    trial.memory.append(PLACED, "b");
    let all = Choice::default();
    until(|| now(running.dead_letters("mail", &all)) == 3).await;
    let middle = later.checked_add(Duration::from_mins(30)).unwrap();
    let event = trial.memory.event(2).unwrap().envelope;
    for (choice, count) in [
        (key("a"), 1),
        (key("c"), 0),
        (
            Choice {
                event_id: Some(event.id),
                ..Choice::default()
            },
            1,
        ),
        (
            Choice {
                event_type: Some(PLACED.to_owned()),
                ..Choice::default()
            },
            3,
        ),
        (
            Choice {
                event_type: Some("order.noted".to_owned()),
                ..Choice::default()
            },
            0,
        ),
        (
            Choice {
                error_class: Some(ErrorClass::Poison),
                ..Choice::default()
            },
            1,
        ),
        (
            Choice {
                since: Some(middle),
                ..Choice::default()
            },
            1,
        ),
        (
            Choice {
                until: Some(middle),
                ..Choice::default()
            },
            2,
        ),
        (
            Choice {
                until: Some(middle),
                error_class: Some(ErrorClass::Permanent),
                ..Choice::default()
            },
            1,
        ),
    ] {
        assert_eq!(
            now(running.dead_letters("mail", &choice)),
            count,
            "{choice:?}"
        );
    }
    let nobody = running.redrive("mail", key("c"), None, by()).await;
    assert!(matches!(nobody, Err(Declined::WrongState)));
    let nothing = running.redrive("mial", key("a"), None, by()).await;
    assert!(matches!(nothing, Err(Declined::NotFound)));
    assert_eq!(trial.memory.events_of::<DeadLettersRedriven>(), []);
}

#[tokio::test(start_paused = true)]
async fn fifty_redrives_at_once_deliver_once() {
    let trial = Trial::new();
    let script = Script::new(|_| give_up());
    let running = parked(&trial, &script, &["bad"]).await;
    script.change(|_| done());
    let asked = (0..50).map(|_| running.redrive("mail", key("bad"), None, by()));
    let answers = futures_util::future::join_all(asked).await;
    running.drain().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(script.positions(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_kept_and_what_a_stop_cut_short_goes_on_when_it_is_asked_again() {
    let mut trial = Trial::new();
    let script = Script::new(|_| give_up());
    let keys: Vec<_> = (0..40).map(|key| format!("k:{key:02}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let running = parked(&trial, &script, &keys).await;
    script.change(|_| done());
    let rate = NonZeroU32::new(4);
    let began = Instant::now();
    let all = Choice::default;
    let count = running.redrive("mail", all(), rate, by()).await;
    assert_eq!(count.unwrap(), 40);
    until(|| script.count() == 40 + 20).await;
    let took = began.elapsed().as_secs_f64();
    assert!((3.9..4.2).contains(&took), "{took}");

    trial.kill();
    let running = trial.start(vec![mail(&script).breaker(false)]).await;
    let left = now(running.dead_letters("mail", &all()));
    sleep(Duration::from_hours(1)).await;
    assert_eq!(now(running.dead_letters("mail", &all())), left);
    assert!((16..=20).contains(&left), "{left}");
    running.redrive("mail", all(), None, by()).await.unwrap();
    until(|| running.status()[0].lanes_parked == 0).await;
    running.drain().await;
    until(|| trial.memory.lanes_of("mail").is_empty()).await;
    let mut again = script.positions().split_off(40);
    again.sort_unstable();
    again.dedup();
    assert_eq!(again, (1..=40).collect::<Vec<_>>());
    let told = trial.memory.events_of::<DeadLettersRedriven>();
    assert_eq!(told.iter().map(|told| told.count).sum::<u32>(), 40);
}

#[tokio::test(start_paused = true)]
async fn many_go_on_in_parts_each_told_in_the_commit_that_lets_them() {
    let trial = Trial::new();
    let script = Script::new(|_| give_up());
    let keys: Vec<_> = (0..1000).map(|key| format!("k:{key}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let running = parked(&trial, &script, &keys).await;
    script.change(|_| done());
    let count = running.redrive("mail", Choice::default(), None, by());
    assert_eq!(count.await.unwrap(), 1000);
    until(|| trial.memory.lanes_of("mail").is_empty()).await;
    let told = trial.memory.events_of::<DeadLettersRedriven>();
    let counts: Vec<_> = told.iter().map(|told| told.count).collect();
    assert_eq!(counts, [256, 256, 256, 232]);
    assert_eq!(script.count(), 2000);
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_the_database_and_a_decision_survives_a_commit_that_fails() {
    let trial = Trial::new();
    let script = Script::new(|_| give_up());
    let running = parked(&trial, &script, &["bad"]).await;
    let memory = Arc::clone(&trial.memory);
    let told = move || memory.events_of::<DeadLettersRedriven>().len();
    script.change(move |_| if told() == 1 { done() } else { fail() });
    let full = || crate::log::CommitError::Fault(crate::fault::Fault::NoSpace);
    trial.memory.fail_commits([full(), full()]);
    let began = Instant::now();
    let count = running.redrive("mail", key("bad"), None, by()).await;
    assert_eq!(count.unwrap(), 1);
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(trial.memory.events_of::<DeadLettersRedriven>().len(), 1);
    running.drain().await;
    assert_eq!(script.count(), 2, "it is told before it is delivered");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stops_answers_too() {
    let trial = Trial::new();
    let script = Script::new(|_| give_up());
    let running = parked(&trial, &script, &["bad"]).await;
    trial.tasks.shut_down().await;
    let late = running.redrive("mail", key("bad"), None, by()).await;
    assert!(matches!(late, Err(Declined::Fault(_))));
}

#[tokio::test(start_paused = true)]
async fn decisions_without_an_engine_are_what_the_next_one_goes_on_from() {
    let mut trial = Trial::new();
    let script = Script::new(|_| give_up());
    let keys = ["again", "again", "skipped", "skipped", "stays"];
    parked(&trial, &script, &keys).await;
    trial.stop().await;
    script.change(|_| done());
    let parts = parts(&trial.connection, catalogue(), trial.tasks.clone());
    let at_rest = AtRest::new(parts);
    let all = Choice::default();
    assert_eq!(at_rest.dead_letters("mail", &all).await.unwrap(), 3);
    let redriven = at_rest.redrive("mail", &key("again"), None, by()).await;
    let reason = "no use".to_owned();
    let discarded = at_rest.discard("mail", &key("skipped"), reason, by()).await;
    assert_eq!((redriven.unwrap(), discarded.unwrap()), (1, 1));
    let again = at_rest.redrive("mail", &key("again"), None, by()).await;
    assert!(matches!(again, Err(Declined::WrongState)));
    let nobody = at_rest.pause("mial").await;
    assert!(matches!(nobody, Err(Declined::NotFound)));
    at_rest.pause("mail").await.unwrap();
    let twice = at_rest.pause("mail").await;
    assert!(matches!(twice, Err(Declined::WrongState)));

    let running = trial.start(vec![mail(&script).breaker(false)]).await;
    sleep(Duration::from_hours(1)).await;
    assert!(running.status()[0].paused && script.count() == 3);
    running.resume("mail").await.unwrap();
    until(|| trial.memory.lanes_of("mail").len() == 1).await;
    let mut again = script.positions().split_off(3);
    again.sort_unstable();
    assert_eq!(again, [1, 2, 4], "the third was discarded");
    let told = |events: Vec<Uuid>| assert_eq!(events, [OPERATOR]);
    let memory = &trial.memory;
    let redriven = memory.events_of::<DeadLettersRedriven>();
    told(redriven.iter().map(|told| told.by).collect());
    let discarded = memory.events_of::<DeadLettersDiscarded>();
    told(discarded.iter().map(|told| told.by).collect());
}

#[tokio::test(start_paused = true)]
async fn a_rate_without_an_engine_is_kept_by_the_next() {
    let mut trial = Trial::new();
    let script = Script::new(|_| give_up());
    parked(&trial, &script, &["a", "b", "c", "d"]).await;
    trial.stop().await;
    script.change(|_| done());
    let parts = parts(&trial.connection, catalogue(), trial.tasks.clone());
    let (all, rate) = (Choice::default(), NonZeroU32::new(2));
    let count = AtRest::new(parts).redrive("mail", &all, rate, by()).await;
    assert_eq!(count.unwrap(), 4);
    let began = Instant::now();
    let running = trial.start(vec![mail(&script).breaker(false)]).await;
    until(|| running.status()[0].lanes_retrying == 0).await;
    let took = began.elapsed().as_secs_f64();
    assert!((1.4..2.0).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_dead_letter_is_counted_by_the_filter_and_within_bounds() {
    let trial = Trial::new();
    let script = Script::new(|_| give_up());
    let running = parked(&trial, &script, &["bad", "bad", "good"]).await;
    trial
        .memory
        .append_all([("user.made", "bad"), (PLACED, "bad")]);
    running.drain().await;
    let lanes = trial.memory.lanes_of("mail");
    let behind = running.behind("mail", &lanes[0]).await.unwrap();
    assert_eq!((behind.count, behind.more), (2, false));
    let behind = running.behind("mail", &lanes[1]).await.unwrap();
    assert_eq!((behind.count, behind.more), (0, false));
    trial.memory.append_all((0..1_100).map(|_| (PLACED, "bad")));
    running.drain().await;
    let behind = running.behind("mail", &lanes[0]).await.unwrap();
    assert_eq!((behind.count, behind.more), (999, true));
}

#[tokio::test(start_paused = true)]
async fn a_recent_delivery_tells_how_long_it_took() {
    let trial = Trial::new();
    let script = Script::new(|_| Act::After(Duration::from_millis(40), Outcome::Done));
    let running = trial.start_one(&script).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    let event = trial.memory.event(1).unwrap();
    let latency = now(running.delivery_of(&event))[0].latency.unwrap();
    assert!((40..45).contains(&latency.as_millis()), "{latency:?}");
}
