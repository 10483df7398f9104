//! Two nodes sequence what sixteen writers append, while strangers hold transactions open, come late, or go back on what they
//! began: does everybody who reads see every event once, in the order of its key?
//!
//! Beside them reads one that goes by the numbers that events get before their commit (`id > last_seen`). It passes over
//! those that commit late, and the check must say so.

use std::collections::{BTreeMap, HashMap};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quivive_app::switchboard;
use quivive_delivery::engine::{Engine, Parts, Running, Share};
use quivive_delivery::log::{Appender, Record};
use quivive_delivery::nodes::Node;
use quivive_delivery::subscriber::{Cx, Filter, Handler, Outcome, Received, Subscription};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{
    Body, BoxFuture, Clock as _, CommitError, Envelope, Ids, Key, Log as _, Transaction, Value,
    Write,
};
use quivive_outbound::{KeyStore, SharedVault, SystemClock, SystemIds};
use quivive_store::{Database, Executor as _, POSTGRES_MIGRATIONS};
use quivive_store_postgres::{Postgres, PostgresOptions};
use tokio::process::Command;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::postgres::{self, Cluster};

const WRITERS: usize = 16;
const EVENTS_EACH: usize = 5;
const SUBSCRIPTIONS: usize = 6;

/// What is read of an event: where, of which key, and the how manieth of it.
type Seen = Vec<(u64, String, u64)>;

/// Every number that was given, in the commit that took it: what the reader that is wrong goes by.
const SHADOW: &str = "CREATE TABLE shadow (seq BIGINT PRIMARY KEY, id BYTEA NOT NULL); \
    CREATE FUNCTION shadowed() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN INSERT INTO shadow VALUES (NEW.seq, NEW.id); RETURN NEW; END'; \
    CREATE TRIGGER shadowed AFTER INSERT ON event_in FOR EACH ROW EXECUTE FUNCTION shadowed()";

const AFTER: &str = "SELECT seq, id FROM shadow WHERE seq > $1 ORDER BY seq";

struct Recording(Arc<Mutex<Seen>>);

impl Handler for Recording {
    fn handle<'a>(&'a self, event: &'a Received, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        let seen = seen(&event.stored);
        self.0.lock().expect("nobody panics").push(seen);
        Box::pin(std::future::ready(Outcome::Done))
    }
}

fn seen(event: &quivive_delivery::Stored) -> (u64, String, u64) {
    let body: serde_json::Value = serde_json::from_slice(&event.body).expect("JSON");
    let n = body["n"].as_u64().unwrap_or_default();
    (event.position, event.envelope.key.as_str().to_owned(), n)
}

/// A store and an engine, as a server has them.
struct OneNode {
    id: Uuid,
    store: Arc<Postgres>,
    db: Database,
    running: Running,
    tasks: Tasks,
    feed: Arc<Mutex<Seen>>,
}

impl OneNode {
    async fn start(url: &str, recorded: &[Arc<Mutex<Seen>>]) -> Self {
        let clock = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds::new(clock.clone()));
        let place = ids.next();
        let mut options = PostgresOptions::new(url, None, clock.clone()).expect("a URL");
        options.place = place;
        let store = Postgres::open(options, POSTGRES_MIGRATIONS).await;
        let store = Arc::new(store.expect("the database opens"));
        let db = Database::new(store.clone() as _);
        let directory = std::env::temp_dir().join(format!("quivive-writers-{place}"));
        let keys = KeyStore::open(&directory, &*ids, clock.now()).expect("keys");
        let tasks = Tasks::new();
        let vault = SharedVault::new(&keys, Arc::new(db.clone()), ids.clone(), tasks.clone());
        let _ = std::fs::remove_dir_all(directory);
        let me = Node {
            id: ids.next(),
            reads: 1,
        };
        db.join(me, place).await.expect("it joins");
        let (beating, stopping) = (db.clone(), tasks.stopping());
        tasks.spawn(async move {
            let pause = || tokio::time::sleep(Duration::from_secs(3));
            while stopping.run_until_cancelled(pause()).await.is_some() {
                let _ = beating.beat(me, place).await;
            }
        });
        let workflows = switchboard::workflows().expect("no name twice");
        let parts = Parts {
            log: Arc::new(db.clone()),
            subscriptions: Arc::new(db.clone()),
            vault: Arc::new(vault),
            appender: Arc::new(Appender::new()),
            clock,
            ids,
            catalogue: Arc::new(workflows.catalogue().clone()),
            tasks: tasks.clone(),
            share: Some(Share {
                nodes: Arc::new(db.clone()),
                me,
            }),
        };
        let subscriptions = recorded.iter().enumerate().map(|(i, seen)| {
            let handler = Arc::new(Recording(seen.clone()));
            Subscription::durable(format!("reader-{i}"), Filter::All, handler)
        });
        let running = Engine::new(parts, subscriptions.collect()).start().await;
        let node = Self {
            id: me.id,
            running: running.expect("it starts"),
            feed: Arc::default(),
            store,
            db,
            tasks,
        };
        node.follow();
        node
    }

    /// Reads the log as the feed does.
    fn follow(&self) {
        let (db, feed, stopping) = (self.db.clone(), self.feed.clone(), self.tasks.stopping());
        let follow = async move {
            let (mut head, mut after) = (db.head(), 0);
            loop {
                let events = db.read(after, 500).await.expect("it can be read");
                let Some(last) = events.last() else {
                    let _ = head.wait_for(|head| head.position > after).await;
                    continue;
                };
                after = last.position;
                let mut feed = feed.lock().expect("nobody panics");
                feed.extend(events.iter().map(seen));
            }
        };
        self.tasks
            .spawn(async move { stopping.run_until_cancelled(follow).await });
    }

    async fn commit(&self, key: &str, n: u64, writes: Vec<Write>) -> Result<(), CommitError> {
        let records = vec![record(key, n)];
        let committed = self.db.commit(Transaction { writes, records });
        committed.await.map(drop)
    }

    async fn stop(self) {
        self.tasks.shut_down().await;
        self.db.leave(self.id).await.expect("it leaves");
        self.store.close().await;
    }
}

