//! One seeded workload gives one history on SQLite and on PostgreSQL.
//!
//! Two servers without a network, one on each database: the same kernel, clock, ids, keys and choices, all from the seed. They
//! take each step together, and what it gave is compared whole: the answer, every event in the order of its position, and
//! what people and operators are shown. At the end every row of every table is.
//!
//! Nothing is normalised; `event_in` is PostgreSQL's alone and is not looked at. Positions and the chain are the same too, for a
//! step is at rest before the next one begins.
//!
//! `QUIVIVE_TEST_SEEDS` is how many seeds are run, `QUIVIVE_TEST_SEED` the first of them, `QUIVIVE_TEST_STEPS` the steps of each.

mod driver;
mod look;
mod machine;
mod operators;
mod people;
mod sessions;

use std::collections::BTreeSet;
use std::sync::Arc;

use quivive_store_postgres::{Postgres, PostgresOptions};
use quivive_store_sqlite::{Sqlite, SqliteOptions};
use quivive_testkit::postgres::{self, Cluster};

use crate::store::Directory;
use driver::Driver;
use machine::Machine;

/// What a workload must have met, in every run of the seeds that there are: else it compares less than it says.
const MET: &[&str] = &[
    "user.registration.failed",
    "user.email_verification.succeeded",
    "user.login.succeeded",
    "user.lock.succeeded",
    "user.unlock.succeeded",
    "token.reuse_detected",
    "user.password_reset_confirm.succeeded",
    "user.email_change.succeeded",
    "user.email_change.failed",
    "user.email_change_reversal.succeeded",
    "user.erasure.succeeded",
    "session.evicted",
    "session.expired",
    "session.revocation.succeeded",
    "token.global_rotation.succeeded",
    "token.user_rotation.succeeded",
    "api_key.creation.succeeded",
    "api_key.revocation.succeeded",
    "operator.event_schema_registration.succeeded",
    "custom.order",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_seed_gives_one_history() {
    let Some(cluster) = Cluster::shared() else {
        return;
    };
    let first = asked("QUIVIVE_TEST_SEED", 1);
    let seeds = asked("QUIVIVE_TEST_SEEDS", 3);
    let steps = asked("QUIVIVE_TEST_STEPS", 200);
    let mut met = BTreeSet::new();
    for seed in first..first + seeds {
        met.append(&mut compared(&cluster, seed, steps).await);
    }
    let unmet: Vec<_> = MET.iter().filter(|kind| !met.contains(**kind)).collect();
    assert!(
        unmet.is_empty(),
        "no seed came to {unmet:?}; it came to {met:#?}"
    );
}

/// Runs both and compares them; the types of the events that there were.
async fn compared(cluster: &Arc<Cluster>, seed: u64, steps: u64) -> BTreeSet<String> {
    let (here, _directory) = on_sqlite(seed);
    let (there, _database) = on_postgres(cluster, seed).await;
    let mut drivers = (
        Driver::new(here, seed).await,
        Driver::new(there, seed).await,
    );
    for step in 1..=steps {
        let told = tokio::join!(drivers.0.step(), drivers.1.step());
        same(seed, step, &told.0, &told.1);
    }
    let (sqlite, postgres) = drivers;
    let tables = sqlite.machine.tables().await;
    let rows = (
        sqlite.machine.rows(&tables).await,
        postgres.machine.rows(&tables).await,
    );
    same(seed, steps + 1, &rows.0, &rows.1);
    sqlite.met
}

/// The first line in which they differ, and what came before it in this step.
fn same(seed: u64, step: u64, sqlite: &[String], postgres: &[String]) {
    let at = sqlite.iter().zip(postgres).take_while(|(a, b)| a == b);
    let at = at.count();
    if at == sqlite.len() && at == postgres.len() {
        return;
    }
    let line = |lines: &[String]| {
        lines
            .get(at)
            .cloned()
            .unwrap_or_else(|| "nothing".to_owned())
    };
    panic!(
        "seed {seed}, step {step}: {:#?}\n  SQLite says     {}\n  PostgreSQL says {}",
        &sqlite[..at.min(1)],
        line(sqlite),
        line(postgres)
    );
}

fn on_sqlite(seed: u64) -> (Machine, Directory) {
    let directory = Directory::new();
    let machine = Machine::new(seed, |clock| {
        let options = SqliteOptions::new(&directory.0, clock);
        let store = Sqlite::open(options, quivive_store::SQLITE_MIGRATIONS);
        async { Arc::new(store.expect("a fresh database")) as _ }
    });
    (
        futures_util::FutureExt::now_or_never(machine).expect("it waits for nothing"),
        directory,
    )
}

async fn on_postgres(cluster: &Arc<Cluster>, seed: u64) -> (Machine, postgres::Database) {
    let cluster = Arc::clone(cluster);
    let made = tokio::task::spawn_blocking(move || cluster.database());
    let database = made.await.expect("a database");
    let url = database.url();
    let machine = Machine::new(seed, |clock| async move {
        let options = PostgresOptions::new(&url, None, clock).expect("a URL");
        let store = Postgres::open(options, quivive_store::POSTGRES_MIGRATIONS).await;
        Arc::new(store.expect("a fresh database")) as _
    });
    (machine.await, database)
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long the tests run is no configuration of a server"
)]
fn asked(name: &str, unless: u64) -> u64 {
    let asked = std::env::var(name).ok();
    asked.map_or(unless, |text| text.parse().expect(name))
}
