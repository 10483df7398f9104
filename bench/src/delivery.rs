//! One trivial durable subscriber against bare reading and decoding of the same log, and how soon after its commit an event is
//! handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quivive_app::switchboard;
use quivive_app::workflows::sessions::refresh_tokens::Succeeded;
use quivive_delivery::engine::{Engine, Parts, Running};
use quivive_delivery::log::{Appender, Log as _};
use quivive_delivery::seal::Vault as _;
use quivive_delivery::subscriber::{Filter, Handler, Subscription};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{
    Actor, Body, BoxFuture, Clock, Context, Cx, Envelope, Event as _, Key, Outcome, Priority,
    Received, Transaction,
};
use quivive_domain::{FamilyId, SessionId, TokenId, UserId};

use crate::Measure;
use crate::store::Bed;

/// Events in the log that is drained.
pub(crate) const EVENTS: u64 = 200_000;

/// Different keys among them.
pub(crate) const KEYS: u64 = 5_000;

/// Events whose latency is measured.
const PACED: u64 = 60_000;

pub(crate) async fn measure() -> Vec<Measure> {
    let bed = Bed::make("delivery");
    append(&bed, EVENTS).await;
    let (bare, drained, again) = (read(&bed).await, drain(&bed).await, read(&bed).await);
    let limit = f64::midpoint(bare, again);
    let mut measures = vec![Measure::rate("delivery", drained, "events/s", limit)];
    measures.push(latency(&bed).await);
    measures
}

/// Appends events in commits of one hundred, many at once; how many a second.
pub(crate) async fn append(bed: &Bed, count: u64) -> f64 {
    let began = Instant::now();
    let mut waiting = std::collections::VecDeque::new();
    for batch in 0..count / 100 {
        let mut records = Vec::with_capacity(100);
        for i in 0..100 {
            records.push(record(bed, batch * 100 + i).await);
        }
        waiting.push_back(bed.database.commit(Transaction {
            writes: Vec::new(),
            records,
        }));
        if waiting.len() > 64 {
            waiting.pop_front().unwrap().await.unwrap();
        }
    }
    for commit in waiting {
        commit.await.unwrap();
    }
    count as f64 / began.elapsed().as_secs_f64()
}

async fn record(bed: &Bed, i: u64) -> quivive_delivery::log::Record {
    let user = UserId(uuid::Uuid::from_u64_pair(i % KEYS, 7));
    let key = bed.vault.key("m:2026-11").await.unwrap();
    let id = bed.ids.next();
    let event = Succeeded {
        user_id: user,
        session_id: SessionId(id),
        family_id: FamilyId(id),
        token_id: TokenId(id),
        old_token_id: TokenId(id),
        generation: 2,
        replayed: false,
    };
    let envelope = Envelope {
        id,
        kind: Succeeded::META.kind.to_owned(),
        version: 1,
        key: Key::new("account", user),
        priority: Priority::Normal,
        time: bed.clock.now(),
        workflow_id: id,
        correlation_id: id,
        causation_id: Some(id),
        subject: Some(user.to_string()),
        actor: Actor {
            kind: "user".into(),
            id: Some(user.0),
        },
        request_id: Some(id.to_string()),
        traceparent: None,
    };
    let context = Context {
        ip: Some("203.0.113.7".to_owned()),
        agent: Some(
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".to_owned(),
        ),
    };
    let appender = Appender::new();
    let context = appender.context(&context, envelope.workflow_id, key.as_ref());
    let body = event.encode().unwrap();
    appender.record(envelope, body, context, Some(key.as_ref()))
}

/// Events a second, read from the log and decoded, by nothing but a loop.
async fn read(bed: &Bed) -> f64 {
    let began = Instant::now();
    let (mut after, mut count) = (0, 0_u64);
    loop {
        let events = bed.database.read(after, 1_024).await.unwrap();
        let Some(last) = events.last() else {
            break;
        };
        after = last.position;
        for event in events {
            let body = Body {
                open: event.body,
                personal: None,
            };
            std::hint::black_box(Succeeded::decode(&body).unwrap());
            count += 1;
        }
    }
    count as f64 / began.elapsed().as_secs_f64()
}

