//! Replays: events again, beside those that come for the first time; and read models that are rebuilt by them.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::engine::ReplayError;
use crate::events::SubscriptionReplayed;
use crate::subscriber::{ReadModel, Replay, StoredReplay};
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
    let replay = running.replay("again", Some(2), Some(4), BY).await.unwrap();
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
    let twice = running.replay("again", None, None, BY).await;
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
    let next = running.replay("again", Some(1), Some(1), BY).await.unwrap();
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
    let refused = async |name: &str, from, to| running.replay(name, from, to, BY).await.err();
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
    let empty = running.replay("mail", None, None, BY).await;
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
    running.replay("counts", None, None, BY).await.unwrap();
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
        running.replay("counts", None, None, BY).await.unwrap();
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
    running.replay("counts", None, None, BY).await.unwrap();
    until(|| Counts(trial.memory.clone()).rows().contains_key(&2)).await;
    assert!(running.remove("counts@2").await.unwrap());
    until(|| trial.memory.replays().is_empty()).await;
    assert!(Counts(trial.memory.clone()).rows().contains_key(&2));
    running.replay("counts", None, None, BY).await.unwrap();
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
    running.replay("mail", None, None, BY).await.unwrap();
    until(|| trial.count("delivery.dead_lettered") == 1).await;
    sleep(Duration::from_mins(10)).await;
    assert_eq!(trial.memory.replays().len(), 1);
    assert_eq!(trial.memory.generation("mail"), 1);
}
