//! A million events that nobody has delivered: the server serves at once all the same, and drains them with little memory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quivive_delivery::log::{Appender, Record};
use quivive_delivery::{Body, Clock, Envelope, Ids, Key, Log as _, Transaction};
use quivive_outbound::{SystemClock, SystemIds};
use quivive_store::{Database, SQLITE_MIGRATIONS};
use quivive_store_sqlite::{Sqlite, SqliteOptions};

/// Different keys among the events.
const KEYS: u64 = 5;

/// The data, open.
struct Bed {
    database: Database,
    sqlite: Arc<Sqlite>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl Bed {
    fn open(directory: &Path) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds::new(Arc::clone(&clock)));
        let options = SqliteOptions::new(directory, Arc::clone(&clock));
        let sqlite = Arc::new(Sqlite::open(options, SQLITE_MIGRATIONS).expect("it opens"));
        Self {
            database: Database::new(Arc::clone(&sqlite) as Arc<_>),
            sqlite,
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

impl Drop for Bed {
    fn drop(&mut self) {
        self.sqlite.close();
    }
}

fn record(bed: &Bed, appender: &Appender, i: u64) -> Record {
    let key = Key::new("key", i % KEYS);
    let envelope = Envelope::first(bed.ids.next(), "subject.made", key, bed.clock.now());
    appender.record(envelope, Body::empty(), None, None)
}

/// A million events that nobody has delivered: the server serves within five seconds, and holds little while it goes
/// through them. A line to print.
pub async fn run(server: &mut crate::Server, events: u64) -> String {
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
