//! What only a database on a server can do wrong: to be away, to be another one, to be shared.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod doubt;
mod refused;

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quivive_app::ports::{OpenAttempt, OpenAttempts as _};
use quivive_delivery::chain::{GENESIS, Walk};
use quivive_delivery::log::{Appender, Record};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{
    Body, Clock, CommitError, Committed, Envelope, Fault, Key, Log as _, Stored, Time, Transaction,
    Write,
};
use quivive_outbound::SystemClock;
use quivive_store::{Database, POSTGRES_MIGRATIONS};
use quivive_store_postgres::{OpenError, Postgres, PostgresOptions};
use quivive_testkit::postgres::pair::Pair;
use quivive_testkit::postgres::{self, Cluster};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use uuid::Uuid;

struct Still;

impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_second(1_800_000_000).unwrap()
    }
}

async fn open(url: &str) -> Result<Postgres, OpenError> {
    let options = PostgresOptions::new(url, None, Arc::new(Still))?;
    Postgres::open(options, POSTGRES_MIGRATIONS).await
}

/// An open store in a database of its own.
struct Bed {
    store: Arc<Postgres>,
    db: Database,
    server: postgres::Database,
}

impl Bed {
    async fn on(cluster: &Arc<Cluster>) -> Self {
        let server = cluster.database();
        let store = Arc::new(open(&server.url()).await.unwrap());
        let db = Database::new(Arc::clone(&store) as _);
        Self { store, db, server }
    }

    async fn commit(&self, writes: Vec<Write>, events: usize) -> Result<Committed, CommitError> {
        let records = (0..events).map(|_| record("account:1")).collect();
        self.db.commit(Transaction { writes, records }).await
    }

    /// All events, once there are so many.
    async fn events(&self, count: u64) -> Vec<Stored> {
        let mut head = self.db.head();
        let reached = head.wait_for(|head| head.position >= count);
        // What it gives holds a lock on the head: not into the next wait.
        let patience = Duration::from_secs(20);
        let reached = tokio::time::timeout(patience, reached).await.is_ok();
        assert!(reached, "{:?}", *self.db.head().borrow());
        self.db.read(0, 100_000).await.unwrap()
    }

    /// The events are dense, chained, and the head's.
    async fn whole(&self, count: u64) -> Vec<Stored> {
        let events = self.events(count).await;
        let mut walk = Walk::from(0, GENESIS);
        for event in &events {
            walk.step(event).unwrap();
        }
        let head = *self.db.head().borrow();
        walk.finish(head.position, &head.chain).unwrap();
        assert_eq!(head.position, count);
        events
    }

    /// A foreign transaction.
    fn elsewhere(&self, sql: &str) -> Child {
        let mut command = self.server.cluster.client("psql");
        command.args(["-v", "ON_ERROR_STOP=1", "-qAtc", sql, &self.server.name]);
        command.stdout(Stdio::null()).spawn().unwrap()
    }

