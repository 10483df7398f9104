//! An event that ends the process.

use super::*;
use crate::events::EventDeadLettered;

/// Starts again and again, each time with an event whose handler ends the process, until it does not. Says how often it
/// ended.
async fn crash_loop(trial: &mut Trial, deadly: u64, script: &Arc<Script>) -> usize {
    for crashes in 0..10 {
        let connection = trial.connection.clone();
        script.change(move |call| {
            if call.position == deadly {
                // Nothing that this process does from now on is seen.
                connection.cut();
                Act::Hang
            } else {
                done()
            }
        });
        let running = trial.start_one(script).await;
        let before = script.calls_of(deadly).len();
        let parked = || running.status()[0].lanes_parked == 1;
        until(|| parked() || script.calls_of(deadly).len() > before).await;
        if parked() {
            running.drain().await;
            return crashes;
        }
        trial.kill();
    }
    panic!("it never stopped");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_ends_the_process_is_parked_and_no_other() {
    let mut trial = Trial::new();
    trial
        .memory
        .append_all((0..40).map(|n| (PLACED, if n % 2 == 0 { "even" } else { "odd" })));
    let script = Script::new(|_| done());
    let crashes = crash_loop(&mut trial, 8, &script).await;
    assert_eq!(
        crashes, 4,
        "the first, and three starts that found its mark"
    );
    let letters = trial.memory.events_of::<EventDeadLettered>();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        letters[0].event_id,
        trial.memory.event(8).unwrap().envelope.id
    );
    assert_eq!(letters[0].error_class.as_str(), "poison");
    // The other key's events are done, those behind it wait.
    assert!(script.positions().contains(&39) && !script.positions().contains(&10));
    trial.tasks.shut_down().await;
    let condition = trial.memory.condition("mail").unwrap();
    assert_eq!(
        (condition.running, condition.suspect, condition.crashes),
        (false, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_lane_is_found_too() {
    let mut trial = Trial::new();
    trial.memory.append_all([(PLACED, "bad"), (PLACED, "good")]);
    let script = Script::new(|call| if call.key == "bad" { fail() } else { done() });
    let running = trial.start_one(&script).await;
    running.drain().await;
    until(|| trial.memory.lanes_of("mail").len() == 1).await;
    trial.kill();
    let crashes = crash_loop(&mut trial, 1, &script).await;
    assert!((3..=4).contains(&crashes), "{crashes}");
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_one_event_is_under_way_at_a_time_and_soon_as_many_as_ever() {
    let mut trial = Trial::new();
    let script = Script::new(|_| Act::Hang);
    let keys: Vec<_> = (0..10).map(|key| key.to_string()).collect();
    trial
        .memory
        .append_all(keys.iter().map(|key| (PLACED, key.as_str())));
    trial.start_one(&script).await;
    until(|| script.count() == 10).await;
    trial.kill();

    let slow = |_: &Call| Act::After(Duration::from_millis(10), Outcome::Done);
    let script = Script::new(slow);
    let running = trial.start_one(&script).await;
    running.drain().await;
    let times: Vec<_> = script.calls().iter().map(|call| call.at).collect();
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1].abs_diff(pair[0]) >= Duration::from_millis(10))
    );
    trial
        .memory
        .append_all(keys.iter().map(|key| (PLACED, key.as_str())));
    let began = Instant::now();
    running.drain().await;
    assert!(began.elapsed() < Duration::from_millis(50));

    // After a clean stop there is nothing to be careful of.
    trial.stop().await;
    trial
        .memory
        .append_all(keys.iter().map(|key| (PLACED, key.as_str())));
    let running = trial.start_one(&script).await;
    let began = Instant::now();
    running.drain().await;
    assert!(began.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn kills_between_events_blame_nobody() {
    let mut trial = Trial::new();
    for position in 1..=20 {
        trial.memory.append(PLACED, "a");
        let script = Script::new(|_| done());
        let running = trial.start_one(&script).await;
        running.drain().await;
        assert!(script.positions().contains(&position));
        assert_eq!(running.status()[0].lanes_parked, 0);
        trial.kill();
    }
}
