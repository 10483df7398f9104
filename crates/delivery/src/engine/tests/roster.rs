//! Subscriptions that come, change and go while the engine runs.

use super::*;
use crate::subscriber::{Begin, Order, Phase};

fn named(name: &'static str, script: &Arc<Script>) -> Subscription {
    Subscription::durable(name, mail(script).filter, script.clone())
}

#[tokio::test(start_paused = true)]
async fn one_that_is_added_gets_what_comes_after_it() {
    let trial = Trial::new();
    let running = trial.start(Vec::new()).await;
    trial.memory.append_all([(PLACED, "a"), (PLACED, "b")]);
    let (all, new) = (Script::new(|_| done()), Script::new(|_| done()));
    running.add(named("all", &all)).await.unwrap();
    let late = named("new", &new).begin(Begin::Head);
    running.add(late.clone()).await.unwrap();
    trial.memory.append_all([(PLACED, "a")]);
    running.drain().await;
    assert_eq!(all.positions(), [1, 2, 3]);
    assert_eq!(new.positions(), [3]);
    let taken = running.add(late.clone()).await.unwrap_err();
    assert!(matches!(taken, StartError::DuplicateName(name) if &*name == "new"));
    let passing = named("passing", &new).phase(Phase::AfterCommit);
    let passing = running.add(passing).await.unwrap_err();
    assert!(matches!(passing, StartError::NotDurable(_)));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_replaced_goes_on_with_another_handler_and_filter() {
    let trial = Trial::new();
    let (old, new) = (Script::new(|_| done()), Script::new(|_| done()));
    let running = trial.start_one(&old).await;
    trial
        .memory
        .append_all([(PLACED, "a"), ("payment.card.failed", "a")]);
    running.drain().await;
    let cards = named("mail", &new).matching(["payment.*"]);
    assert!(running.replace(cards.clone()).await.unwrap());
    trial
        .memory
        .append_all([(PLACED, "a"), ("payment.card.failed", "a")]);
    running.drain().await;
    assert_eq!(old.positions(), [1, 2]);
    assert_eq!(new.positions(), [4]);
    let other = running.replace(cards.order(Order::None)).await;
    assert!(matches!(other, Err(StartError::OtherOrder(_))));
    assert!(!running.replace(named("nobody", &new)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_removed_leaves_nothing_and_waits_for_nothing() {
    let trial = Trial::new();
    let script = Script::new(|call| match call.key.as_str() {
        "a" => Act::Hang,
        _ => Act::Say(Outcome::GiveUp("never".to_owned())),
    });
    let running = trial.start_one(&script).await;
    trial.memory.append_all([(PLACED, "a"), (PLACED, "b")]);
    until(|| trial.memory.lanes_of("mail").len() == 2).await;
    let began = Instant::now();
    assert!(running.remove("mail").await.unwrap());
    assert!(began.elapsed() < Duration::from_secs(1), "it waited");
    assert!(running.status().is_empty());
    assert_eq!(trial.memory.cursor("mail"), None);
    assert!(trial.memory.lanes_of("mail").is_empty());
    let calls = script.count();
    trial.memory.append_all([(PLACED, "c")]);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(script.count(), calls);
    assert!(trial.memory.lanes_of("mail").is_empty());
    assert!(!running.remove("mail").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn of_a_family_nothing_stays_that_nobody_registers() {
    let mut trial = Trial::new();
    let script = Script::new(|_| Act::Say(Outcome::GiveUp("never".to_owned())));
    let hooks = vec![named("hook:1", &script), named("hook:2", &script)];
    let running = trial.start(hooks).await;
    trial.memory.append_all([(PLACED, "a")]);
    running.drain().await;
    trial.stop().await;
    let parts = parts(&trial.connection, catalogue(), trial.tasks.clone());
    let engine = Engine::new(parts, vec![named("hook:2", &script)]).family("hook:");
    let running = engine.start().await.unwrap();
    assert_eq!(running.status().len(), 1);
    assert_eq!(trial.memory.cursor("hook:1"), None);
    assert!(trial.memory.lanes_of("hook:1").is_empty());
    assert_eq!(trial.memory.lanes_of("hook:2").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_pauses_its_subscription_gets_the_event_again_and_no_other_before() {
    let mut trial = Trial::new();
    let script = Script::new(|_| Act::Say(Outcome::Pause("gone".to_owned())));
    trial.start_one(&script).await;
    trial.memory.append_all([(PLACED, "a")]);
    until(|| script.count() == 1).await;
    trial.memory.append_all([(PLACED, "b")]);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(script.positions(), [1]);
    trial.stop().await;
    let running = trial.start_one(&script).await;
    sleep(Duration::from_mins(10)).await;
    assert_eq!(script.positions(), [1], "the pause survives a restart");
    assert!(running.status()[0].paused);
    script.change(|_| done());
    running.resume("mail").await.unwrap();
    running.drain().await;
    assert_eq!(script.positions(), [1, 1, 2]);
    assert!(trial.memory.lanes_of("mail").is_empty());
}
