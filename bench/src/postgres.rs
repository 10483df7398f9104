//! One server on a private PostgreSQL cluster that syncs as a real one does; and two servers, of which one is killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quivive_outbound::SystemClock;
use quivive_store::POSTGRES_MIGRATIONS;
use quivive_store_postgres::{Postgres, PostgresOptions};
use quivive_testkit::postgres::servers::SETTING;
use quivive_testkit::postgres::{Cluster, Database};
use quivive_testkit::{Nodes, Options, Server, nodes};
use tokio_postgres::{Client, NoTls};

use crate::{Measure, cores, logins, median, refresh_statements, refreshes};

/// Connections at once, each with an account of its own.
const LOADS: [(&str, usize); 3] = [("pg-login-1", 1), ("pg-login-16", 16), ("pg-login-32", 32)];

/// Events that wait for their positions.
const WAITING: i64 = 50_000;

/// As many as the sequencer gives positions in one commit.
const ROUND: i64 = 1_000;

/// Times that a node is killed.
const TURNS: usize = 3;

/// For a killed node's work to be done by the other, at the most.
const TAKE_OVER: Duration = Duration::from_secs(20);

fn options(database: &Database) -> Options {
    Options::unlimited()
        .env("QUIVIVE__LOG__LEVEL", "warn")
        .env(SETTING, &database.url())
}

/// Moves this program, and what it starts from now on, to some cores; whether there are such, and a program that does it.
fn moved(cores: &str) -> bool {
    let id = std::process::id().to_string();
    let mut command = Command::new("taskset");
    command
        .args(["-a", "-c", "-p", cores, &id])
        .stdout(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Against the bare rate of the hashes. A server's database is another machine's as a rule: so the server has a core, and the
/// database and the callers another, where there are two. `None`: PostgreSQL is not installed.
pub(crate) async fn logins(binary: &Path) -> Option<Vec<Measure>> {
    let all = format!("0-{}", cores() - 1);
    let is_apart = cores() > 1 && moved("1");
    let cluster = Cluster::durable();
    let measures = match &cluster {
        Some(cluster) => Some(logins_on(cluster, binary, is_apart).await),
        None => None,
    };
    if is_apart {
        assert!(moved(&all), "back to all cores");
    }
    measures
}

async fn logins_on(cluster: &Arc<Cluster>, binary: &Path, is_apart: bool) -> Vec<Measure> {
    let database = cluster.database();
    let mut options = options(&database);
    if is_apart {
        options.wrap = ["taskset", "-c", "0"].map(str::to_owned).to_vec();
    }
    let mut server = Server::start(binary, options).await;
    let people = LOADS.map(|(_, connections)| connections).into_iter().max();
    logins::prepare(&server, people.unwrap_or_default()).await;
    let mut measures = Vec::new();
    for (name, connections) in LOADS {
        measures.push(logins::load(&server, name, connections).await.0);
    }
    server.stop().await;
    measures
}

/// Against the bare rate of its statements.
pub(crate) async fn refreshes(binary: &Path) -> Option<Measure> {
    let database = Cluster::durable()?.database();
    let mut server = Server::start(binary, options(&database)).await;
    let tokens = refreshes::prepare(&server).await;
    let before = refresh_statements::rate(&database).await;
    let rate = refreshes::rate(&server, tokens).await;
    let after = refresh_statements::rate(&database).await;
    server.stop().await;
    let limit = f64::midpoint(before, after);
    Some(Measure::rate("pg-refresh", rate, "refreshes/s", limit))
}

pub(crate) async fn connect(database: &Database) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls)
        .await
        .unwrap();
    drop(quivive_delivery::tasks::Tasks::new().spawn(async move {
        let _ = connection.await;
    }));
    client
}

