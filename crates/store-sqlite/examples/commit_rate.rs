//! How fast the store commits and reads on this machine.
//!
//! `cargo run --release -p quivive-store-sqlite --example commit_rate -- [directory] [seconds] [submitters]`
//!
//! A commit here is one event, a fenced update of an account, the insert of a session and the update of a counter.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "it prints rates"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quivive_delivery::log::Appender;
use quivive_delivery::{
    Actor, Body, Clock, Envelope, Key, Priority, Time, Transaction, Value, Write,
};
use quivive_store::Executor;
use quivive_store_sqlite::{Migration, Sqlite, SqliteOptions};
use uuid::Uuid;

const ACCOUNTS: u64 = 10_000;

const SCHEMA: Migration = Migration {
    version: 1,
    sql: include_str!("../tests/suite/bed/log.sql"),
};

const STATE: Migration = Migration {
    version: 2,
    sql: "CREATE TABLE account (id BLOB PRIMARY KEY, security_version INTEGER NOT NULL, touched INTEGER) STRICT;
          CREATE TABLE session (id BLOB PRIMARY KEY, account BLOB NOT NULL REFERENCES account, digest BLOB NOT NULL,
              created INTEGER NOT NULL) STRICT, WITHOUT ROWID;
          CREATE TABLE counter (name INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT;
          WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 63)
          INSERT INTO counter SELECT i, 0 FROM n;",
};

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Time {
        Time::from_microsecond(1_800_000_000_000_000).unwrap_or(Time::UNIX_EPOCH)
    }
}

fn id(space: u64, number: u64) -> Uuid {
    Uuid::from_u64_pair(number, space)
}

fn transaction(appender: &Appender, number: u64) -> Transaction {
    let account = id(1, (number * 7_919) % ACCOUNTS);
    let envelope = Envelope {
        id: id(2, number),
        kind: "user.login.succeeded".to_owned(),
        version: 1,
        key: Key::new("account", account),
        priority: Priority::Normal,
        time: Fixed.now(),
        workflow_id: id(3, number),
        correlation_id: id(3, number),
        causation_id: Some(id(2, number - 1)),
        subject: Some(account.to_string()),
        actor: Actor {
            kind: "user".into(),
            id: Some(account),
        },
        request_id: Some("0123456789abcdef".to_owned()),
        traceparent: None,
    };
    let open = br#"{"session_id":"0190a5f4-7a5e-7cc0-8000-000000000001","method":"password","remembered":true,"new_device":false}"#;
    let body = Body {
        open: open.to_vec(),
        personal: None,
    };
    Transaction {
        writes: vec![
            Write::one(
                "UPDATE account SET touched = $3 WHERE id = $1 AND security_version = $2",
                vec![account.into(), Value::Int(1), Value::Int(5)],
            ),
            Write::one(
                "INSERT INTO session (id, account, digest, created) VALUES ($1, $2, $3, $4)",
                vec![
                    id(4, number).into(),
                    account.into(),
                    [7; 32].into(),
                    Value::Int(9),
                ],
            ),
            Write::one(
                "UPDATE counter SET n = n + 1 WHERE name = $1",
                vec![Value::Int((number % 64).cast_signed())],
            ),
        ],
        records: vec![appender.record(envelope, body, None, None)],
    }
}

async fn accounts(store: &Sqlite) {
    for number in 0..ACCOUNTS {
        let write = Write::any(
            "INSERT INTO account VALUES ($1, 1, 0) ON CONFLICT DO NOTHING",
            vec![id(1, number).into()],
        );
        let commit = store.apply(Transaction {
            writes: vec![write],
            records: Vec::new(),
        });
        if number % 1_000 == 999 {
            commit.await.expect("an account is written");
        }
    }
}

async fn commits(store: &Arc<Sqlite>, submitters: u64, time: Duration) {
    let next = Arc::new(AtomicU64::new(1 + store.head().borrow().position));
    let first = next.load(Ordering::Relaxed);
    let end = Instant::now() + time;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..submitters {
        let (store, next) = (Arc::clone(store), Arc::clone(&next));
        tasks.spawn(async move {
            let appender = Appender::new();
            let mut waits = Vec::new();
            while Instant::now() < end {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let started = Instant::now();
                let done = store.apply(transaction(&appender, number)).await;
                done.expect("a commit succeeds");
                waits.push(started.elapsed());
            }
            waits
        });
    }
    let mut waits: Vec<Duration> = tasks.join_all().await.into_iter().flatten().collect();
    waits.sort_unstable();
    let count = next.load(Ordering::Relaxed) - first;
    let at = |share: usize| waits[(waits.len() - 1) * share / 1_000];
    println!(
        "{submitters:>5} submitters: {:>7.0} commits/s   p50 {:?}  p99 {:?}  p99.9 {:?}  max {:?}",
        count as f64 / time.as_secs_f64(),
        at(500),
        at(990),
        at(999),
        at(1_000)
    );
}

async fn reads(store: &Arc<Sqlite>, askers: u64, time: Duration) {
    let count = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + time;
    let mut tasks = tokio::task::JoinSet::new();
    for asker in 0..askers {
        let (store, count) = (Arc::clone(store), Arc::clone(&count));
        tasks.spawn(async move {
            let mut number = asker;
            while Instant::now() < end {
                number = (number + 7_919) % ACCOUNTS;
                let sql = "SELECT security_version, touched FROM account WHERE id = $1";
                let rows = store.query(sql, vec![id(1, number).into()]).await;
                assert_eq!(rows.expect("a read succeeds").len(), 1);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    let rate = count.load(Ordering::Relaxed) as f64 / time.as_secs_f64();
    println!(
        "{askers:>5} askers:     {rate:>7.0} reads/s     {:.1} µs each for one asker",
        askers as f64 * 1e6 / rate
    );
}

fn sync_cost(dir: &Path) {
    use std::io::Write as _;
    let path = dir.join("sync");
    let mut file = std::fs::File::create(&path).expect("a file");
    let started = Instant::now();
    for _ in 0..200 {
        file.write_all(&[1; 4_096]).expect("written");
        file.sync_data().expect("synced");
    }
    println!("fdatasync of 4 KiB: {:?}", started.elapsed() / 200);
    let _ = std::fs::remove_file(path);
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(
        arguments
            .next()
            .unwrap_or_else(|| "/tmp/commit_rate".into()),
    );
    let seconds = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(5);
    let submitters: Option<u64> = arguments.next().and_then(|s| s.parse().ok());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let options = SqliteOptions::new(&dir, Arc::new(Fixed));
    let store = Sqlite::open(options, &[SCHEMA, STATE]).expect("the store opens");
    sync_cost(&dir);
    let store = Arc::new(store);
    let time = Duration::from_secs(seconds);
    runtime.block_on(async {
        accounts(&store).await;
        if let Some(count) = submitters {
            return commits(&store, count, time).await;
        }
        for count in [1, 8, 64, 256, 1_024] {
            commits(&store, count, time).await;
        }
        for count in [1, 8, 64] {
            reads(&store, count, time).await;
        }
    });
}
