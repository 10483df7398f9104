//! Replays: events again, beside those that come for the first time; and read models that are rebuilt by them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::decisions::by;
use super::*;
use crate::engine::ReplayError;
use crate::events::SubscriptionReplayed;
use crate::subscriber::{Choice, ReadModel, Replay, StoredReplay};
use crate::{Fault, Value, Write};

const ADD: &str = "add to the count";
const DELETE: &str = "delete old counts";

/// Keeps for each call whether it was a replay, and of which generation; counts events by key in the database.
#[derive(Default)]
struct Counting {
    calls: Mutex<Vec<(u64, u32, bool)>>,
}

impl Handler for Counting {
    fn handle<'a>(&'a self, event: &'a Received, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        let call = (event.stored.position, cx.generation(), cx.is_replay());
        self.calls.lock().unwrap().push(call);
        let key = event.envelope().key.as_str().to_owned();
        cx.write(Write::one(ADD, vec![cx.generation().into(), key.into()]));
        async move {
            millis(1).await;
            Outcome::Done
        }
        .boxed()
    }
}

/// The counts in a database in memory: what its writes add up to.
struct Counts(Arc<Memory>);

type Rows = BTreeMap<u32, BTreeMap<String, u32>>;

impl Counts {
    fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        for write in self.0.writes() {
            let Value::Int(generation) = write.params[0] else {
                panic!("a generation is a number");
            };
            let generation = u32::try_from(generation).unwrap();
            match (write.sql, &write.params.get(1)) {
                (ADD, Some(Value::Text(key))) => {
                    let of = rows.entry(generation).or_default();
                    *of.entry(key.to_string()).or_default() += 1;
                }
                (DELETE, _) => {
                    let old = rows.keys().copied().find(|old| *old != generation);
                    old.and_then(|old| rows.remove(&old));
                }
                other => panic!("{other:?}"),
            }
        }
        rows
    }
}

impl ReadModel for Counts {
    fn has_others(&self, generation: u32) -> BoxFuture<'_, Result<bool, Fault>> {
        let others = self.rows().keys().any(|other| *other != generation);
        std::future::ready(Ok(others)).boxed()
    }

    fn delete_others(&self, generation: u32) -> Write {
        Write::any(DELETE, vec![generation.into()])
    }
}

fn counts(trial: &Trial, counting: &Arc<Counting>) -> Subscription {
    Subscription::durable("counts", Filter::matching(["order.*"]), counting.clone())
        .read_model(Arc::new(Counts(trial.memory.clone())))
}

/// What a reader sees: the rows of the subscription's generation, looked up at the same moment.
fn seen(trial: &Trial) -> BTreeMap<String, u32> {
    let generation = trial.memory.generation("counts");
    let mut rows = Counts(trial.memory.clone()).rows();
    rows.remove(&generation).unwrap_or_default()
}

/// What it should see once everything is delivered.
fn counted(trial: &Trial) -> BTreeMap<String, u32> {
    let mut by_key = BTreeMap::new();
    for event in trial.memory.events() {
        if event.envelope.kind == PLACED {
            *by_key
                .entry(event.envelope.key.as_str().to_owned())
                .or_default() += 1;
        }
    }
    by_key
}

const BY: Uuid = Uuid::from_u128(7);

