//! The whole engine on paused time, over a database in memory.

mod batches;
mod crashes;
mod decisions;
mod expiry;
mod facts;
mod keys;
mod lanes;
mod nodes;
mod phases;
mod processes;
mod registering;
mod replays;
mod restart;
mod roster;
mod speed;
mod start;
mod tail;
mod trouble;
mod versions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep};

use super::{AtRest, Decider, Declined, DeliveryState, Engine, Running, StartError};
use crate::catalogue::{Catalogue, Class};
use crate::envelope::{Priority, Stored};
use crate::fakes::{Connection, Memory, TestClock, parts};
use crate::subscriber::{Effects, Fact, Filter, LaneState, Subscription};
use crate::tasks::Tasks;
use crate::{BoxFuture, Cx, Event, Handler, Outcome, Received, events};

#[derive(Debug, PartialEq, Eq, Event)]
#[event(type = "order.placed", version = 1, name = "OrderPlaced", audit = "ORDER_PLACED", also = ["Ordered"])]
struct OrderPlaced {}

#[derive(Debug, PartialEq, Eq, Event)]
#[event(
    type = "payment.card.failed",
    version = 1,
    name = "CardFailed",
    audit = "CARD_FAILED"
)]
struct CardFailed {
    #[event(personal)]
    holder: String,
}

#[derive(Debug, PartialEq, Eq, Event)]
#[event(
    type = "order.noted",
    version = 1,
    name = "OrderNoted",
    audit = "ORDER_NOTED"
)]
struct OrderNoted {
    text: String,
    #[event(personal)]
    by: String,
}

/// The only type that most tests use.
const PLACED: &str = "order.placed";

fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::new(|_| Class {
        priority: Priority::High,
        category: "operation",
    });
    catalogue.add::<OrderPlaced>(None, &[]).unwrap();
    catalogue.add::<CardFailed>(None, &[]).unwrap();
    catalogue.add::<OrderNoted>(None, &[]).unwrap();
    events::register(&mut catalogue).unwrap();
    catalogue
}

/// What a [`Script`] says to one attempt.
enum Act {
    Say(Outcome),
    After(Duration, Outcome),
    Hang,
    Panic,
}

fn done() -> Act {
    Act::Say(Outcome::Done)
}

fn fail() -> Act {
    Act::Say(Outcome::Retry("it failed".to_owned()))
}

/// One call of a handler.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    position: u64,
    key: String,
    attempt: u32,
    at: Duration,
}

type Plan = Box<dyn Fn(&Call) -> Act + Send + Sync>;

/// A handler that does what a plan says and keeps its calls.
struct Script {
    plan: Mutex<Plan>,
    calls: Mutex<Vec<Call>>,
    attempts: Mutex<HashMap<u64, u32>>,
    began: Instant,
}

impl Script {
    fn new(plan: impl Fn(&Call) -> Act + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            plan: Mutex::new(Box::new(plan)),
            calls: Mutex::default(),
            attempts: Mutex::default(),
            began: Instant::now(),
        })
    }

    fn change(&self, plan: impl Fn(&Call) -> Act + Send + Sync + 'static) {
        *self.plan.lock().unwrap() = Box::new(plan);
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// The positions in the order of their calls.
    fn positions(&self) -> Vec<u64> {
        self.calls().iter().map(|call| call.position).collect()
    }

    fn calls_of(&self, position: u64) -> Vec<Call> {
        self.calls()
            .into_iter()
            .filter(|call| call.position == position)
            .collect()
    }
}

impl Handler for Script {
    fn handle<'a>(&'a self, event: &'a Received, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        async move {
            let position = event.stored.position;
            let attempt = {
                let mut attempts = self.attempts.lock().unwrap();
                let attempt = attempts.entry(position).or_default();
                *attempt += 1;
                *attempt
            };
            let call = Call {
                position,
                key: event.envelope().key.as_str().to_owned(),
                attempt,
                at: self.began.elapsed(),
            };
            let act = (self.plan.lock().unwrap())(&call);
            self.calls.lock().unwrap().push(call);
            match act {
                Act::Say(outcome) => outcome,
                Act::After(wait, outcome) => {
                    sleep(wait).await;
                    outcome
                }
                Act::Hang => std::future::pending().await,
                Act::Panic => panic!("as planned"),
            }
        }
        .boxed()
    }
}

/// A database and the process on it.
struct Trial {
    clock: Arc<TestClock>,
    memory: Arc<Memory>,
    connection: Arc<Connection>,
    tasks: Tasks,
}

impl Trial {
    fn new() -> Self {
        let clock = TestClock::new();
        let memory = Memory::new(clock.clone());
        Self {
            connection: memory.connect(),
            clock,
            memory,
            tasks: Tasks::new(),
        }
    }

    /// How many events of this type there are.
    fn count(&self, kind: &str) -> usize {
        self.memory
            .events()
            .iter()
            .filter(|event| event.envelope.kind == kind)
            .count()
    }

    async fn try_start(&self, subscriptions: Vec<Subscription>) -> Result<Running, StartError> {
        let parts = parts(&self.connection, catalogue(), self.tasks.clone());
        Engine::new(parts, subscriptions).start().await
    }

    async fn start(&self, subscriptions: Vec<Subscription>) -> Running {
        self.try_start(subscriptions).await.unwrap()
    }

    /// Starts with one subscription, `mail`.
    async fn start_one(&self, script: &Arc<Script>) -> Running {
        self.start(vec![mail(script)]).await
    }

    /// The process is killed and another takes its place.
    fn kill(&mut self) {
        self.connection.cut();
        self.connection = self.memory.connect();
        self.tasks = Tasks::new();
    }

    /// The process ends in peace and another takes its place.
    async fn stop(&mut self) {
        self.tasks.shut_down().await;
        self.kill();
    }

    fn state(&self, running: &Running, position: u64) -> (DeliveryState, u32, Option<String>) {
        let event: Stored = self.memory.event(position).unwrap();
        let status = now(running.delivery_of(&event)).remove(0);
        (status.state, status.attempts, status.error)
    }
}

/// Takes the types that a test appends, not what the engine says of them.
fn mail(script: &Arc<Script>) -> Subscription {
    let filter = Filter::matching(["order.*", "payment.*"]);
    Subscription::durable("mail", filter, script.clone())
}

/// Waits until something is so; paused time runs meanwhile, in small steps first. Days are more than any test needs.
async fn until(mut so: impl FnMut() -> bool) {
    let steps = [(1, 20_000), (100, 6_000), (10_000, 100_000)];
    for (step_ms, count) in steps {
        for _ in 0..count {
            if so() {
                return;
            }
            millis(step_ms).await;
        }
    }
    panic!("it never came to that");
}

async fn millis(count: u64) {
    sleep(Duration::from_millis(count)).await;
}

/// What is here needs no waiting.
fn now<T, E: std::fmt::Debug>(work: impl Future<Output = Result<T, E>>) -> T {
    let done = futures_util::FutureExt::now_or_never(work);
    done.expect("it does not wait").expect("no fault")
}
