//! kill -9 at each step of a delivery: nothing is left undelivered, what a handler wrote to our database is there exactly
//! once, the order of a key holds, and an event that ends the process is parked after three starts.
//!
//! **Cast.** The experiment starts a process of its own ([`deliver`]) over and over, on the same data. That process runs
//! the engine over the real store, behind ports that kill it at a [`Step`], with one subscription whose handler writes to
//! the database and to a file. Between two starts more events are appended. In the end it runs without a kill, and what
//! is in the database and in the file is compared with the log.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quivive_delivery::engine::{Engine, Parts};
use quivive_delivery::log::{Appender, Record};
use quivive_delivery::subscriber::{
    Filter, Handler, LaneState, Retry, Subscription, Subscriptions,
};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{
    Actor, Body, BoxFuture, Catalogue, Clock, CommitError, Committed, Cx, Envelope, Fault, Head,
    Ids, Key, Log, Outcome, Priority, Received, Stored, Transaction, Write,
};
use quivive_outbound::{FileVault, KeyStore, SystemClock, SystemIds};
use quivive_store::{Database, SQLITE_MIGRATIONS};
use quivive_store_sqlite::{Sqlite, SqliteOptions};
use tokio::sync::watch;

const NAME: &str = "subject";

/// Different keys among the events.
const KEYS: u64 = 5;

/// Events that are appended before each start.
const EVENTS: u64 = 15;

/// One event in so many fails often enough to get a lane.
const ONE_FAILS_IN: u64 = 7;

/// Soon, so that a run takes no longer than its kill; the first failure makes a lane.
const RETRY: Retry = Retry {
    quick: &[],
    schedule: &[Duration::from_millis(2)],
    max_attempts: 1_000,
    ..Retry::DEFAULT
};

/// Notes an event behind those of its key that were noted before. Without any guard: what comes twice, or too early, is
/// there to be found.
const EFFECT: &str = "INSERT INTO meta (name, value) VALUES ($1, $2) \
    ON CONFLICT (name) DO UPDATE SET value = value || ' ' || excluded.value";

/// Where a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Before the log is read.
    Read,
    /// The handler has begun.
    Began,
    /// It has done its work outside, and has not said so.
    Handled,
    /// Before and after a commit of what it wrote, of a lane, and of the cursor.
    EffectToCome,
    EffectSaved,
    LaneToCome,
    LaneSaved,
    CursorToCome,
    CursorSaved,
}

impl Step {
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Began,
        Self::Handled,
        Self::EffectToCome,
        Self::EffectSaved,
        Self::LaneToCome,
        Self::LaneSaved,
        Self::CursorToCome,
        Self::CursorSaved,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Began => "began",
            Self::Handled => "handled",
            Self::EffectToCome => "effect-to-come",
            Self::EffectSaved => "effect-saved",
            Self::LaneToCome => "lane-to-come",
            Self::LaneSaved => "lane-saved",
            Self::CursorToCome => "cursor-to-come",
            Self::CursorSaved => "cursor-saved",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.as_str() == word)
    }
}

/// When a process kills itself.
#[derive(Debug, Clone, Copy)]
enum Kill {
    Never,
    /// The so-manieth time that it comes to a step.
    At(Step, u64),
    /// Whenever it handles the event at this position.
    Event(u64),
}

impl Kill {
    fn args(self) -> [String; 2] {
        match self {
            Self::Never => ["never".to_owned(), "0".to_owned()],
            Self::At(step, nth) => [step.as_str().to_owned(), nth.to_string()],
            Self::Event(position) => ["event".to_owned(), position.to_string()],
        }
    }

    fn parse(step: &str, number: &str) -> Option<Self> {
        let number = number.parse().ok()?;
        match step {
            "never" => Some(Self::Never),
            "event" => Some(Self::Event(number)),
            word => Step::parse(word).map(|step| Self::At(step, number)),
        }
    }
}

/// Kills this process, as nothing inside it can prevent or notice.
fn die() -> ! {
    let _ = Command::new("kill")
        .args(["-KILL", &std::process::id().to_string()])
        .status();
    // The signal may come a moment after the program that sent it has ended.
    std::process::abort()
}

/// Counts the times that a step was come to.
struct Fuse {
    kill: Kill,
    left: AtomicU64,
}

