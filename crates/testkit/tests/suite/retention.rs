//! Retention over a real database, the engine and files: cut off at every step, and held by who still reads.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod partitions;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quivive_app::ports::{EventIndex as _, IndexEntry};
use quivive_app::switchboard;
use quivive_delivery::chain::Walk;
use quivive_delivery::engine::{Engine, Parts, Running};
use quivive_delivery::log::{Appender, Record};
use quivive_delivery::retention::{Archive as _, Filed, Report, Retention, Shelf as _, Terms};
use quivive_delivery::subscriber::{Cx, Handler, Subscription};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{
    Body, BoxFuture, Catalogue, Clock, CommitError, Committed, Envelope, Fault, Head, Ids, Key,
    Log, Outcome, Received, Stored, Time, Transaction,
};
use quivive_outbound::{FileArchive, FileVault, KeyStore, SystemClock, SystemIds, Verifier};
use quivive_store::{Database, POSTGRES_MIGRATIONS, SQLITE_MIGRATIONS};
use quivive_store_postgres::{Postgres, PostgresOptions};
use quivive_store_sqlite::{Sqlite, SqliteOptions};
use quivive_testkit::postgres::{self, Cluster};
use tokio::sync::watch;
use uuid::Uuid;

const DAY: i64 = 24 * 3600;

const TERMS: Terms = Terms {
    keep: Duration::from_hours(10 * 24),
    grace: Duration::from_hours(5 * 24),
    archive: Duration::from_hours(100 * 24),
    archived: &["security", "compliance"],
};

/// Two of each three are archived.
const KINDS: [&str; 3] = ["user.login.failed", "email.delivered", "token.issued"];

/// A clock that is set, in days.
#[derive(Default)]
struct Days(AtomicI64);

impl Clock for Days {
    fn now(&self) -> Time {
        let seconds = 1_800_000_000 / DAY * DAY + self.0.load(Ordering::Relaxed) * DAY;
        Time::from_second(seconds).unwrap()
    }
}

/// The log, which stops answering at a commit: before it is applied, or after.
struct Cut {
    log: Database,
    left: AtomicUsize,
    applied: bool,
    reached: watch::Sender<bool>,
}

impl Log for Cut {
    fn commit(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        if self.left.fetch_sub(1, Ordering::SeqCst) > 1 {
            return self.log.commit(transaction);
        }
        let applied = self.applied.then(|| self.log.commit(transaction));
        let reached = self.reached.clone();
        Box::pin(async move {
            if let Some(applied) = applied {
                applied.await?;
            }
            reached.send_replace(true);
            std::future::pending().await
        })
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        self.log.read(after, limit)
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.log.head()
    }
}

struct Bed {
    directory: PathBuf,
    clock: Arc<Days>,
    ids: Arc<dyn Ids>,
    keys: KeyStore,
    vault: Arc<FileVault>,
    store: Store,
    database: Database,
    catalogue: Arc<Catalogue>,
    tasks: Tasks,
}

/// What is under it, and ends with it.
enum Store {
    Sqlite(Arc<Sqlite>),
    /// On a server, in partitions of [`PART`] positions.
    Postgres(postgres::Database),
}

/// Three of them, and a little more, hold what is [`due`].
const PART: u64 = 400;

impl Bed {
    fn new() -> Self {
        let (directory, clock) = (fresh_directory(), Arc::new(Days::default()));
        let options = SqliteOptions::new(directory.join("db"), clock.clone());
        let store = Arc::new(Sqlite::open(options, SQLITE_MIGRATIONS).unwrap());
        let database = Database::new(store.clone());
        Self::over(directory, clock, database, Store::Sqlite(store))
    }

    async fn on(cluster: &Arc<Cluster>) -> Self {
        let (server, clock) = (cluster.database(), Arc::new(Days::default()));
        let database = Database::new(node(&server, PART, 0, clock.clone()).await);
        Self::over(fresh_directory(), clock, database, Store::Postgres(server))
    }

    fn over(directory: PathBuf, clock: Arc<Days>, database: Database, store: Store) -> Self {
        let ids: Arc<dyn Ids> = Arc::new(SystemIds::new(Arc::new(SystemClock)));
        let keys = KeyStore::open(&directory.join("keys"), &*ids, clock.now()).unwrap();
        Self {
            vault: Arc::new(FileVault::open(&keys, ids.clone()).unwrap()),
            catalogue: Arc::new(switchboard::workflows().unwrap().catalogue().clone()),
            tasks: Tasks::new(),
            database,
            directory,
            clock,
            ids,
            keys,
            store,
        }
    }

    /// What a server's database says.
    fn ask(&self, sql: &str) -> String {
        match &self.store {
            Store::Postgres(server) => server.ask(sql),
            Store::Sqlite(_) => panic!("there is no server"),
        }
    }

    /// The last positions of the partitions.
    fn parts(&self) -> String {
        self.ask("SELECT string_agg(CAST(upto AS TEXT), ' ' ORDER BY upto) FROM event_partition")
    }

