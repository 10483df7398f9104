//! One reader for all, and what happens when it is not enough.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_event_is_found_without_a_signal() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    trial.start_one(&script).await;
    millis(1000).await;
    trial.memory.lose_signals();
    let began = Instant::now();
    trial.memory.append(PLACED, "a");
    until(|| script.count() == 1).await;
    assert!(
        began.elapsed() <= Duration::from_millis(202),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscription_far_behind_reads_for_itself_and_holds_up_nobody() {
    let mut trial = Trial::new();
    let (fast, slow) = (Script::new(|_| done()), Script::new(|_| done()));
    let subscriptions = |slow: &Arc<Script>| {
        vec![
            mail(&fast),
            Subscription::durable("slow", Filter::All, slow.clone()),
        ]
    };
    trial.start(subscriptions(&slow)).await;
    slow.change(|_| Act::After(Duration::from_millis(50), Outcome::Done));
    trial.memory.append_all((0..20_000).map(|_| (PLACED, "a")));
    until(|| fast.count() == 20_000).await;
    let behind = slow.count();
    assert!(behind < 10_000, "{behind}");
    slow.change(|_| done());
    until(|| slow.count() == 20_000).await;
    assert!(slow.positions().is_sorted());
    trial.stop().await;

    // One that starts far behind catches up too, and then goes on with the others.
    let late = Script::new(|_| done());
    let mut all = subscriptions(&slow);
    all.push(Subscription::durable("late", Filter::All, late.clone()));
    let running = trial.start(all).await;
    trial.memory.append_all((0..3000).map(|_| (PLACED, "a")));
    running.drain().await;
    assert_eq!(late.positions(), (1..=23_000).collect::<Vec<_>>());
    assert_eq!(slow.count(), 23_000);
}

#[tokio::test(start_paused = true)]
async fn the_log_is_read_no_further_than_the_windows_need() {
    let trial = Trial::new();
    let script = Script::new(|_| Act::After(Duration::from_millis(900), Outcome::Done));
    trial.memory.append_all((0..50_000).map(|_| (PLACED, "a")));
    let before = trial.memory.reads();
    trial.start_one(&script).await;
    millis(500).await;
    // The window and what the tail is ahead of it, in batches; then silence.
    let reads = trial.memory.reads() - before;
    assert!((4..=12).contains(&reads), "{reads}");
    millis(100).await;
    assert_eq!(trial.memory.reads() - before, reads);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_read_is_read_later() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    let running = trial.start_one(&script).await;
    trial.memory.fail_reads(5);
    trial.memory.append_all([(PLACED, "a"), (PLACED, "b")]);
    running.drain().await;
    assert_eq!(script.positions(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_window_full_of_one_stuck_key_is_left_to_a_lane() {
    let trial = Trial::new();
    let script = Script::new(|call| {
        if call.position == 1 {
            Act::Hang
        } else {
            done()
        }
    });
    let running = trial.start_one(&script).await;
    trial
        .memory
        .append_all((0..10_000).map(|n| (PLACED, if n < 9_999 { "stuck" } else { "free" })));
    running.drain().await;
    assert_eq!(script.positions(), [1, 10_000]);
    until(|| {
        running.status()[0].lanes_retrying == 0 || {
            script.change(|_| done());
            false
        }
    })
    .await;
    assert_eq!(script.positions()[2..], (1..10_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn without_subscriptions_there_is_nothing_to_do() {
    let mut trial = Trial::new();
    let running = trial.start(vec![]).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    trial.stop().await;
}

#[tokio::test(start_paused = true)]
async fn those_who_want_nothing_cost_an_event_nothing() {
    let mut trial = Trial::new();
    let script = Script::new(|_| done());
    let idle = |number: usize| {
        let name = format!("idle:{number}");
        Subscription::durable(name, Filter::matching(["payment.*"]), script.clone())
    };
    let all = || (0..500).map(idle).collect::<Vec<_>>();
    let running = trial.start(all()).await;
    running.drain().await;
    sleep(Duration::from_mins(2)).await;
    let (commits, reads) = (trial.memory.commits(), trial.memory.reads());
    for _ in 0..10 {
        trial.memory.append_all((0..1000).map(|_| (PLACED, "a")));
        running.drain().await;
        let status = running.status();
        assert!(status.iter().all(|status| status.lag == 0));
    }
    assert_eq!(trial.memory.commits() - commits, 10, "they write");
    assert!(trial.memory.reads() - reads <= 60, "they read");
    // Now and then each says how far it has come.
    sleep(Duration::from_mins(2)).await;
    assert_eq!(trial.memory.cursor("idle:7"), Some(10_000));
    assert!(trial.memory.commits() - commits <= 510);
    // What they want reaches them.
    trial
        .memory
        .append_all([(PLACED, "a"), ("payment.card.failed", "b")]);
    running.drain().await;
    assert_eq!(script.positions(), [10_002; 500]);
    trial.memory.append_all([(PLACED, "a")]);
    running.drain().await;
    trial.stop().await;
    // A stop says how far they have come, so that a start reads nothing again.
    assert_eq!(trial.memory.cursor("idle:499"), Some(10_003));
}

#[tokio::test(start_paused = true)]
async fn those_who_want_nothing_write_as_rarely_while_the_log_goes_on() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    let idle = |number: usize| {
        let name = format!("idle:{number}");
        Subscription::durable(name, Filter::matching(["payment.*"]), script.clone())
    };
    trial.start((0..50).map(idle).collect()).await;
    // Whenever one has written how far it was, the log is further.
    trial.memory.answer_after(Duration::from_millis(1500));
    let commits = trial.memory.commits();
    for _ in 0..120 {
        trial.memory.append_all([(PLACED, "a")]);
        millis(1000).await;
    }
    // Each at the start, and every 40 to 60 s from there.
    let written = trial.memory.commits() - commits - 120;
    assert!((50 * 2..=50 * 4).contains(&written), "{written}");
}

#[tokio::test(start_paused = true)]
async fn who_rests_says_how_far_it_is_when_somebody_needs_to_know() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    let idle = Subscription::durable("idle", Filter::matching(["payment.*"]), script.clone());
    let running = trial.start(vec![idle]).await;
    let cursor = || trial.memory.cursor("idle").unwrap();
    trial.memory.append(PLACED, "a");
    running.wake(1);
    millis(2000).await;
    assert_eq!(cursor(), 1);
    for wanted in 2..=3 {
        trial.memory.append(PLACED, "a");
        millis(5000).await;
        assert_eq!(cursor(), wanted - 1, "it rests");
        running.wake(wanted);
        millis(2000).await;
        assert_eq!(cursor(), wanted);
    }
    // Also one that has come further in memory than it has written, and not far enough.
    trial.memory.answer_after(Duration::from_millis(200));
    trial.memory.append(PLACED, "a");
    running.wake(4);
    millis(1100).await;
    trial.memory.append(PLACED, "a");
    millis(5000).await;
    trial.memory.append(PLACED, "a");
    running.wake(6);
    millis(4000).await;
    assert_eq!(cursor(), 6);
}

#[tokio::test(start_paused = true)]
async fn who_wants_little_is_not_read_what_it_does_not_want() {
    let trial = Trial::new();
    let (all, few) = (Script::new(|_| done()), Script::new(|_| done()));
    let rare = Filter::matching(["payment.*"]);
    let subscriptions = vec![mail(&all), Subscription::durable("few", rare, few.clone())];
    let running = trial.start(subscriptions).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    let reads = trial.memory.reads();
    // Many more than are kept for those who come later.
    for _ in 0..20 {
        trial.memory.append_all((0..1_000).map(|_| (PLACED, "a")));
        until(|| all.count() == trial.memory.events().len()).await;
    }
    trial.memory.append("payment.card.failed", "b");
    running.drain().await;
    assert_eq!(few.positions(), [20_002]);
    let reads = trial.memory.reads() - reads;
    assert!(reads <= 21 + 5, "{reads} reads of 21 batches");
}

#[tokio::test(start_paused = true)]
async fn those_who_are_behind_share_what_they_read() {
    let mut trial = Trial::new();
    let script = Script::new(|_| done());
    let some =
        |number: usize| Subscription::durable(format!("s:{number}"), Filter::All, script.clone());
    let first = trial.start(vec![some(0)]).await;
    trial.memory.append_all((0..40_000).map(|_| (PLACED, "a")));
    first.drain().await;
    trial.stop().await;
    let reads = trial.memory.reads();
    let running = trial.start((0..20).map(some).collect()).await;
    running.drain().await;
    assert_eq!(script.count(), 20 * 40_000);
    let reads = trial.memory.reads() - reads;
    assert!(reads < 3 * 40 + 60, "{reads} reads of 40 batches");
}