impl Fuse {
    fn new(kill: Kill) -> Arc<Self> {
        let left = match kill {
            Kill::At(_, nth) => nth,
            Kill::Never | Kill::Event(_) => 0,
        };
        Arc::new(Self {
            kill,
            left: AtomicU64::new(left),
        })
    }

    fn at(&self, step: Step) {
        let meant = matches!(self.kill, Kill::At(wanted, _) if wanted == step);
        if meant && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            die();
        }
    }
}

/// The real log, with a fuse.
struct Fused {
    database: Database,
    fuse: Arc<Fuse>,
}

/// What a commit is for.
fn steps_of(database: &Database, transaction: &Transaction) -> Option<[Step; 2]> {
    let cursor = database.advance(NAME, 0).sql;
    let has = |sql: &str| transaction.writes.iter().any(|write| write.sql == sql);
    let lane = transaction
        .writes
        .iter()
        .any(|write| write.sql.starts_with("INSERT INTO lane"));
    if has(EFFECT) {
        Some([Step::EffectToCome, Step::EffectSaved])
    } else if lane {
        Some([Step::LaneToCome, Step::LaneSaved])
    } else if has(cursor) {
        Some([Step::CursorToCome, Step::CursorSaved])
    } else {
        None
    }
}

impl Log for Fused {
    fn commit(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let steps = steps_of(&self.database, &transaction);
        if let Some([to_come, _]) = steps {
            self.fuse.at(to_come);
        }
        let (done, fuse) = (self.database.commit(transaction), Arc::clone(&self.fuse));
        Box::pin(async move {
            let done = done.await;
            if let (Some([_, saved]), Ok(_)) = (steps, &done) {
                fuse.at(saved);
            }
            done
        })
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        self.fuse.at(Step::Read);
        self.database.read(after, limit)
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.database.head()
    }
}

/// Writes to our database and, as others would see it, to a file.
struct Subject {
    fuse: Arc<Fuse>,
    outside: PathBuf,
}

impl Handler for Subject {
    fn handle<'a>(&'a self, event: &'a Received, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let position = event.stored.position;
            self.fuse.at(Step::Began);
            if matches!(self.fuse.kill, Kill::Event(bad) if bad == position) {
                die();
            }
            if position.is_multiple_of(ONE_FAILS_IN) && cx.attempt() < 3 {
                return Outcome::Retry("not yet".to_owned());
            }
            let key = event.envelope().key.as_str();
            let line = format!("{key} {position}\n");
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(&self.outside);
            let told = file.and_then(|mut file| file.write_all(line.as_bytes()));
            if let Err(error) = told {
                return Outcome::Retry(error.to_string());
            }
            self.fuse.at(Step::Handled);
            let noted = vec![format!("effects {key}").into(), position.to_string().into()];
            cx.write(Write::one(EFFECT, noted));
            Outcome::Done
        })
    }
}

/// The data, open.
struct Bed {
    database: Database,
    sqlite: Arc<Sqlite>,
    vault: Arc<FileVault>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl Bed {
    fn open(directory: &Path) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds::new(Arc::clone(&clock)));
        let options = SqliteOptions::new(directory, Arc::clone(&clock));
        let sqlite = Arc::new(Sqlite::open(options, SQLITE_MIGRATIONS).expect("it opens"));
        let keys = KeyStore::open(&directory.join("keys"), ids.as_ref(), clock.now());
        let vault = FileVault::open(&keys.expect("keys"), Arc::clone(&ids)).expect("a vault");
        Self {
            database: Database::new(Arc::clone(&sqlite) as Arc<_>),
            sqlite,
            vault: Arc::new(vault),
            clock,
            ids,
        }
    }

    async fn append(&self, count: u64) {
        let appender = Appender::new();
        let records = (0..count).map(|i| record(self, &appender, i)).collect();
        let transaction = Transaction {
            writes: Vec::new(),
            records,
        };
        self.database.commit(transaction).await.expect("appended");
    }
}

impl Bed {
    /// The events of each key as the log has them.
    async fn appended(&self) -> HashMap<String, Vec<u64>> {
        let (mut appended, mut after) = (HashMap::<_, Vec<u64>>::new(), 0);
        loop {
            let events = self.database.read(after, 1_000).await.expect("a read");
            let Some(last) = events.last() else {
                return appended;
            };
            after = last.position;
            for event in events {
                let key = event.envelope.key.as_str().to_owned();
                appended.entry(key).or_default().push(event.position);
            }
        }
    }