/// Fills `event_in` with events of common size.
const FILL: &str = "INSERT INTO event_in (id, type, version, key, priority, time, workflow_id, correlation_id, subject, \
    actor_kind, body, context_key, context, digest) \
    SELECT substr(sha256(CAST(CAST(n AS TEXT) AS BYTEA)), 1, 16), 'session.refresh.succeeded', 1, 'account:' || n % 1000, 1, n, \
    substr(sha256('w'), 1, 16), substr(sha256('c'), 1, 16), CAST(n % 1000 AS TEXT), 'user', \
    CAST(repeat('x', 250) AS BYTEA), 'm:2026-11', CAST(repeat('y', 150) AS BYTEA), sha256('d') \
    FROM generate_series(1, CAST($1 AS BIGINT)) AS n";

/// The same rows copied by nothing but statements of the sequencer's size, each a commit.
const COPY: &str = "INSERT INTO bare_event SELECT seq, 1, id, type, version, key, priority, time, 1, workflow_id, \
    correlation_id, causation_id, subject, actor_kind, actor_id, request_id, traceparent, context_key, context, body, \
    personal_key, personal, digest FROM event_in WHERE seq > $1 AND seq <= $1 + $2";

/// A backlog is given its positions by a server that starts, less what a start takes without one; against [`COPY`].
pub(crate) async fn sequencer() -> Option<Measure> {
    let database = Cluster::durable()?.database();
    let client = connect(&database).await;
    let (mut values, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        client.execute(FILL, &[&WAITING]).await.unwrap();
        for sql in [
            "VACUUM ANALYZE event_in",
            "DROP TABLE IF EXISTS bare_event",
            "CREATE TABLE bare_event (LIKE event INCLUDING ALL)",
        ] {
            client.batch_execute(sql).await.unwrap();
        }
        let first = client
            .query_one("SELECT MIN(seq) - 1 FROM event_in", &[])
            .await;
        let mut at: i64 = first.unwrap().get(0);
        let (began, mut copied) = (Instant::now(), 0);
        while copied < WAITING as u64 {
            copied += client.execute(COPY, &[&at, &ROUND]).await.unwrap();
            at += ROUND;
        }
        limits.push(WAITING as f64 / began.elapsed().as_secs_f64());
        let with_all = opened(&database).await;
        let with_none = opened(&database).await;
        values.push(WAITING as f64 / (with_all - with_none));
    }
    let [value, limit] = [values, limits].map(median);
    Some(Measure::rate("pg-sequencer", value, "events/s", limit))
}

/// Seconds until it is open, which it is not before all that wait have their positions.
async fn opened(database: &Database) -> f64 {
    let options = PostgresOptions::new(&database.url(), None, Arc::new(SystemClock)).unwrap();
    // Who opens waits until the connections of a store before have ended.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    let store = Postgres::open(options, POSTGRES_MIGRATIONS).await.unwrap();
    let took = began.elapsed().as_secs_f64();
    store.close().await;
    took
}

/// Seconds from the death of a node until everything that it had is somebody's who lives.
pub(crate) async fn take_over(binary: &Path) -> Option<Measure> {
    let cluster = Cluster::durable()?;
    let quiet = || Options::unlimited().env("QUIVIVE__LOG__LEVEL", "warn");
    let mut nodes = Nodes::start(&cluster, binary, quiet).await;
    let mut all = Vec::new();
    for turn in 0..TURNS {
        nodes.settled().await;
        nodes.nth_mut(turn).kill().await;
        let began = Instant::now();
        let elsewhere = format!(
            "SELECT count(*) FROM lease LEFT JOIN node ON node.id = lease.node \
             WHERE node.place IS DISTINCT FROM '\\x{}'",
            nodes::place(nodes.nth(turn + 1))
        );
        nodes.until(&elsewhere, "0", TAKE_OVER * 2).await;
        all.push(began.elapsed().as_secs_f64());
        nodes.nth_mut(turn).restart().await;
    }
    Some(Measure::rate(
        "pg-take-over",
        median(all),
        "s",
        TAKE_OVER.as_secs_f64(),
    ))
}
