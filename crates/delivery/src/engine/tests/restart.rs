//! What a new process finds of what the one before it did.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_clean_stop_saves_the_cursor_and_nothing_runs_twice() {
    let mut trial = Trial::new();
    let script = Script::new(|_| done());
    let running = trial.start_one(&script).await;
    trial
        .memory
        .append_all((0..1000).map(|n| (PLACED, ["a", "b"][n % 2])));
    running.drain().await;
    assert!(trial.memory.commits() <= 3, "nothing is written per event");
    trial.stop().await;
    assert_eq!(trial.memory.cursor("mail"), Some(1000));
    trial.memory.append(PLACED, "a");
    let running = trial.start_one(&script).await;
    running.drain().await;
    let mut positions = script.positions();
    positions.sort_unstable();
    assert_eq!(positions, (1..=1001).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn what_a_stop_left_behind_something_that_is_done_comes_alone() {
    let mut trial = Trial::new();
    let script = Script::new(|call| match call.position {
        1 => Act::After(Duration::from_millis(500), Outcome::Done),
        _ => done(),
    });
    trial.start_one(&script).await;
    trial
        .memory
        .append_all([(PLACED, "slow"), (PLACED, "slow"), (PLACED, "quick")]);
    until(|| script.count() == 2).await;
    assert_eq!(script.positions(), [1, 3], "the second waits for the first");
    trial.stop().await;
    let again = Script::new(|_| done());
    let running = trial.start_one(&again).await;
    running.drain().await;
    until(|| again.count() > 0 && running.status()[0].lanes_retrying == 0).await;
    assert_eq!(again.positions(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_moving_cursor_is_saved_once_a_second() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    trial.start_one(&script).await;
    for _ in 0..1000 {
        trial.memory.append(PLACED, "a");
        millis(10).await;
    }
    let saves = trial.memory.commits() - 1001;
    assert!((9..=12).contains(&saves), "{saves} saves in ten seconds");
    millis(1001).await;
    let still = trial.memory.commits();
    millis(60_000).await;
    assert_eq!(trial.memory.commits(), still, "at rest nothing is written");
}

#[tokio::test(start_paused = true)]
async fn or_as_often_as_its_subscription_says() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    let often = mail(&script).save_every(Duration::from_millis(100));
    trial.start(vec![often]).await;
    for _ in 0..100 {
        trial.memory.append(PLACED, "a");
        millis(10).await;
    }
    let saves = trial.memory.commits() - 101;
    assert!((9..=12).contains(&saves), "{saves} saves in a second");
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_it_goes_on_from_the_saved_cursor() {
    let mut trial = Trial::new();
    let script = Script::new(|_| done());
    trial.start_one(&script).await;
    trial.memory.append_all((0..5).map(|_| (PLACED, "a")));
    until(|| trial.memory.cursor("mail") == Some(5)).await;
    trial.memory.append_all((0..5).map(|_| (PLACED, "a")));
    until(|| script.count() == 10).await;
    trial.kill();
    let again = Script::new(|_| done());
    trial.start_one(&again).await.drain().await;
    assert_eq!(again.positions(), (6..=10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn lanes_are_taken_up_where_they_were() {
    let mut trial = Trial::new();
    let script = Script::new(|call| match call.key.as_str() {
        "bad" => fail(),
        "dead" => Act::Say(Outcome::GiveUp("no".to_owned())),
        _ => done(),
    });
    let running = trial.start_one(&script).await;
    trial.memory.append_all([
        (PLACED, "bad"),
        (PLACED, "dead"),
        (PLACED, "good"),
        (PLACED, "bad"),
        (PLACED, "dead"),
    ]);
    running.drain().await;
    until(|| script.calls_of(1).len() == 6).await;
    until(|| {
        trial
            .memory
            .lanes_of("mail")
            .iter()
            .any(|lane| lane.attempts == 6)
    })
    .await;
    let due = trial
        .memory
        .lanes_of("mail")
        .into_iter()
        .find(|lane| lane.attempts == 6)
        .unwrap()
        .due;
    trial.kill();

    trial
        .memory
        .append_all([(PLACED, "bad"), (PLACED, "dead"), (PLACED, "good")]);
    let again = Script::new(|_| done());
    let running = trial.start_one(&again).await;
    let status = running.status().remove(0);
    assert_eq!((status.lanes_retrying, status.lanes_parked), (1, 1));
    assert_eq!(trial.state(&running, 1).1, 6);
    running.drain().await;
    assert!(again.calls_of(1).is_empty(), "not before it is due");
    until(|| running.status()[0].lanes_retrying == 0).await;
    let clock: &dyn crate::Clock = &*trial.clock;
    assert!(clock.now() >= due);
    let bad: Vec<_> = again
        .calls()
        .into_iter()
        .filter(|call| call.key == "bad")
        .collect();
    assert_eq!(
        bad.iter().map(|call| call.position).collect::<Vec<_>>(),
        [1, 4, 7]
    );
    assert!(
        again.calls().iter().all(|call| call.key != "dead"),
        "a parked key stays parked"
    );
    for (position, state) in [
        (2, DeliveryState::Parked),
        (5, DeliveryState::Waiting),
        (8, DeliveryState::Waiting),
    ] {
        assert_eq!(trial.state(&running, position).0, state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_a_restart_counts() {
    let mut trial = Trial::new();
    let (script, again) = (Script::new(|_| Act::Panic), Script::new(|_| Act::Panic));
    let mut mail = mail(&script);
    mail.retry.quick = &[];
    let running = trial.start(vec![mail.clone()]).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    until(|| !trial.memory.lanes_of("mail").is_empty()).await;
    trial.kill();
    assert_eq!(script.count(), 1);
    mail.handler = again.clone();
    let running = trial.start(vec![mail]).await;
    until(|| running.status()[0].lanes_parked == 1).await;
    assert_eq!(again.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_what_is_under_way_and_begins_nothing() {
    let mut trial = Trial::new();
    let script = Script::new(|_| Act::After(Duration::from_secs(20), Outcome::Done));
    let running = trial.start_one(&script).await;
    trial.memory.append_all([(PLACED, "a"), (PLACED, "a")]);
    until(|| script.count() == 1).await;
    let began = Instant::now();
    trial.stop().await;
    assert!(
        (19..=20).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(script.positions(), [1]);
    drop(running);
    let again = Script::new(|_| done());
    trial.start_one(&again).await.drain().await;
    until(|| again.positions() == [2]).await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_ever() {
    let mut trial = Trial::new();
    let script = Script::new(|call| {
        if call.key == "free" {
            done()
        } else {
            Act::Hang
        }
    });
    let mut mail = mail(&script);
    mail.timeout = Duration::from_hours(1);
    let running = trial.start(vec![mail]).await;
    trial
        .memory
        .append_all([(PLACED, "stuck"), (PLACED, "free")]);
    running.drain().await;
    trial
        .memory
        .append_all([(PLACED, "stuck too"), (PLACED, "free")]);
    until(|| script.count() == 4).await;
    let began = Instant::now();
    trial.stop().await;
    assert!(
        (30..=31).contains(&began.elapsed().as_secs()),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(trial.memory.cursor("mail"), Some(4));
    let again = Script::new(|_| done());
    trial.start_one(&again).await.drain().await;
    until(|| again.count() == 2).await;
    assert_eq!(again.positions(), [1, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_subscription_stops_in_the_middle() {
    let mut trial = Trial::new();
    let script = Script::new(|_| done());
    trial.memory.append_all((0..50_000).map(|_| (PLACED, "a")));
    trial.start_one(&script).await;
    while script.count() == 0 {
        tokio::task::yield_now().await;
    }
    trial.stop().await;
    let calls = script.count() as u64;
    assert!(calls < 50_000, "it ran to the end");
    assert_eq!(trial.memory.cursor("mail"), Some(calls));
}