    fn day(&self, day: i64) {
        self.clock.0.store(day, Ordering::Relaxed);
    }

    /// Events of one key, and the index with them.
    async fn append(&self, count: usize, key: &str) {
        let now = self.clock.now();
        let records = (0..count).map(|n| record(&*self.ids, KINDS[n % 3], key, now));
        let transaction = Transaction {
            writes: Vec::new(),
            records: records.collect(),
        };
        self.database.commit(transaction).await.unwrap();
        self.database.settled().await;
        self.index().await;
    }

    /// Brings the index up to the head.
    async fn index(&self) {
        let after = self.database.reaches().await.unwrap();
        let events = self.database.read(after, 100_000).await.unwrap();
        let entry = |event| IndexEntry {
            event,
            address: None,
            ip: None,
        };
        let entries: Vec<_> = events.iter().map(entry).collect();
        let transaction = Transaction {
            writes: self.database.fill(after, &entries),
            records: Vec::new(),
        };
        self.database.commit(transaction).await.unwrap();
    }

    async fn engine(&self, log: Arc<dyn Log>, subscriptions: Vec<Subscription>) -> Running {
        let parts = Parts {
            log,
            subscriptions: Arc::new(self.database.clone()),
            vault: self.vault.clone(),
            appender: Arc::new(Appender::new()),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            catalogue: self.catalogue.clone(),
            tasks: self.tasks.clone(),
            share: None,
        };
        Engine::new(parts, subscriptions).start().await.unwrap()
    }

    fn archive(&self) -> Arc<FileArchive> {
        Arc::new(FileArchive::new(&self.directory.join("archive"), &self.keys).unwrap())
    }

    fn retention(&self, running: Running) -> Retention {
        Retention::new(
            running,
            Arc::new(self.database.clone()),
            self.archive(),
            TERMS,
        )
    }

    /// What is left is whole, and what went is in archives that meet it. Answers with them.
    async fn proved(&self) -> Vec<Filed> {
        let verifier = Verifier::of(&self.directory.join("keys")).unwrap();
        let anchor = self.database.anchor().await.unwrap();
        assert!(verifier.anchor(&anchor), "{anchor:?}");
        let mut walk = Walk::from(anchor.position, anchor.chain);
        for event in self.database.read(0, 100_000).await.unwrap() {
            walk.step(&event).unwrap();
        }
        let head = *self.database.head().borrow();
        walk.finish(head.position, &head.chain).unwrap();
        let archives = self.database.archives(0, 1_000).await.unwrap();
        let (mut at, mut chain) = (0, [0; 32]);
        for filed in &archives {
            let before = verifier
                .archive(&self.directory.join("archive"), filed)
                .unwrap();
            assert_eq!((filed.from, before), (at + 1, chain));
            (at, chain) = (filed.to, filed.chain);
        }
        assert!(at >= anchor.position, "{at} {anchor:?}");
        archives
    }
}

fn fresh_directory() -> PathBuf {
    let id = SystemIds::new(Arc::new(SystemClock)).next();
    std::env::temp_dir().join(format!("quivive-retention-{id}"))
}

/// Opens the database of a server in one of several places.
async fn node(
    server: &postgres::Database,
    partition: u64,
    place: u128,
    clock: Arc<dyn Clock>,
) -> Arc<Postgres> {
    let mut options = PostgresOptions::new(&server.url(), None, clock).unwrap();
    options.partition = partition;
    options.place = Uuid::from_u128(place);
    Arc::new(Postgres::open(options, POSTGRES_MIGRATIONS).await.unwrap())
}

