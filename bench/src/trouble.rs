//! What hundreds of subscribers cost that want nothing, and how fast what was parked is delivered again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quivive_delivery::engine::{Decider, Running};
use quivive_delivery::subscriber::{Begin, Choice, Filter, Handler, Subscription};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{BoxFuture, Cx, Key, Outcome, Received};

use crate::Measure;
use crate::delivery::{KEYS, append, engine};
use crate::store::{Bed, commits};

/// Endpoints, each a subscription of its own.
const ENDPOINTS: usize = 500;
/// How often the cost of idle ones is measured.
const IDLE_TURNS: u32 = 3;

/// Events that wait behind dead letters.
const PARKED: u64 = 100_000;

/// Gives up on every event, until it is told not to; then it notes whether each key's come in order.
#[derive(Default)]
struct Target {
    well: AtomicBool,
    done: AtomicU64,
    last: Mutex<HashMap<Key, u64>>,
    disordered: AtomicU64,
}

impl Target {
    async fn until(&self, count: u64) {
        while self.done.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Handler for Target {
    fn handle<'a>(&'a self, event: &'a Received, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        let outcome = if self.well.load(Ordering::Relaxed) {
            let mut last = self.last.lock().unwrap();
            let before = last.insert(event.envelope().key.clone(), event.stored.position);
            let disordered = before.is_some_and(|before| before >= event.stored.position);
            self.disordered
                .fetch_add(u64::from(disordered), Ordering::Relaxed);
            self.done.fetch_add(1, Ordering::Relaxed);
            Outcome::Done
        } else {
            Outcome::GiveUp("not yet".to_owned())
        };
        Box::pin(std::future::ready(outcome))
    }
}

/// Commits with their events a second: beside five hundred subscriptions that want none of them, against beside one. What
/// the engine costs as such, which reads the log for all, is what `append-with-subscribers` says.
pub(crate) async fn idle_endpoints() -> Measure {
    // One each: a start knows the subscriptions of the last.
    let bed = Arc::new(Bed::make("idle-endpoints"));
    let one = Arc::new(Bed::make("idle-endpoint"));
    // Several times in turn: a disk is faster at one moment and slower at another.
    let (mut with, mut without) = (0.0, beside_idle_endpoints(&one, 1).await / 2.0);
    for turn in 1..=IDLE_TURNS {
        with += beside_idle_endpoints(&bed, ENDPOINTS).await;
        let share = if turn == IDLE_TURNS { 2.0 } else { 1.0 };
        without += beside_idle_endpoints(&one, 1).await / share;
    }
    let turns = f64::from(IDLE_TURNS);
    Measure::rate("idle-endpoints", with / turns, "commits/s", without / turns)
}

async fn beside_idle_endpoints(bed: &Arc<Bed>, count: usize) -> f64 {
    let tasks = Tasks::new();
    let target = Arc::new(Target::default());
    let idle = (0..count).map(|number| {
        let filter = Filter::matching(["delivery.circuit_opened"]);
        Subscription::durable(
            format!("webhook:{number}"),
            filter,
            Arc::clone(&target) as _,
        )
        .begin(Begin::Head)
    });
    let running = engine(bed, &tasks, idle.collect()).await;
    let rate = commits(bed, true).await;
    running.drain().await;
    tasks.shut_down().await;
    rate
}

/// Events a second from dead letters and what waits behind them, in order, against the same events without trouble.
pub(crate) async fn redrive() -> Measure {
    let bed = Bed::make("redrive");
    append(&bed, PARKED).await;
    let plain = Arc::new(Target::default());
    plain.well.store(true, Ordering::Relaxed);
    let tasks = Tasks::new();
    let began = Instant::now();
    engine(&bed, &tasks, vec![of(&plain, "plain")]).await;
    plain.until(PARKED).await;
    let limit = PARKED as f64 / began.elapsed().as_secs_f64();
    tasks.shut_down().await;

    let (tasks, target) = (Tasks::new(), Arc::new(Target::default()));
    let running = engine(
        &bed,
        &tasks,
        vec![of(&plain, "plain"), of(&target, "parked")],
    )
    .await;
    parked(&running).await;
    target.well.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let workflow_id = bed.ids.next();
    let by = Decider {
        by: uuid::Uuid::nil(),
        workflow_id,
        correlation_id: workflow_id,
        causation_id: None,
    };
    let letters = running
        .redrive("parked", Choice::default(), None, by)
        .await
        .expect("it is there");
    target.until(PARKED).await;
    let rate = PARKED as f64 / began.elapsed().as_secs_f64();
    eprintln!("redrive: {letters} dead letters, {PARKED} events in all");
    assert_eq!(target.disordered.load(Ordering::Relaxed), 0, "out of order");
    tasks.shut_down().await;
    Measure::rate("redrive", rate, "events/s", limit)
}

fn of(target: &Arc<Target>, name: &'static str) -> Subscription {
    Subscription::durable(name, Filter::All, Arc::clone(target) as _)
        .matching(["token.refresh.*"])
        .breaker(false)
}

/// Until every key has a dead letter.
async fn parked(running: &Running) {
    loop {
        let status = running.status();
        let parked = status.iter().find(|status| &*status.name == "parked");
        if parked.is_some_and(|status| status.lanes_parked as u64 == KEYS && status.lag == 0) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