    /// And as their effects have them.
    async fn noted(&self) -> HashMap<String, Vec<u64>> {
        let mut noted = HashMap::new();
        for key in (0..KEYS).map(|i| Key::new("key", i)) {
            let name = format!("effects {}", key.as_str());
            let text = self.database.meta(&name).await.expect("a read");
            let positions = text.iter().flat_map(|text| text.split(' '));
            let positions = positions.map(|it| it.parse().expect("a position"));
            noted.insert(key.as_str().to_owned(), positions.collect());
        }
        noted
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.sqlite.close();
    }
}

fn record(bed: &Bed, appender: &Appender, i: u64) -> Record {
    let id = bed.ids.next();
    let envelope = Envelope {
        id,
        kind: "subject.made".to_owned(),
        version: 1,
        key: Key::new("key", i % KEYS),
        priority: Priority::Normal,
        time: bed.clock.now(),
        workflow_id: id,
        correlation_id: id,
        causation_id: None,
        subject: None,
        actor: Actor {
            kind: "system".into(),
            id: None,
        },
        request_id: None,
        traceparent: None,
    };
    let body = Body {
        open: b"{}".to_vec(),
        personal: None,
    };
    appender.record(envelope, body, None, None)
}

/// The process that is killed: delivers all there is and ends, if it is let. The arguments are a directory, a step and a
/// number, as the experiment gives them.
pub async fn deliver(args: &[String]) {
    let [directory, step, number] = args else {
        panic!("a directory, a step and a number: {args:?}");
    };
    let kill = Kill::parse(step, number).expect("a step and a number");
    let (directory, fuse) = (PathBuf::from(directory), Fuse::new(kill));
    let bed = Bed::open(&directory);
    let tasks = Tasks::new();
    let parts = Parts {
        log: Arc::new(Fused {
            database: bed.database.clone(),
            fuse: Arc::clone(&fuse),
        }),
        subscriptions: Arc::new(bed.database.clone()),
        vault: bed.vault.clone(),
        appender: Arc::new(Appender::new()),
        clock: Arc::clone(&bed.clock),
        ids: Arc::clone(&bed.ids),
        catalogue: Arc::new(Catalogue::new(|_| quivive_delivery::catalogue::Class {
            priority: Priority::Normal,
            category: "operation",
        })),
        tasks: tasks.clone(),
    };
    let subject = Subject {
        fuse,
        outside: directory.join("outside"),
    };
    let subscription = Subscription::durable(NAME, Filter::All, Arc::new(subject))
        .retry(RETRY)
        .breaker(false);
    let engine = Engine::new(parts, vec![subscription]);
    let running = engine.start().await.expect("the engine starts");
    running.drain().await;
    while running.status()[0].lanes_retrying > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tasks.shut_down().await;
}

/// Kills it so many times at each step; `program` runs [`deliver`] when it is given `arg` and the arguments of it. A line
/// to print.
pub async fn run(program: &Path, arg: &str, kills: u64, seed: u64) -> String {
    let directory = std::env::temp_dir().join(format!("quivive-deliveries-{}", std::process::id()));
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("the temporary directory is writable");
    let start = |kill: Kill| {
        let mut command = Command::new(program);
        command.arg(arg).arg(&directory).args(kill.args());
        let status = command.stdin(Stdio::null()).status();
        status.expect("the program runs")
    };
    let (mut random, mut killed, mut runs) = (seed, 0, 0);
    for step in Step::ALL {
        let mut left = kills;
        while left > 0 {
            Bed::open(&directory).append(EVENTS).await;
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            // Not the first time: each start gets something done, so that no event is there at three of them.
            let most = match step {
                Step::Read
                | Step::CursorToCome
                | Step::CursorSaved
                | Step::LaneToCome
                | Step::LaneSaved => 2,
                _ => 2 + (random >> 33) % 12,
            };
            let status = start(Kill::At(step, most));
            runs += 1;
            if was_killed(status) {
                left -= 1;
                killed += 1;
            } else {
                assert!(status.success(), "{step:?} {status}");
            }
            assert!(
                runs < kills * 40 + 400,
                "{step:?} is hardly come to: {killed} kills in {runs} runs"
            );
        }
    }
    assert!(start(Kill::Never).success(), "the last run ends by itself");
    let (events, outside) = check(&directory).await;

    // An event that ends the process, and one of another key behind it.
    let bad = events + 1;
    Bed::open(&directory).append(2).await;
    let mut starts = 0;
    while !start(Kill::Event(bad)).success() {
        starts += 1;
        assert!(starts <= 4, "the event {bad} ends every start");
    }
    let bed = Bed::open(&directory);
    let lanes = bed.database.lanes(NAME).await.expect("a read");
    assert_eq!(lanes.len(), 1, "{lanes:?}");
    assert_eq!(
        (lanes[0].state, lanes[0].done),
        (LaneState::Parked, bad - 1),
        "{lanes:?}"
    );
    let noted = bed.noted().await;
    let behind = noted
        .values()
        .any(|positions| positions.last() == Some(&(bad + 1)));
    assert!(behind, "the other key goes on");
    drop(bed);
    let _ = fs::remove_dir_all(&directory);
    format!(
        "{killed} kills at {} steps in {runs} runs: {events} events, each with its effect once and in order, {outside} times \
         outside; an event that ends the process is parked after {starts} of them",
        Step::ALL.len()
    )
}