fn record(ids: &dyn Ids, kind: &str, key: &str, at: Time) -> Record {
    let envelope = Envelope::first(ids.next(), kind, Key::new("account", key), at);
    Appender::new().record(envelope, Body::empty(), None, None)
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Store::Sqlite(store) = &self.store {
            store.close();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// 1,300 events that are due, and 10 that are not.
async fn due(bed: Bed) -> Bed {
    bed.append(1_300, "1").await;
    bed.day(5);
    bed.append(10, "1").await;
    bed.day(11);
    bed
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_goes_and_what_must_be_kept_is_archived() {
    let bed = due(Bed::new()).await;
    let running = bed.engine(Arc::new(bed.database.clone()), Vec::new()).await;
    let retention = bed.retention(running);
    let report = retention.run().await.unwrap();
    let want = Report {
        cut: 1_300,
        archived: 867,
        removed: 0,
    };
    assert_eq!(report, want);
    let archives = bed.proved().await;
    assert_eq!(
        (archives.len(), archives[0].to, archives[0].events),
        (1, 1_300, 867)
    );
    let left = bed.database.read(0, 100).await.unwrap();
    // The ten, and the checkpoint.
    assert_eq!((left.len(), left[0].position), (11, 1_301));
    assert_eq!(left[10].envelope.kind, "audit.checkpoint_sealed");
    let checkpoint: serde_json::Value = serde_json::from_slice(&left[10].body).unwrap();
    assert_eq!(checkpoint["position"], 1_300);
    assert_eq!(checkpoint["key_id"], bed.archive().key_id());
    // Once more there is nothing to do, also when only checkpoints have become old.
    assert_eq!(retention.run().await.unwrap(), Report::default());
    bed.index().await;
    bed.day(30);
    assert_eq!(retention.run().await.unwrap().cut, 11);
    bed.index().await;
    bed.day(60);
    assert_eq!(retention.run().await.unwrap(), Report::default());
    assert_eq!(bed.database.head().borrow().position, 1_312);
    bed.proved().await;
    // Archives go, too, but for the newest.
    bed.day(200);
    assert_eq!(retention.run().await.unwrap().removed, 1);
    let left = bed.database.archives(0, 10).await.unwrap();
    assert_eq!((left.len(), left[0].from), (1, 1_301));
    assert_eq!(
        std::fs::read_dir(bed.directory.join("archive"))
            .unwrap()
            .count(),
        1
    );
}

/// The commits of a run are: the archive's row with the checkpoint, and three slices.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_off_anywhere_is_taken_up() {
    for commit in 1..=4 {
        for applied in [false, true] {
            let bed = due(Bed::new()).await;
            cut_off_and_taken_up(&bed, commit, applied).await;
        }
    }
}

async fn cut_off_and_taken_up(bed: &Bed, commit: usize, applied: bool) {
    let (reached, mut stopped) = watch::channel(false);
    let log = Arc::new(Cut {
        log: bed.database.clone(),
        left: AtomicUsize::new(commit),
        applied,
        reached,
    });
    let retention = bed.retention(bed.engine(log, Vec::new()).await);
    tokio::select! {
        report = retention.run() => panic!("it was to be cut off: {report:?}"),
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    // What is there now is one state or the other.
    bed.database.settled().await;
    bed.proved().await;
    let running = bed.engine(Arc::new(bed.database.clone()), Vec::new()).await;
    bed.retention(running).run().await.unwrap();
    bed.database.settled().await;
    let archives = bed.proved().await;
    let what = format!("commit {commit}, applied: {applied}");
    assert_eq!(archives.len(), 1, "{what}");
    assert_eq!(archives[0].events, 867, "{what}");
    let left = bed.database.read(0, 100).await.unwrap();
    assert_eq!((left.len(), left[0].position), (11, 1_301), "{what}");
    let files = std::fs::read_dir(bed.directory.join("archive")).unwrap();
    assert_eq!(files.count(), 1, "{what}");
}

/// Gives up on one event, and notes what it has seen.
struct Picky {
    refused: u64,
    seen: Mutex<Vec<u64>>,
}

impl Handler for Picky {
    fn handle<'a>(&'a self, event: &'a Received, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        let position = event.stored.position;
        self.seen.lock().unwrap().push(position);
        let outcome = if position == self.refused {
            Outcome::GiveUp("not this one".to_owned())
        } else {
            Outcome::Done
        };
        Box::pin(std::future::ready(outcome))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_lane_holds_the_log_until_its_grace_ends() {
    let bed = Bed::new();
    let picky = Arc::new(Picky {
        refused: 100,
        seen: Mutex::default(),
    });
    let subscription = Subscription::with("picky", picky.clone());
    let log = Arc::new(bed.database.clone());
    let running = bed.engine(log, vec![subscription]).await;
    bed.append(99, "1").await;
    bed.append(2, "bad").await;
    bed.append(99, "1").await;
    running.drain().await;
    bed.index().await;
    let retention = bed.retention(running.clone());
    // Old enough to go, and held by the lane but for what lies before it.
    bed.day(11);
    settled(&bed, 99).await;
    assert_eq!(retention.run().await.unwrap().cut, 99);
    assert_eq!(retention.run().await.unwrap().cut, 0);
    let parked = running.status()[0].lanes_parked;
    assert_eq!(parked, 1);
    assert!(!picky.seen.lock().unwrap().contains(&101), "its key waits");
    bed.proved().await;
    // Its grace is over. With the two of its key and all others goes the event that it was parked.
    bed.day(16);
    assert_eq!(retention.run().await.unwrap().cut, 102);
    running.drain().await;
    assert_eq!(running.status()[0].lanes_parked, 0);
    let events = bed.database.read(200, 100).await.unwrap();
    let expired = events
        .iter()
        .find(|event| event.envelope.kind == "delivery.subscription_expired");
    let told: serde_json::Value = serde_json::from_slice(&expired.unwrap().body).unwrap();
    assert_eq!(
        (&told["subscription"], &told["lost"]),
        (&"picky".into(), &2.into())
    );
    bed.proved().await;
}

/// Waits until the database says that nobody needs what lies at or below a position.
async fn settled(bed: &Bed, position: u64) {
    while bed.database.floor().await.unwrap() < position {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
