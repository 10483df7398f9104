//! After the commit, and what tests ask of a running engine.

use super::*;
use crate::subscriber::Phase;

fn passing(name: &'static str, script: &Arc<Script>) -> Subscription {
    Subscription::durable(name, Filter::matching(["order.*"]), script.clone())
        .phase(Phase::AfterCommit)
}

#[tokio::test(start_paused = true)]
async fn after_the_commit_each_handler_is_told_once_and_alone() {
    let trial = Trial::new();
    trial.memory.append(PLACED, "before the start");
    let (well, ill, durable) = (
        Script::new(|_| done()),
        Script::new(|call| match call.position {
            2 => fail(),
            3 => Act::Panic,
            _ => Act::Hang,
        }),
        Script::new(|_| done()),
    );
    let all = vec![passing("ill", &ill), mail(&durable), passing("well", &well)];
    let running = trial.start(all).await;
    trial
        .memory
        .append_all([(PLACED, "a"), (PLACED, "a"), (PLACED, "a")]);
    until(|| well.count() == 3).await;
    running.drain().await;
    assert_eq!(
        (well.positions(), ill.positions()),
        (vec![2, 3, 4], vec![2, 3, 4])
    );
    assert_eq!(durable.positions(), [1, 2, 3, 4]);
    // Nothing of it is in the database.
    assert_eq!(trial.memory.cursor("ill"), None);

    let event = Arc::new(trial.memory.event(2).unwrap());
    let told = running.tell(&event).await;
    let told: Vec<_> = told
        .into_iter()
        .map(|told| (told.subscription.to_string(), told.result))
        .collect();
    assert_eq!(
        told,
        [
            ("ill".to_owned(), Err("it failed".to_owned())),
            ("well".to_owned(), Ok(()))
        ]
    );
    let event = Arc::new(trial.memory.event(4).unwrap());
    assert_eq!(
        running.tell(&event).await[0].result,
        Err("timed out".to_owned())
    );
    let event = Arc::new(trial.memory.event(3).unwrap());
    assert_eq!(
        running.tell(&event).await[0].result,
        Err("panicked".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn handlers_that_hang_after_the_commit_lose_events_and_hold_up_nobody() {
    let trial = Trial::new();
    let (hanging, durable) = (Script::new(|_| Act::Hang), Script::new(|_| done()));
    let running = trial
        .start(vec![passing("hanging", &hanging), mail(&durable)])
        .await;
    for _ in 0..30 {
        trial.memory.append_all((0..1000).map(|_| (PLACED, "a")));
        until(|| running.status()[0].lag == 0).await;
    }
    assert_eq!(durable.count(), 30_000);
    assert_eq!(hanging.count(), 64, "no more at once");
    hanging.change(|_| done());
    running.drain().await;
    assert!(hanging.count() < 30_000, "what has left the ring is lost");
    assert_eq!(hanging.calls().last().unwrap().position, 30_000);
}

#[tokio::test(start_paused = true)]
async fn a_test_mutes_handlers_and_looks_at_what_was_raised() {
    let trial = Trial::new();
    trial.memory.append(PLACED, "before the start");
    let scripts = [(); 3].map(|()| Script::new(|_| done()));
    let named =
        |name, script: &Arc<Script>| Subscription::durable(name, Filter::All, script.clone());
    let all = vec![
        named("a", &scripts[0]),
        named("b", &scripts[1]),
        passing("c", &scripts[2]),
    ];
    let running = trial.start(all).await;
    let counts = || scripts.each_ref().map(|script| script.count());
    running.drain().await;
    assert_eq!(counts(), [1, 1, 0]);
    running.mute("a");
    trial.memory.append(PLACED, "a");
    running.drain().await;
    assert_eq!(counts(), [1, 2, 1]);
    running.only(&["c"]);
    trial.memory.append(PLACED, "a");
    running.drain().await;
    assert_eq!(counts(), [1, 2, 2]);

    let placed = running.captured::<OrderPlaced>().await.unwrap();
    let positions: Vec<_> = placed.iter().map(|event| event.stored.position).collect();
    assert_eq!(positions, [2, 3], "since the start");
    assert!(running.captured::<CardFailed>().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "no subscription \"mial\"")]
async fn muting_nobody_is_a_mistake() {
    Trial::new().start(vec![]).await.mute("mial");
}