fn record(key: &str, n: u64) -> Record {
    let clock = Arc::new(SystemClock);
    let now = clock.now();
    let ids = SystemIds::new(clock);
    let envelope = Envelope {
        workflow_id: ids.next(),
        correlation_id: ids.next(),
        ..Envelope::first(ids.next(), "a.b", Key::stored(key.to_owned()), now)
    };
    let body = Body {
        open: format!("{{\"n\":{n}}}").into_bytes(),
        personal: None,
    };
    Appender::new().record(envelope, body, None, None)
}

/// What is wrong with what somebody has seen of all.
fn judge(all: &Seen, seen: &Seen) -> Result<(), String> {
    let mut times: HashMap<u64, usize> = HashMap::new();
    for (position, ..) in seen {
        *times.entry(*position).or_default() += 1;
    }
    let missed = all
        .iter()
        .filter(|(at, ..)| !times.contains_key(at))
        .count();
    let twice = times.values().filter(|times| **times > 1).count();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut out_of_order = 0;
    for (position, key, _) in seen {
        let before = last.insert(key, *position).unwrap_or_default();
        out_of_order += usize::from(before >= *position);
    }
    if missed + twice + out_of_order == 0 {
        return Ok(());
    }
    Err(format!(
        "{missed} of {} never seen, {twice} twice, {out_of_order} out of order",
        all.len()
    ))
}

/// A transaction of a stranger: it takes its number, and ends later.
fn stranger(database: &postgres::Database, key: &str, wait: f64, end: &str) -> Command {
    let copied = "type, version, priority, time, workflow_id, correlation_id, actor_kind, body";
    let id = "decode(replace(CAST(gen_random_uuid() AS TEXT), '-', ''), 'hex')";
    let sql = format!(
        "BEGIN; INSERT INTO event_in (id, key, {copied}, digest) SELECT {id}, '{key}', {copied}, sha256(body) \
         FROM event WHERE pos = 1; SELECT pg_sleep({wait}); {end}"
    );
    let mut command = Command::from(database.cluster.client("psql"));
    command.args(["-v", "ON_ERROR_STOP=1", "-Atqc", &sql, &database.name]);
    command.stdout(Stdio::null()).kill_on_drop(true);
    command
}