/// Decodes and counts; notes how long after its commit each event came.
struct Count {
    seen: AtomicU64,
    clock: Arc<dyn Clock>,
    /// Microseconds, of each event as it came.
    late: std::sync::Mutex<Vec<i64>>,
}

impl Count {
    fn new(bed: &Bed) -> Arc<Self> {
        Arc::new(Self {
            seen: AtomicU64::new(0),
            clock: Arc::clone(&bed.clock),
            late: std::sync::Mutex::default(),
        })
    }
}

impl Handler for Count {
    fn handle<'a>(&'a self, event: &'a Received, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        std::hint::black_box(event.decode::<Succeeded>().unwrap());
        let late = self.clock.now().as_microsecond() - event.stored.recorded_at.as_microsecond();
        self.late.lock().unwrap().push(late);
        self.seen.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Outcome::Done))
    }
}

async fn start(
    bed: &Bed,
    name: &'static str,
    tasks: &Tasks,
    handler: Arc<Count>,
    begin: quivive_delivery::subscriber::Begin,
) -> Running {
    let mut subscription = Subscription::durable(name, Filter::All, handler).begin(begin);
    // One subscription of this database, under a new name each time.
    subscription.alias = (name != "first").then_some("first");
    engine(bed, tasks, vec![subscription]).await
}

/// An engine over a bed, begun.
pub(crate) async fn engine(bed: &Bed, tasks: &Tasks, subscriptions: Vec<Subscription>) -> Running {
    Engine::new(parts(bed, tasks), subscriptions)
        .start()
        .await
        .unwrap()
}

/// What an engine on a bed works with.
pub(crate) fn parts(bed: &Bed, tasks: &Tasks) -> Parts {
    let workflows = switchboard::workflows().unwrap();
    Parts {
        share: None,
        log: Arc::new(bed.database.clone()),
        subscriptions: Arc::new(bed.database.clone()),
        vault: bed.vault.clone(),
        appender: Arc::new(Appender::new()),
        clock: Arc::clone(&bed.clock),
        ids: Arc::clone(&bed.ids),
        catalogue: Arc::new(workflows.catalogue().clone()),
        tasks: tasks.clone(),
    }
}

/// Events a second through one durable subscriber.
async fn drain(bed: &Bed) -> f64 {
    let (tasks, count) = (Tasks::new(), Count::new(bed));
    let began = Instant::now();
    let running = start(
        bed,
        "first",
        &tasks,
        Arc::clone(&count),
        quivive_delivery::subscriber::Begin::Start,
    )
    .await;
    running.drain().await;
    let rate = EVENTS as f64 / began.elapsed().as_secs_f64();
    assert_eq!(count.seen.load(Ordering::Relaxed), EVENTS);
    tasks.shut_down().await;
    rate
}

/// From an event's commit to its handler, at half of the rate at which events are appended and handled at once.
async fn latency(bed: &Bed) -> Measure {
    let (tasks, count) = (Tasks::new(), Count::new(bed));
    let running = start(
        bed,
        "second",
        &tasks,
        Arc::clone(&count),
        quivive_delivery::subscriber::Begin::Head,
    )
    .await;
    let began = Instant::now();
    append(bed, 50_000).await;
    running.drain().await;
    let highest = 50_000.0 / began.elapsed().as_secs_f64();
    count.late.lock().unwrap().clear();
    let pause = Duration::from_secs_f64(10.0 / (highest / 2.0));
    let began = Instant::now();
    for batch in 0..u32::try_from(PACED / 10).unwrap() {
        let mut records = Vec::with_capacity(10);
        for i in 0..10 {
            records.push(record(bed, u64::from(batch) * 10 + i).await);
        }
        let commit = bed.database.commit(Transaction {
            writes: Vec::new(),
            records,
        });
        drop(commit);
        while began.elapsed() < pause * batch {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    running.drain().await;
    tasks.shut_down().await;
    let mut late = count.late.lock().unwrap().clone();
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    eprintln!(
        "delivery latency at {:.0} events/s: p50 {:.2} ms, p99 {:.2} ms",
        highest / 2.0,
        at(0.5),
        at(0.99)
    );
    Measure {
        name: "delivery-latency",
        value: at(0.99),
        unit: "ms (p99)",
        limit: 20.0,
        ratio: at(0.99) / 20.0,
    }
}