#[tokio::test(start_paused = true)]
async fn a_range_is_delivered_again_and_says_so_while_new_events_are_delivered() {
    let trial = Trial::new();
    let counting = Arc::new(Counting::default());
    let again = Subscription::durable("again", Filter::matching(["order.*"]), counting.clone());
    let running = trial.start(vec![again]).await;
    trial.memory.append_all([(PLACED, "a"); 5]);
    running.drain().await;
    let replay = running
        .replay("again", Some(2), Some(4), BY, Vec::new())
        .await
        .unwrap();
    assert_eq!(
        replay,
        StoredReplay {
            name: "again@2".to_owned(),
            subscription: "again".to_owned(),
            generation: 2,
            from: 2,
            to: Some(4),
            by: BY
        }
    );
    let twice = running.replay("again", None, None, BY, Vec::new()).await;
    assert!(matches!(twice, Err(ReplayError::UnderWay(_))));
    trial.memory.append_all([(PLACED, "b")]);
    until(|| trial.memory.replays().is_empty()).await;
    running.drain().await;
    let calls = counting.calls.lock().unwrap().clone();
    let of = |replay: bool| {
        let calls = calls.iter().filter(move |(_, _, is)| *is == replay);
        calls.map(|(position, ..)| *position).collect::<Vec<_>>()
    };
    assert_eq!(of(false), [1, 2, 3, 4, 5, 6]);
    assert_eq!(of(true), [2, 3, 4]);
    let told = trial.memory.events_of::<SubscriptionReplayed>();
    let want = SubscriptionReplayed {
        subscription: "again".to_owned(),
        from: 2,
        to: Some(4),
        by: BY,
    };
    assert_eq!(told, [want]);
    assert_eq!(trial.memory.cursor("again@2"), None);
    until(|| running.status().len() == 1).await;
    assert_eq!(running.status()[0].generation, 2);
    let next = running
        .replay("again", Some(1), Some(1), BY, Vec::new())
        .await
        .unwrap();
    assert_eq!(
        next.name, "again@3",
        "each has keys of its own for what it calls"
    );
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_replayed_is_refused() {
    let trial = Trial::new();
    let counting = Arc::new(Counting::default());
    let script = Script::new(|_| done());
    let running = trial
        .start(vec![
            mail(&script).replay(Replay::Deny),
            counts(&trial, &counting),
        ])
        .await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    let refused =
        async |name: &str, from, to| running.replay(name, from, to, BY, Vec::new()).await.err();
    assert!(matches!(
        refused("mail", None, None).await,
        Some(ReplayError::Denied(_))
    ));
    assert!(matches!(
        refused("no", None, None).await,
        Some(ReplayError::NotFound(_))
    ));
    assert!(matches!(
        refused("counts", Some(2), None).await,
        Some(ReplayError::Whole(_))
    ));
    assert!(matches!(
        refused("counts", None, Some(1)).await,
        Some(ReplayError::Whole(_))
    ));
    assert!(trial.memory.replays().is_empty());
    assert_eq!(script.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_replayed_where_there_is_nothing() {
    let trial = Trial::new();
    let script = Script::new(|_| done());
    let running = trial.start_one(&script).await;
    let empty = running.replay("mail", None, None, BY, Vec::new()).await;
    assert!(matches!(empty, Err(ReplayError::Empty { from: 1, to: 0 })));
}

#[tokio::test(start_paused = true)]
async fn a_read_model_is_rebuilt_beside_the_one_that_is_read() {
    let trial = Trial::new();
    let counting = Arc::new(Counting::default());
    let running = trial.start(vec![counts(&trial, &counting)]).await;
    let some = |key: &'static str| std::iter::repeat_n((PLACED, key), 50);
    trial.memory.append_all(some("a").chain(some("b")));
    running.drain().await;
    assert_eq!(seen(&trial), counted(&trial));
    let before = seen(&trial);
    running
        .replay("counts", None, None, BY, Vec::new())
        .await
        .unwrap();
    let replaying = || {
        running
            .status()
            .iter()
            .any(|status| status.replay.is_some())
    };
    until(replaying).await;
    // The readers see the old rows, and those of new events, until they see the new rows, all of them.
    for _ in 0..20 {
        millis(1).await;
        assert_eq!(seen(&trial)["b"], before["b"], "half built");
        trial.memory.append_all(some("a").take(3));
    }
    until(|| trial.memory.replays().is_empty()).await;
    running.drain().await;
    assert_eq!(trial.memory.generation("counts"), 2);
    assert_eq!(seen(&trial), counted(&trial));
    trial.memory.append_all(some("c"));
    running.drain().await;
    assert_eq!(seen(&trial), counted(&trial), "it goes on from there");
    until(|| Counts(trial.memory.clone()).rows().len() == 1).await;
    assert_eq!(trial.memory.events_of::<SubscriptionReplayed>().len(), 1);
    let status = &running.status()[0];
    assert_eq!((&*status.name, status.generation), ("counts", 2));
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_that_is_killed_goes_on_and_counts_nothing_twice() {
    for kill_after in (0..60).step_by(4) {
        let mut trial = Trial::new();
        trial.memory.answer_after(Duration::from_millis(1));
        let counting = Arc::new(Counting::default());
        let running = trial.start(vec![counts(&trial, &counting)]).await;
        let some = |count| std::iter::repeat_n((PLACED, "a"), count);
        trial.memory.append_all(some(8).chain([(PLACED, "b")]));
        running.drain().await;
        running
            .replay("counts", None, None, BY, Vec::new())
            .await
            .unwrap();
        millis(kill_after).await;
        trial.kill();
        trial.memory.append_all(some(4));
        let running = trial.start(vec![counts(&trial, &counting)]).await;
        until(|| trial.memory.replays().is_empty()).await;
        running.drain().await;
        assert_eq!(
            seen(&trial),
            counted(&trial),
            "killed after {kill_after} ms"
        );
        assert_eq!(trial.memory.generation("counts"), 2);
        until(|| Counts(trial.memory.clone()).rows().len() == 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_abandoned_rebuild_left_behind_is_not_counted_by_the_next() {
    let trial = Trial::new();
    let counting = Arc::new(Counting::default());
    let running = trial.start(vec![counts(&trial, &counting)]).await;
    trial.memory.append_all([(PLACED, "a"); 40]);
    running.drain().await;
    running
        .replay("counts", None, None, BY, Vec::new())
        .await
        .unwrap();
    until(|| Counts(trial.memory.clone()).rows().contains_key(&2)).await;
    assert!(running.remove("counts@2").await.unwrap());
    until(|| trial.memory.replays().is_empty()).await;
    assert!(Counts(trial.memory.clone()).rows().contains_key(&2));
    running
        .replay("counts", None, None, BY, Vec::new())
        .await
        .unwrap();
    until(|| trial.memory.replays().is_empty()).await;
    running.drain().await;
    assert_eq!(seen(&trial), counted(&trial));
}

#[tokio::test(start_paused = true)]
async fn a_replay_with_a_parked_key_waits_and_does_not_take_the_place() {
    let trial = Trial::new();
    let fails = Script::new(|call| match call.attempt {
        1 => done(),
        _ => Act::Say(Outcome::GiveUp("never".to_owned())),
    });
    let subscription = mail(&fails).read_model(Arc::new(Counts(trial.memory.clone())));
    let running = trial.start(vec![subscription]).await;
    trial.memory.append(PLACED, "a");
    running.drain().await;
    running
        .replay("mail", None, None, BY, Vec::new())
        .await
        .unwrap();
    until(|| trial.count("delivery.dead_lettered") == 1).await;
    sleep(Duration::from_mins(10)).await;
    assert_eq!(trial.memory.replays().len(), 1);
    assert_eq!(trial.memory.generation("mail"), 1);
}

const BEGAN: &str = "note that a replay began";

#[tokio::test(start_paused = true)]
async fn a_replay_of_a_range_that_is_killed_goes_on_beside_what_is_new() {
    for kill_after in (0..80).step_by(4) {
        let mut trial = Trial::new();
        trial.memory.answer_after(Duration::from_millis(1));
        let counting = Arc::new(Counting::default());
        let again = || {
            Subscription::durable("again", Filter::matching(["order.*"]), counting.clone())
                .concurrency(2)
        };
        let running = trial.start(vec![again()]).await;
        let some = |count| std::iter::repeat_n([(PLACED, "a"), (PLACED, "b")], count).flatten();
        trial.memory.append_all(some(10));
        running.drain().await;
        let began = vec![Write::one(BEGAN, vec![2_u32.into()])];
        let replay = running.replay("again", Some(3), None, BY, began).await;
        assert_eq!(replay.unwrap().to, Some(20));
        trial.memory.append_all(some(1));
        millis(kill_after).await;
        trial.kill();
        trial.memory.append_all(some(1));
        let running = trial.start(vec![again()]).await;
        if trial.memory.replays().is_empty() {
            assert_eq!(trial.memory.events_of::<SubscriptionReplayed>().len(), 1);
        }
        until(|| trial.memory.replays().is_empty()).await;
        running.drain().await;
        let at = format!("killed after {kill_after} ms");
        // What a handler leaves in the database is there once for each delivery of an event, new or again.
        let writes = trial.memory.writes();
        let of = |sql: &str| writes.iter().filter(|write| write.sql == sql).count();
        assert_eq!((of(ADD), of(BEGAN)), (24 + 18, 1), "{at}");
        let replayed = counting.calls.lock().unwrap().clone().into_iter();
        let mut replayed = replayed.filter(|(_, _, is)| *is);
        assert!(
            replayed.all(|(position, ..)| (3..=20).contains(&position)),
            "{at}"
        );
        // New or again, each key's events came in order; after a kill, from somewhere before it on.
        let (calls, events) = (
            counting.calls.lock().unwrap().clone(),
            trial.memory.events(),
        );
        for (replayed, range) in [(false, 1..=u64::MAX), (true, 3..=20)] {
            for key in ["a", "b"] {
                let of_key = events.iter().filter(|event| {
                    let placed =
                        event.envelope.kind == PLACED && event.envelope.key.as_str() == key;
                    placed && range.contains(&event.position)
                });
                let of_key: Vec<_> = of_key.map(|event| event.position).collect();
                let calls = calls.iter().filter(|(_, _, is)| *is == replayed);
                let came: Vec<_> = calls
                    .filter_map(|(position, ..)| of_key.iter().position(|of| of == position))
                    .collect();
                let mut next = 0;
                for index in &came {
                    assert!(*index <= next, "{at}: {came:?} of {of_key:?}");
                    next = next.max(index + 1);
                }
                assert_eq!(next, of_key.len(), "{at}");
            }
        }
        assert_eq!(trial.memory.events_of::<SubscriptionReplayed>().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn who_replaces_a_handler_replaces_that_of_its_replay() {
    let trial = Trial::new();
    let (old, new) = (Script::new(|_| fail()), Script::new(|_| done()));
    let fine = Script::new(|_| done());
    let running = trial.start(vec![mail(&fine)]).await;
    trial.memory.append_all([(PLACED, "a"); 3]);
    running.drain().await;
    assert!(running.replace(mail(&old)).await.unwrap());
    let begun = running.replay("mail", None, None, BY, Vec::new()).await;
    assert_eq!(begun.unwrap().name, "mail@2");
    until(|| old.count() > 0).await;
    assert!(running.replace(mail(&new)).await.unwrap());
    until(|| trial.memory.replays().is_empty()).await;
    assert_eq!(new.positions(), [1, 2, 3], "the replay alone has them");
    assert_eq!(fine.count(), 3);
}

/// A swap is some milliseconds in which neither generation is asked: whoever asks waits for it.
#[tokio::test(start_paused = true)]
async fn an_operator_finds_a_subscription_at_every_moment_of_a_swap() {
    let mut swapped = [false; 2];
    for after in 0..60 {
        let trial = Trial::new();
        trial.memory.answer_after(Duration::from_millis(5));
        let counting = Arc::new(Counting::default());
        let running = trial.start(vec![counts(&trial, &counting)]).await;
        trial.memory.append_all([(PLACED, "a"); 2]);
        running.drain().await;
        let begun = running.replay("counts", None, None, BY, Vec::new()).await;
        begun.unwrap();
        millis(after).await;
        swapped[usize::from(trial.memory.generation("counts") == 2)] = true;
        assert!(running.status().iter().any(|one| &*one.name == "counts"));
        assert_eq!(now(running.dead_letters("counts", &Choice::default())), 0);
        let all = Choice::default;
        let (redriven, discarded, paused) = tokio::join!(
            running.redrive("counts", all(), None, by()),
            running.discard("counts", all(), "no use".to_owned(), by()),
            running.pause("counts"),
        );
        let at = format!("after {after} ms");
        assert!(
            matches!(redriven, Err(Declined::WrongState)),
            "{at}: {redriven:?}"
        );
        assert!(
            matches!(discarded, Err(Declined::WrongState)),
            "{at}: {discarded:?}"
        );
        assert!(paused.is_ok(), "{at}: {paused:?}");
        until(|| trial.memory.generation("counts") == 2).await;
        until(|| running.status().len() == 1).await;
        assert!(running.status()[0].paused, "{at}: it stays so");
        running.resume("counts").await.unwrap();
        trial.memory.append(PLACED, "a");
        running.drain().await;
        assert_eq!(seen(&trial), counted(&trial), "{at}");
    }
    assert_eq!(swapped, [true, true], "before and after it");
}
