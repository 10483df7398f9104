//! What subscriptions cost each other and whoever appends, and whether a long log costs more than a short one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quivive_app::workflows::sessions::refresh_tokens::Succeeded;
use quivive_delivery::log::{Appender, Log as _, Record};
use quivive_delivery::subscriber::{Begin, Filter, Handler, Subscription, Subscriptions as _};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Body, BoxFuture, Cx, Envelope, Key, Outcome, Received, Transaction};

use crate::delivery::{EVENTS, KEYS, append, engine};
use crate::store::{Bed, commits};
use crate::{Measure, median};

/// One key in so many is stuck.
const ONE_STUCK_IN: u64 = 100;

/// Events by which the cost of one is measured.
const PROBE: u64 = 50_000;

/// Decodes and counts; the events of some keys fail for ever.
struct Count {
    done: AtomicU64,
    /// Whether one key in a hundred is stuck.
    stuck: bool,
}

impl Count {
    fn new(stuck: bool) -> Arc<Self> {
        Arc::new(Self {
            done: AtomicU64::new(0),
            stuck,
        })
    }

    async fn until(&self, count: u64) {
        while self.done.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Handler for Count {
    fn handle<'a>(&'a self, event: &'a Received, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        let user = event.decode::<Succeeded>().unwrap().user_id;
        let outcome = if self.stuck && user.0.as_u64_pair().0.is_multiple_of(ONE_STUCK_IN) {
            Outcome::Retry("it is stuck".to_owned())
        } else {
            self.done.fetch_add(1, Ordering::Relaxed);
            Outcome::Done
        };
        Box::pin(std::future::ready(outcome))
    }
}

const NAMES: [&str; 4] = ["one", "two", "three", "four"];

fn subscription(name: &'static str, handler: Arc<Count>, begin: Begin) -> Subscription {
    Subscription::durable(name, Filter::All, handler).begin(begin)
}

/// Events of healthy keys a second: with one key in a hundred stuck, against none.
pub(crate) async fn stuck_keys() -> Measure {
    let before = healthy(false).await;
    let stuck = healthy(true).await;
    let after = healthy(false).await;
    Measure::rate(
        "stuck-keys",
        stuck,
        "events/s",
        f64::midpoint(before, after),
    )
}

async fn healthy(stuck: bool) -> f64 {
    let bed = Bed::make("stuck-keys");
    append(&bed, EVENTS).await;
    let (tasks, count) = (Tasks::new(), Count::new(stuck));
    let due = if stuck {
        EVENTS - EVENTS / KEYS * KEYS.div_ceil(ONE_STUCK_IN)
    } else {
        EVENTS
    };
    let began = Instant::now();
    let one = subscription("one", Arc::clone(&count), Begin::Start);
    let running = engine(&bed, &tasks, vec![one]).await;
    count.until(due).await;
    let rate = due as f64 / began.elapsed().as_secs_f64();
    let status = &running.status()[0];
    assert_eq!(status.lanes_retrying > 0, stuck, "{status:?}");
    assert!(!status.paused && !status.broken, "{status:?}");
    tasks.shut_down().await;
    rate
}

/// Deliveries a second of four subscriptions together: on one log, against on one log each.
pub(crate) async fn fan_out() -> Measure {
    let mut each = Vec::new();
    for name in NAMES {
        let bed = Bed::make(&format!("fan-out-{name}"));
        append(&bed, EVENTS).await;
        each.push(bed);
    }
    let apart = together(
        &each
            .iter()
            .map(|bed| (bed, &NAMES[..1]))
            .collect::<Vec<_>>(),
    )
    .await;
    let one = Bed::make("fan-out");
    append(&one, EVENTS).await;
    let shared = together(&[(&one, &NAMES[..])]).await;
    Measure::rate("fan-out", shared, "deliveries/s", apart)
}

/// Deliveries a second of so many subscriptions on each bed, all at once.
async fn together(beds: &[(&Bed, &[&'static str])]) -> f64 {
    let tasks = Tasks::new();
    let mut counts = Vec::new();
    let began = Instant::now();
    for (bed, names) in beds {
        let subscriptions = names.iter().map(|name| {
            let count = Count::new(false);
            counts.push(Arc::clone(&count));
            subscription(name, count, Begin::Start)
        });
        let subscriptions = subscriptions.collect();
        engine(bed, &tasks, subscriptions).await;
    }
    for count in &counts {
        count.until(EVENTS).await;
    }
    let rate = (EVENTS * counts.len() as u64) as f64 / began.elapsed().as_secs_f64();
    tasks.shut_down().await;
    rate
}

/// Commits with their events a second: with four durable subscribers that take every event, against with none.
pub(crate) async fn append_with_subscribers() -> Measure {
    let bed = Arc::new(Bed::make("append-with-subscribers"));
    let before = commits(&bed, true).await;
    let (tasks, count) = (Tasks::new(), Counter::new());
    let four = NAMES.map(|name| {
        Subscription::durable(name, Filter::All, Arc::clone(&count) as _).begin(Begin::Head)
    });
    let running = engine(&bed, &tasks, four.into()).await;
    let with = commits(&bed, true).await;
    let behind = running.status().iter().map(|status| status.lag).max();
    running.drain().await;
    tasks.shut_down().await;
    let after = commits(&bed, true).await;
    eprintln!(
        "append-with-subscribers: the last of four was {} events behind at the end, {} were delivered",
        behind.unwrap_or(0),
        count.0.load(Ordering::Relaxed)
    );
    Measure::rate(
        "append-with-subscribers",
        with,
        "commits/s",
        f64::midpoint(before, after),
    )
}

/// Counts events of whatever type.
struct Counter(AtomicU64);

impl Counter {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(0)))
    }
}

impl Handler for Counter {
    fn handle<'a>(&'a self, event: &'a Received, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        std::hint::black_box(&event.stored.body);
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Outcome::Done))
    }
}