    /// Waits until the server says yes.
    async fn until(&self, sql: &str) {
        let began = Instant::now();
        while self.server.ask(sql) != "t" {
            assert!(began.elapsed() < Duration::from_secs(20), "never: {sql}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn id() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u64_pair(7, NEXT.fetch_add(1, Ordering::Relaxed))
}

fn record(key: &str) -> Record {
    let time = Time::from_second(1_800_000_000).unwrap();
    let envelope = Envelope {
        workflow_id: id(),
        correlation_id: id(),
        ..Envelope::first(id(), "a.b", Key::stored(key.to_owned()), time)
    };
    let body = Body {
        open: b"{}".to_vec(),
        personal: None,
    };
    Appender::new().record(envelope, body, None, None)
}

fn attempt() -> OpenAttempt {
    OpenAttempt {
        workflow_id: id(),
        kind: "a.b".to_owned(),
        attempted_id: id(),
        after: 0,
        deadline: Time::from_second(1_800_000_060).unwrap(),
        waiting: false,
        node: id(),
    }
}

/// The attempt's connection is held up by a lock; the outcome is submitted meanwhile, and other lanes have nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outcome_never_overtakes_its_attempt() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Bed::on(&cluster).await;
    bed.commit(vec![bed.db.set_meta("slow", "1")], 0)
        .await
        .unwrap();
    let mut foreign = bed.elsewhere(
        "BEGIN; UPDATE meta SET value = '2' WHERE name = 'slow'; SELECT pg_sleep(1); COMMIT",
    );
    bed.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()")
        .await;
    let attempt = attempt();
    let writes = vec![bed.db.open(&attempt), bed.db.set_meta("slow", "3")];
    let attempted = bed.commit(writes, 1);
    let outcome = bed.commit(vec![bed.db.close(attempt.workflow_id)], 1);
    let (attempted, outcome) = tokio::join!(attempted, outcome);
    assert!(
        attempted.is_ok() && outcome.is_ok(),
        "{attempted:?} {outcome:?}"
    );
    assert!(foreign.wait().unwrap().success());
    bed.whole(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_was_away_is_used_again_when_it_is_back() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let bed = Bed::on(&cluster).await;
    for _ in 0..20 {
        bed.commit(Vec::new(), 3).await.unwrap();
    }
    cluster.halt();
    let began = Instant::now();
    let away = bed.commit(Vec::new(), 1).await.unwrap_err();
    assert!(
        matches!(away, CommitError::Fault(Fault::Unreachable(_))),
        "{away}"
    );
    let away = bed.db.meta("any").await.unwrap_err();
    assert!(matches!(away, Fault::Unreachable(_)), "{away}");
    assert!(began.elapsed() < Duration::from_secs(5), "told at once");
    cluster.resume();
    let began = Instant::now();
    while bed.commit(Vec::new(), 1).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "never back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(bed.db.meta("any").await.unwrap(), None);
    // What was acknowledged is there, and goes on where it ended.
    bed.whole(61).await;
    assert_eq!(*bed.store.fatal().borrow(), None);
}

/// Its kernel lets everybody connect, and nothing more comes: as from one that is frozen.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_does_not_answer_is_passed_over() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let server = cluster.database();
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = frozen.local_addr().unwrap().port();
    let directory = cluster.socket().parent().unwrap().display().to_string();
    let url = |others: &str| {
        format!(
            "postgres://quivive@127.0.0.1:{port}{others}/{}",
            server.name
        )
    };
    let silent = open(&url("")).await.err().unwrap();
    assert!(matches!(silent, OpenError::Silent { .. }), "{silent}");
    let there = format!(",{}:5432", directory.replace('/', "%2F"));
    let store = open(&url(&there)).await.unwrap();
    store.close().await;
}

/// Sixteen writers, some of whose commits miss, and a foreign transaction that holds a number of the log and gives it up.
/// Who follows the head meanwhile sees every event once, and those of a key in the order of their commits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_feed_misses_nothing_of_parallel_writers() {
    const WRITERS: u64 = 16;
    const EACH: u64 = 40;
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Arc::new(Bed::on(&cluster).await);
    let columns = "id, type, version, key, priority, time, workflow_id, correlation_id, actor_kind, body, digest";
    let hold = format!(
        "BEGIN; INSERT INTO event_in ({columns}) VALUES ('', 'x', 1, 'x', 1, 1, '', '', 'x', '', ''); SELECT pg_sleep(2); ROLLBACK"
    );
    let mut foreign = bed.elsewhere(&hold);
    let (tasks, reader) = (Tasks::new(), Arc::clone(&bed));
    let followed = tasks.spawn(async move {
        let (mut seen, mut head) = (Vec::new(), reader.db.head());
        while (seen.len() as u64) < WRITERS * EACH {
            let _ = head.changed().await;
            let after = seen.last().map_or(0, |event: &Stored| event.position);
            seen.extend(reader.db.read(after, 10_000).await.unwrap());
        }
        seen
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let bed = Arc::clone(&bed);
            tasks.spawn(async move {
                for number in 0..EACH {
                    let note = bed
                        .db
                        .set_meta(&format!("writer {writer}"), &number.to_string());
                    let mut event = record(&format!("key:{}", writer % 4));
                    if number % 5 == 0 {
                        // Misses, after it has taken a number of the log's table or before.
                        let writes = vec![bed.db.unset_meta("nothing")];
                        let missed = bed.commit(writes, 2).await.unwrap_err();
                        assert!(matches!(missed, CommitError::Missed(0)), "{missed}");
                        event = record(&format!("key:{}", writer % 4));
                    }
                    let transaction = Transaction {
                        writes: vec![note],
                        records: vec![event],
                    };
                    bed.db.commit(transaction).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let seen = tokio::time::timeout(Duration::from_secs(30), followed).await;
    let seen = seen.expect("the follower sees them all").unwrap();
    let events = bed.whole(WRITERS * EACH).await;
    let ids = |events: &[Stored]| events.iter().map(|e| e.envelope.id).collect::<Vec<_>>();
    assert_eq!(ids(&seen), ids(&events));
    assert!(foreign.wait().unwrap().success());
    assert_eq!(bed.server.ask("SELECT count(*) FROM event_in"), "0");
}

/// Commits that lock the same rows in another order: the server undoes one of them, which is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_server_undoes_for_anothers_sake_is_made_again() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Arc::new(Bed::on(&cluster).await);
    let notes =
        |first: &str, second: &str| vec![bed.db.set_meta(first, "x"), bed.db.set_meta(second, "x")];
    bed.commit(notes("a", "b"), 0).await.unwrap();
    let all = (0..60).map(|n| {
        let writes = if n % 2 == 0 {
            notes("a", "b")
        } else {
            notes("b", "a")
        };
        bed.commit(writes, 1)
    });
    for done in futures_util::future::join_all(all).await {
        done.unwrap();
    }
    bed.whole(60).await;
}

/// What was committed and not placed when a server ended has its place after the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_that_another_left_behind_get_their_places() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Bed::on(&cluster).await;
    bed.commit(Vec::new(), 2).await.unwrap();
    bed.whole(2).await;
    let Bed { store, db, server } = bed;
    store.close().await;
    drop((store, db));
    let copied =
        "id, type, version, key, priority, time, workflow_id, correlation_id, actor_kind, body";
    server.ask(&format!(
        "INSERT INTO event_in ({copied}, digest) SELECT {copied}, sha256(body) FROM event WHERE pos = 1"
    ));
    let again = open(&server.url()).await.unwrap();
    assert_eq!((again.migrated().applied, again.migrated().version), (0, 1));
    let db = Database::new(Arc::new(again));
    let reached = db.head().wait_for(|head| head.position == 3).await.is_ok();
    assert!(reached);
    assert_eq!(server.ask("SELECT count(*) FROM event_in"), "0");
}

/// More waits than is read at once, with gaps, when the head can be moved again: two servers give places in rounds, one behind
/// the other, and who finds the head moved by the other begins anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backlog_that_two_servers_find_is_placed_once_and_in_order() {
    const COMMITS: u64 = 20;
    const EACH: u64 = 1_000;
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let bed = Bed::on(&cluster).await;
    // What it links differs from what the first would by the time.
    let clock = Arc::new(SystemClock);
    let mut options = PostgresOptions::new(&bed.server.url(), None, clock).unwrap();
    options.place = id();
    let other = Postgres::open(options, POSTGRES_MIGRATIONS).await.unwrap();
    let mut foreign =
        bed.elsewhere("BEGIN; LOCK TABLE log_head IN EXCLUSIVE MODE; SELECT pg_sleep(60)");
    bed.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)' AND wait_event = 'PgSleep'")
        .await;
    let mut ids = Vec::new();
    for number in 0..COMMITS {
        bed.server
            .ask("SELECT nextval(pg_get_serial_sequence('event_in', 'seq'))");
        let key = format!("key:{}", number % 3);
        let records: Vec<_> = (0..EACH).map(|_| record(&key)).collect();
        ids.extend(records.iter().map(|record| record.envelope().id));
        let writes = vec![bed.db.set_meta("number", &number.to_string())];
        let transaction = Transaction { writes, records };
        bed.db.commit(transaction).await.unwrap();
    }
    bed.server.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)' AND wait_event = 'PgSleep'",
    );
    let events = bed.whole(COMMITS * EACH).await;
    let placed: Vec<_> = events.iter().map(|event| event.envelope.id).collect();
    assert_eq!(placed, ids);
    other.close().await;
    let _ = foreign.wait();
}
