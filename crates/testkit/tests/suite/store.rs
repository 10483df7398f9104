//! The store's conformance suite on every backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quivive_delivery::{Clock, Time, Value};
use quivive_store::{Dialect, Executor as _, POSTGRES_MIGRATIONS, SQLITE_MIGRATIONS};
use quivive_store_postgres::{Postgres, PostgresOptions};
use quivive_store_sqlite::{Sqlite, SqliteOptions};
use quivive_testkit::postgres::Cluster;
use quivive_testkit::store_suite::{self, Backend};

struct Still;

impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_second(1_800_000_000).expect("a time")
    }
}

/// A directory of its own, removed with it.
pub(crate) struct Directory(pub(crate) std::path::PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quivive-store-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sqlite() -> (Arc<Sqlite>, Directory) {
    let directory = Directory::new();
    let options = SqliteOptions::new(&directory.0, Arc::new(Still));
    let store = Sqlite::open(options, SQLITE_MIGRATIONS).expect("a fresh database");
    (Arc::new(store), directory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_passes_the_suite() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    store_suite::run(|| async {
        let cluster = Arc::clone(&cluster);
        let made = tokio::task::spawn_blocking(move || cluster.database());
        let database = made.await.expect("a database");
        let options = PostgresOptions::new(&database.url(), None, Arc::new(Still)).expect("a URL");
        let store = Postgres::open(options, POSTGRES_MIGRATIONS).await;
        Backend {
            executor: Arc::new(store.expect("a fresh database")),
            keep: Box::new(database),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_passes_the_suite() {
    store_suite::run(|| async {
        let (store, directory) = sqlite();
        Backend {
            executor: store,
            keep: Box::new(directory),
        }
    })
    .await;
}

/// Statements that may look at all rows of something, or sort: what the plan says, and why that is fine.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "accounts::ADMINISTRATORS",
        "INDEX account_privileged",
        "only accounts with more than the default role",
    ),
    (
        "api_keys::LIST",
        "SCAN api_key",
        "the newest ones, by their own key, for an administrator who looks",
    ),
    (
        "custom_events::ALL",
        "SCAN event_schema",
        "a thousand at most, at the start and when an administrator changes or lists them",
    ),
    (
        "attempts::ABANDONED",
        "SCAN open_attempt",
        "a row for each attempt under way",
    ),
    (
        "retention::FLOOR",
        "SCAN",
        "rows for subscribers, keys in trouble and attempts under way; asked once a run",
    ),
    ("retention::NEWEST", "SCAN archive", "from its end, one row"),
    (
        "sessions::REFRESH_TOKEN",
        "SCAN global_rotation",
        "from the last one down to the first whose grace is over: a rotation or two",
    ),
    (
        "sessions::VIEW",
        "SCAN global_rotation",
        "from the last one down to the first whose grace is over: a rotation or two",
    ),
    (
        "sessions::GLOBAL_VERSION",
        "SCAN global_rotation",
        "from the last one down to the first whose grace is over: a rotation or two",
    ),
    (
        "sessions::OPEN_OF",
        "USE TEMP B-TREE FOR ORDER BY",
        "an account has ten open sessions at most",
    ),
    (
        "sessions::LIST",
        "USE TEMP B-TREE FOR ORDER BY",
        "an account has ten open sessions at most",
    ),
    (
        "subscriptions::DEAD_LETTER_GROUPS",
        "SCAN lane",
        "a row for each key in trouble, when an operator looks",
    ),
    (
        "subscriptions::DEAD_LETTER_GROUPS",
        "USE TEMP B-TREE FOR GROUP BY",
        "a group for each subscriber, class and type",
    ),
    (
        "subscriptions::LOAD",
        "SCAN subscription",
        "a row for each subscriber of the program",
    ),
    (
        "subscriptions::LANE_COUNTS",
        "SCAN lane",
        "a row for each key in trouble; asked where several nodes share a database, which is not this one",
    ),
    (
        "subscriptions::LANE_COUNTS",
        "USE TEMP B-TREE FOR GROUP BY",
        "two groups for each subscriber",
    ),
    ("nodes::LIVING", "SCAN node", "a handful of nodes"),
    (
        "nodes::LEASES",
        "SCAN lease",
        "a row for each subscription; empty on this database",
    ),
    (
        "subject_keys::DESTROYED",
        "SCAN subject_key",
        "at the start; empty on this database",
    ),
    (
        "subscriptions::REPLAYS",
        "SCAN replay",
        "a row for each replay under way, at the start",
    ),
    (
        "subscriptions::OLDEST",
        "SCAN lane",
        "a row for each key in trouble; asked every few seconds, while there are any",
    ),
    (
        "subscriptions::OLDEST",
        "USE TEMP B-TREE FOR GROUP BY",
        "two groups for each subscriber",
    ),
    (
        "webhooks::ALL",
        "SCAN webhook_endpoint",
        "a thousand at most; read at a start, and for administrators",
    ),
    (
        "log::OF_KEYS",
        "SCAN json_each",
        "the keys themselves; the log has no index by key",
    ),
    ("log::AT", "SCAN json_each", "the positions themselves"),
    (
        "accounts::TAKEN",
        "SCAN json_each",
        "the addresses of a group of an import",
    ),
    (
        "accounts::THOSE_THERE",
        "SCAN json_each",
        "the ids themselves, at the start",
    ),
];

/// A plan that scans a table or sorts in a temporary tree is a missing index, or one that no longer fits its statement.
#[tokio::test]
async fn sqlite_finds_its_rows_by_keys() {
    let (store, _directory) = sqlite();
    for (file, name, sql) in quivive_store::statements(Dialect::Sqlite) {
        if !sql.starts_with("SELECT") {
            continue;
        }
        let highest = (1..=20).rev().find(|n| sql.contains(&format!("${n}")));
        let params = vec![Value::Null; highest.unwrap_or(0)];
        let explain = String::leak(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan = store.query(explain, params).await.expect("a plan");
        let name = format!("{file}::{name}");
        for step in plan {
            let Some(Value::Text(step)) = step.last() else {
                panic!("{name}: {step:?}");
            };
            let fine = ALLOWED
                .iter()
                .any(|(which, what, _)| *which == name && step.contains(what));
            // The one row of a statement that asks for no table itself, and the few of a page.
            let few = ["SCAN CONSTANT ROW", "SCAN page"].contains(&&**step);
            let scans = step.starts_with("SCAN") && !few;
            let searches = !scans && !step.contains("TEMP B-TREE");
            assert!(fine || searches, "{name}: {step}");
        }
    }
}