/// Events a second, appended and delivered, behind ten million stored ones, against behind ten thousand.
pub(crate) async fn growth(short: bool) -> Measure {
    let few = 10_000;
    let many = if short { 1_000_000 } else { 10_000_000 };
    let bed = Bed::make("growth");
    fill(&bed, few).await;
    // The first probe pays for what is made at first use.
    probe(&bed).await;
    let stored = bed.database.head().borrow().position;
    let small = probes(&bed).await;
    fill(&bed, many - bed.database.head().borrow().position).await;
    let large = probes(&bed).await;
    eprintln!(
        "growth: {stored} events stored before the first probe that counts, {many} before the last"
    );
    Measure::rate("growth", large, "events/s", small)
}

/// The median of some: one is too short to go by.
async fn probes(bed: &Bed) -> f64 {
    let mut rates = Vec::new();
    for _ in 0..7 {
        rates.push(probe(bed).await);
    }
    median(rates)
}

/// Events appended and delivered a second, from the end of the log on.
async fn probe(bed: &Bed) -> f64 {
    let (tasks, count) = (Tasks::new(), Counter::new());
    let one = Subscription::durable("one", Filter::All, Arc::clone(&count) as _).begin(Begin::Head);
    engine(bed, &tasks, vec![one]).await;
    let began = Instant::now();
    append(bed, PROBE).await;
    while count.0.load(Ordering::Relaxed) < PROBE {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = PROBE as f64 / began.elapsed().as_secs_f64();
    tasks.shut_down().await;
    // The next probe begins at the end of the log that is there by then.
    let forget = Transaction {
        writes: bed.database.remove("one"),
        records: Vec::new(),
    };
    bed.database.commit(forget).await.unwrap();
    rate
}

/// Appends small events, a thousand in a commit, as fast as it goes.
async fn fill(bed: &Bed, count: u64) {
    let (appender, mut waiting) = (Appender::new(), std::collections::VecDeque::new());
    for batch in 0..count / 1_000 {
        let records = (0..1_000)
            .map(|i| small(bed, &appender, batch * 1_000 + i))
            .collect();
        waiting.push_back(bed.database.commit(Transaction {
            writes: Vec::new(),
            records,
        }));
        if waiting.len() > 8 {
            waiting.pop_front().unwrap().await.unwrap();
        }
    }
    for commit in waiting {
        commit.await.unwrap();
    }
}

fn small(bed: &Bed, appender: &Appender, i: u64) -> Record {
    let id = bed.ids.next();
    let envelope = Envelope::first(id, "filling", Key::new("f", i % KEYS), bed.clock.now());
    appender.record(envelope, Body::empty(), None, None)
}