/// So many rounds, while a stranger's transaction is always open, each for `held`. `None` where there is no PostgreSQL.
pub async fn run(rounds: usize, held: Duration) -> Option<String> {
    let cluster = Cluster::shared()?;
    let database = cluster.database();
    database.ask(SHADOW);
    let began = Instant::now();
    let recorded: Vec<Arc<Mutex<Seen>>> = (0..SUBSCRIPTIONS).map(|_| Arc::default()).collect();
    let one = Arc::new(OneNode::start(&database.url(), &recorded).await);
    let two = Arc::new(OneNode::start(&database.url(), &recorded).await);
    one.commit("first", 0, Vec::new())
        .await
        .expect("it commits");
    // Strangers copy it from where it has its position.
    one.db.settled().await;
    let running = Arc::new(AtomicBool::new(true));
    let mut beside = JoinSet::new();
    let holds = format!(
        "BEGIN; SELECT pg_current_xact_id(); SELECT count(*) FROM event_in; SELECT pg_sleep({})",
        held.as_secs_f64()
    );
    let (client, goes_on) = (database.cluster.clone(), running.clone());
    let name = database.name.clone();
    beside.spawn(async move {
        while goes_on.load(Ordering::Relaxed) {
            let mut command = Command::from(client.client("psql"));
            command.args(["-Atqc", &holds, &name]).stdout(Stdio::null());
            let _ = command.kill_on_drop(true).status().await;
        }
    });
    let by_number: Arc<Mutex<Vec<Uuid>>> = Arc::default();
    let (reader, store, goes_on) = (by_number.clone(), one.store.clone(), running.clone());
    let tasks = Tasks::new();
    let wrong = tasks.spawn(async move {
        let mut last = 0;
        while goes_on.load(Ordering::Relaxed) {
            let rows = store.query(AFTER, vec![Value::Int(last)]).await;
            for row in rows.expect("it can be read") {
                let (seq, id) = match &row[..] {
                    [Value::Int(seq), Value::Id(id)] => (*seq, *id),
                    [Value::Int(seq), Value::Blob(id)] => {
                        (*seq, Uuid::from_slice(id).expect("16 bytes"))
                    }
                    other => panic!("{other:?}"),
                };
                last = seq;
                reader.lock().expect("nobody panics").push(id);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let mut acknowledged = 1;
    for round in 0..rounds {
        acknowledged += one_round(&[&one, &two], &database, round).await;
    }
    running.store(false, Ordering::Relaxed);
    wrong.await.expect("it reads to the end");
    beside.abort_all();

    let all = until_all(&one.db, acknowledged).await;
    let doomed = all.iter().filter(|(_, key, _)| key.starts_with("doomed"));
    assert_eq!(doomed.count(), 0, "what was undone is in the log");
    for (at, (position, ..)) in (1..).zip(&all) {
        assert_eq!(at, *position, "positions are dense");
    }
    for readers in [&recorded[..], &[one.feed.clone(), two.feed.clone()]] {
        for (i, seen) in readers.iter().enumerate() {
            let complete = || seen.lock().expect("nobody panics").len() >= all.len();
            let waited = Instant::now();
            while !complete() && waited.elapsed() < Duration::from_secs(30) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let seen = seen.lock().expect("nobody panics").clone();
            if let Err(wrong) = judge(&all, &seen) {
                panic!("reader {i}: {wrong}");
            }
        }
    }
    let by_number = by_number.lock().expect("nobody panics").clone();
    let mutant = by_ids(&one.db, &by_number).await;
    let caught = judge(&all, &mutant)
        .expect_err("who goes by numbers misses nothing: the check proves nothing");
    let shares = "SELECT count(*) FROM lease JOIN node ON node.id = lease.node GROUP BY node.id";
    let shares = database.ask(shares).replace('\n', " and ");
    let line = format!(
        "{} events of {WRITERS} writers in {rounds} rounds and {:.0} s, by {SUBSCRIPTIONS} subscriptions ({shares}) and two feeds each \
         seen once, in order; by number: {caught}",
        all.len(),
        began.elapsed().as_secs_f64()
    );
    drop(beside);
    for node in [one, two] {
        drop(node.running.clone());
        let node = Arc::into_inner(node).expect("nobody else has it");
        node.stop().await;
    }
    Some(line)
}

/// Says how many events were appended.
async fn one_round(nodes: &[&Arc<OneNode>], database: &postgres::Database, round: usize) -> u64 {
    let mut late = JoinSet::new();
    for (key, end) in [("late", "COMMIT"), ("doomed", "ROLLBACK")] {
        let mut command = stranger(database, &format!("{key}:{round}"), 0.1, end);
        late.spawn(async move { command.status().await });
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let nodes: Vec<_> = nodes.iter().map(|node| Arc::clone(node)).collect();
        writers.spawn(async move {
            let key = format!("writer:{writer}");
            for i in 0..EVENTS_EACH {
                let n = (round * EVENTS_EACH + i) as u64;
                let node = &nodes[(writer + i) % nodes.len()];
                if i == 2 {
                    let miss = Write::one("DELETE FROM meta WHERE name = $1", vec!["none".into()]);
                    let undone = node.commit("doomed", n, vec![miss]).await;
                    assert!(matches!(undone, Err(CommitError::Missed(0))), "{undone:?}");
                }
                node.commit(&key, n, Vec::new()).await.expect("it commits");
            }
        });
    }
    writers.join_all().await;
    for ended in late.join_all().await {
        assert!(ended.is_ok_and(|status| status.success()), "a stranger");
    }
    (WRITERS * EVENTS_EACH + 1) as u64
}

/// All events, once there are so many.
async fn until_all(db: &Database, count: u64) -> Seen {
    let mut head = db.head();
    let reached = head.wait_for(|head| head.position >= count);
    // What it answers would keep the head from moving.
    let reached = tokio::time::timeout(Duration::from_secs(30), reached)
        .await
        .is_ok();
    assert!(reached, "they get their places");
    let mut all = Vec::new();
    loop {
        let after = all.len() as u64;
        let events = db.read(after, 1_000).await.expect("it can be read");
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().map(seen));
    }
}

/// The events with these ids, in that order.
async fn by_ids(db: &Database, ids: &[Uuid]) -> Seen {
    let (mut by_id, mut after) = (HashMap::new(), 0);
    loop {
        let events = db.read(after, 1_000).await.expect("it can be read");
        let Some(last) = events.last() else {
            break;
        };
        after = last.position;
        let with_ids = events.iter().map(|event| (event.envelope.id, seen(event)));
        by_id.extend(with_ids);
    }
    let found = ids.iter().filter_map(|id| by_id.get(id));
    found.cloned().collect()
}