#[cfg(unix)]
fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(9)
}

/// Compares what there is with the log: how many events, and how often they were told outside.
async fn check(directory: &Path) -> (u64, u64) {
    let bed = Bed::open(directory);
    let events = bed.database.head().borrow().position;
    let lanes = bed.database.lanes(NAME).await.expect("a read");
    assert!(lanes.is_empty(), "keys are in trouble: {lanes:?}");
    let stored = bed.database.load().await.expect("a read");
    assert_eq!(stored[0].position, events, "the cursor is at the end");
    let noted = bed.noted().await;
    for (key, positions) in bed.appended().await {
        assert_eq!(
            noted[&key], positions,
            "the effects of {key}, each once and in order"
        );
    }
    let text = fs::read_to_string(directory.join("outside")).expect("the file");
    let (mut seen, mut told) = (HashMap::<&str, u64>::new(), 0_u64);
    for line in text.lines() {
        let (key, position) = line.split_once(' ').expect("a key and a position");
        let position: u64 = position.parse().expect("a number");
        let last = seen.entry(key).or_default();
        // Again after a crash, yes; before an earlier one of its key, never: then that one is the last that came.
        assert!(position >= *last, "{key}: {position} came after {last}");
        *last = position;
        told += 1;
    }
    assert!(told >= events, "{told} of {events} were told");
    (events, told)
}

/// A million events that nobody has delivered: the server serves within five seconds, and holds little while it goes
/// through them. A line to print.
pub async fn undelivered(server: &mut crate::Server, events: u64) -> String {
    let admin = "an administrators long passphrase 7";
    let _ = server.administrator().await;
    let stopped = server.stop().await;
    assert_eq!(stopped, Some(0));
    {
        let bed = Bed::open(&server.data);
        for _ in 0..events / 1_000 {
            bed.append(1_000).await;
        }
    }
    server.restart().await;
    let ready = server.ready_after;
    assert!(ready < Duration::from_secs(5), "it served after {ready:?}");
    let tokens = server.login("root@example.org", admin).await;
    assert!(tokens["access_token"].is_string());
    let (began, mut highest, mut lowest) = (Instant::now(), 0, u64::MAX);
    loop {
        let resident = server.resident_kib();
        (highest, lowest) = (highest.max(resident), lowest.min(resident));
        let verbose = server.get("/readyz?verbose").await.expect(200).json();
        let subscriptions = verbose["subscriptions"].as_array().expect("a list").clone();
        let lag = subscriptions
            .iter()
            .filter_map(|it| it["lag"].as_u64())
            .max();
        if lag == Some(0) {
            break;
        }
        assert!(
            began.elapsed() < Duration::from_mins(10),
            "it is not drained: {verbose}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let drained = began.elapsed();
    // What a window of events, their keys and the pages of the database may take; a backlog in memory would be ten times it.
    assert!(highest < 160 * 1024, "{highest} KiB while it drained");
    format!(
        "{events} events: ready after {} ms, drained in {:.1} s ({:.0} events/s), between {} and {} MiB resident",
        ready.as_millis(),
        drained.as_secs_f64(),
        events as f64 / drained.as_secs_f64(),
        lowest / 1024,
        highest / 1024
    )
}
