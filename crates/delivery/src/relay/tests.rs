//! A relay on an engine over a database in memory, to a broker that fails when it is told to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::*;
use crate::catalogue::Class;
use crate::engine::{Engine, Running};
use crate::envelope::Priority;
use crate::fakes::{Connection, Memory, TestClock, parts};
use crate::tasks::Tasks;
use crate::{Event, events};

#[derive(Debug, Event)]
#[event(
    type = "order.placed",
    version = 1,
    name = "OrderPlaced",
    audit = "ORDER_PLACED"
)]
struct OrderPlaced {}

const SHARDS: u32 = 4;

/// A broker that keeps what it gets.
#[derive(Default)]
struct Kept {
    messages: Mutex<Vec<Publication>>,
    calls: AtomicU32,
    away: AtomicBool,
    /// It takes a batch and does not say so.
    silent: AtomicBool,
}

impl Broker for Kept {
    fn publish<'a>(
        &'a self,
        _: Known,
        messages: &'a [Publication],
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::Relaxed);
            let fault = || Err(Fault::Unreachable("the broker".to_owned()));
            if self.away.load(Ordering::Relaxed) {
                return fault();
            }
            self.messages.lock().unwrap().extend_from_slice(messages);
            if self.silent.load(Ordering::Relaxed) {
                return fault();
            }
            Ok(())
        })
    }
}

impl Kept {
    fn told(&self) -> Vec<Value> {
        let messages = self.messages.lock().unwrap();
        let read = |message: &Publication| serde_json::from_slice(&message.json).unwrap();
        messages.iter().map(read).collect()
    }
}

/// What the database has of the chain.
struct Notes(Arc<Memory>);

impl Chains for Notes {
    fn load(&self) -> BoxFuture<'_, Result<Option<String>, Fault>> {
        let mut writes = self.0.writes();
        writes.retain(|write| write.sql == "keep");
        let kept = writes.pop().map(|write| match &write.params[0] {
            crate::Value::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        });
        Box::pin(async move { Ok(kept) })
    }

    fn keep(&self, chain: &str) -> Write {
        Write::any("keep", vec![chain.to_owned().into()])
    }
}

struct Trial {
    memory: Arc<Memory>,
    broker: Arc<Kept>,
}

impl Trial {
    fn new() -> Self {
        Self {
            memory: Memory::new(TestClock::new()),
            broker: Arc::default(),
        }
    }

    /// A process: what it has kept is what the database has of it.
    async fn start(&self, shards: u32) -> (Running, Tasks, Arc<Connection>) {
        let mut catalogue = Catalogue::new(|_| Class {
            priority: Priority::Normal,
            category: "operation",
        });
        catalogue.add::<OrderPlaced>(None, &[]).unwrap();
        events::register(&mut catalogue).unwrap();
        let connection = self.memory.connect();
        let tasks = Tasks::new();
        let parts = parts(&connection, catalogue, tasks.clone());
        let relay = Relay::new(Parts {
            log: parts.log.clone(),
            catalogue: parts.catalogue.clone(),
            origin: Origin {
                source: "https://id.example".to_owned(),
                schemas: "https://id.example/schemas".to_owned(),
            },
            broker: self.broker.clone(),
            shards,
            chains: Arc::new(Notes(Arc::clone(&self.memory))),
        });
        let engine = Engine::new(parts, vec![relay.subscription()]);
        (engine.start().await.unwrap(), tasks, connection)
    }

    fn place(&self, count: u32) {
        let keys: Vec<_> = (0..count).map(|key| (key % 7).to_string()).collect();
        let events = keys.iter().map(|key| ("order.placed", key.as_str()));
        self.memory.append_all(events);
    }

    /// Each message that came says what those of its position said before, and follows the one before it in its shard.
    fn check(&self, from: u64, to: u64) {
        let mut seen: HashMap<u64, Value> = HashMap::new();
        let mut last: HashMap<u64, u64> = HashMap::new();
        for message in self.broker.told() {
            let number = |name: &str| message[name].as_str().unwrap().parse::<u64>().unwrap();
            let (position, previous) = (number("pos"), number("prevpos"));
            if let Some(before) = seen.get(&position) {
                assert_eq!(*before, message);
                continue;
            }
            let shard = message["shard"].as_u64().unwrap();
            if let Some(last) = last.insert(shard, position) {
                assert_eq!(previous, last, "at {position}");
            }
            assert!(previous < position);
            seen.insert(position, message);
        }
        for position in from..=to {
            assert!(seen.contains_key(&position), "{position} is missing");
        }
        assert!(last.len() > 1, "more than one shard");
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_chained_by_shard_through_outages() {
    let trial = Trial::new();
    let (running, tasks, _) = trial.start(SHARDS).await;
    trial.place(20);
    running.drain().await;
    trial.broker.away.store(true, Ordering::Relaxed);
    trial.place(20);
    sleep(Duration::from_mins(10)).await;
    let calls = trial.broker.calls.load(Ordering::Relaxed);
    assert!((100..200).contains(&calls), "{calls} in ten minutes");
    let status = &running.status()[0];
    assert!(status.broken && status.lanes_parked + status.lanes_retrying == 0);
    trial.broker.away.store(false, Ordering::Relaxed);
    running.drain().await;
    trial.broker.silent.store(true, Ordering::Relaxed);
    trial.place(20);
    sleep(Duration::from_secs(1)).await;
    trial.broker.silent.store(false, Ordering::Relaxed);
    running.drain().await;
    trial.check(1, 60);
    let told = trial.broker.told().len();
    assert!(told > 60, "some came twice");
    tasks.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_published_again_after_a_crash_says_the_same() {
    let trial = Trial::new();
    for round in 0..10 {
        let (running, tasks, connection) = trial.start(SHARDS).await;
        trial.place(5);
        running.drain().await;
        // The cursor is written, with the chain, in the course of a second.
        sleep(Duration::from_millis(190 * round)).await;
        trial.place(5);
        running.drain().await;
        connection.cut();
        drop(tasks);
    }
    let (running, tasks, _) = trial.start(SHARDS).await;
    running.drain().await;
    let told = trial.broker.told().len();
    assert!(told > 100, "some came again: {told}");
    trial.check(1, 100);
    tasks.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn another_number_of_shards_begins_a_chain_before_its_first_event() {
    let trial = Trial::new();
    for shards in [SHARDS, SHARDS, 3] {
        let (running, tasks, _) = trial.start(shards).await;
        trial.place(5);
        running.drain().await;
        tasks.shut_down().await;
    }
    let told = trial.broker.told();
    let previous = |index: usize| told[index]["prevpos"].as_str().unwrap().to_owned();
    assert_eq!(previous(0), "0");
    assert_eq!(previous(10), "10");
}

#[test]
fn a_chain_is_read_as_it_was_written() {
    let mut chain = Chain::at(7, 3);
    assert_eq!(chain.to_string(), "7 7 7 7");
    assert_eq!(Chain::read("7 7 7 7", 3), Some(chain.clone()));
    for text in ["", "7", "7 7 7", "7 7 7 x", "7 7 7 7 7"] {
        assert_eq!(Chain::read(text, 3), None, "{text}");
    }
    let memory = Memory::new(TestClock::new());
    memory.append_all([("order.placed", "a"); 12]);
    let log = memory.events();
    // Not one of those in between was taken.
    let link = chain.follow(&log[11]);
    assert_eq!(link.previous, 11);
    assert_eq!(chain.position(), 12);
}
