//! One server on a private PostgreSQL cluster that syncs as a real one does; and two servers, of which one is killed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use quivive_outbound::SystemClock;
use quivive_store::POSTGRES_MIGRATIONS;
use quivive_store_postgres::{LANES, Postgres, PostgresOptions};
use quivive_testkit::postgres::servers::SETTING;
use quivive_testkit::postgres::{Cluster, Database};
use quivive_testkit::{Nodes, Options, Server, nodes};
use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

use crate::{LOAD, Measure, cores, logins, median, refreshes};

/// Connections at once, each with an account of its own. One core hashes fewer than 64 a second: of so many that ask without
/// a pause a queue would stand, and be cut.
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
    logins::prepare(&server, 32).await;
    let mut measures = Vec::new();
    for (name, connections) in LOADS {
        measures.push(logins::load(&server, name, connections).await.0);
    }
    server.stop().await;
    measures
}

/// Against [`four_statements`].
pub(crate) async fn refreshes(binary: &Path) -> Option<Measure> {
    let database = Cluster::durable()?.database();
    let mut server = Server::start(binary, options(&database)).await;
    let tokens = refreshes::prepare(&server).await;
    let before = four_statements(&database).await;
    let rate = refreshes::rate(&server, tokens).await;
    let after = four_statements(&database).await;
    server.stop().await;
    let limit = f64::midpoint(before, after);
    Some(Measure::rate("pg-refresh", rate, "refreshes/s", limit))
}

async fn connect(database: &Database) -> Client {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls)
        .await
        .unwrap();
    drop(quivive_delivery::tasks::Tasks::new().spawn(async move {
        let _ = connection.await;
    }));
    client
}

/// The four statements of a refresh (a read, two updates, an insert) in a transaction of their own, a second: as many at once as
/// there are callers, pipelined on as many connections as the server commits on, and durable.
async fn four_statements(database: &Database) -> f64 {
    let client = connect(database).await;
    client
        .batch_execute(
            "DROP TABLE IF EXISTS bare_session, bare_token;
             CREATE TABLE bare_session (id BIGINT PRIMARY KEY, seen BIGINT, ended BIGINT);
             CREATE TABLE bare_token (id BIGINT PRIMARY KEY, hash BYTEA, family BYTEA, session BIGINT, used BIGINT, \
                successor BIGINT, expires BIGINT);
             INSERT INTO bare_session SELECT s, 0, NULL FROM generate_series(0, 63) AS s;
             INSERT INTO bare_token SELECT 1000000 * (s + 1), sha256(''), decode(repeat('07', 16), 'hex'), s, NULL, NULL, 0 \
                FROM generate_series(0, 63) AS s",
        )
        .await
        .unwrap();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in 0..LANES {
        let client = connect(database).await;
        tasks.spawn(async move { commits(&client, lane, began).await });
    }
    let total: u64 = tasks.join_all().await.into_iter().sum();
    total as f64 / began.elapsed().as_secs_f64()
}

type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

/// Of the callers that one connection has: each next commit of theirs is sent with the others'.
async fn commits(client: &Client, lane: usize, began: Instant) -> u64 {
    let read = "SELECT t.hash, t.used, s.ended FROM bare_token t JOIN bare_session s ON s.id = t.session WHERE t.id = $1";
    let read = client.prepare(read).await.unwrap();
    let see = "UPDATE bare_session SET seen = $2 WHERE id = $1 AND ended IS NULL";
    let see = client.prepare(see).await.unwrap();
    let spend = "UPDATE bare_token SET used = $2, successor = $3 WHERE id = $1 AND used IS NULL";
    let spend = client.prepare(spend).await.unwrap();
    let add = "INSERT INTO bare_token VALUES ($1, $2, $3, $4, NULL, NULL, 0)";
    let add = client.prepare(add).await.unwrap();
    let callers: Vec<_> = (0..refreshes::CONNECTIONS)
        .skip(lane)
        .step_by(LANES)
        .collect();
    let (mut round, mut count) = (0, 0);
    while began.elapsed() < LOAD / 2 {
        let commit = |session: &usize| {
            let session = *session as i64;
            let token = 1_000_000 * (session + 1) + round;
            let (read, see, spend, add) = (&read, &see, &spend, &add);
            async move {
                let (next, used, hash, family) =
                    (token + 1, 1_i64, &[7_u8; 32][..], &[7_u8; 16][..]);
                let which: Params<'_> = &[&token];
                let seen: Params<'_> = &[&session, &token];
                let rotated: Params<'_> = &[&token, &used, &next];
                let added: Params<'_> = &[&next, &hash, &family, &session];
                // All of it is sent before the first is answered.
                let done = tokio::try_join!(
                    biased;
                    client.batch_execute("BEGIN"),
                    client.query_one(read, which),
                    client.execute(see, seen),
                    client.execute(spend, rotated),
                    client.execute(add, added),
                    client.batch_execute("COMMIT"),
                );
                let ((), _, first, second, third, ()) = done.unwrap();
                assert_eq!((first, second, third), (1, 1, 1));
            }
        };
        count += join_all(callers.iter().map(commit)).await.len() as u64;
        round += 1;
    }
    count
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

/// A backlog is given its positions by a server that starts; against [`COPY`].
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
        let options = PostgresOptions::new(&database.url(), None, Arc::new(SystemClock)).unwrap();
        let began = Instant::now();
        // It does not open before all have their positions.
        let store = Postgres::open(options, POSTGRES_MIGRATIONS).await.unwrap();
        values.push(WAITING as f64 / began.elapsed().as_secs_f64());
        store.close().await;
    }
    let [value, limit] = [values, limits].map(median);
    Some(Measure::rate("pg-sequencer", value, "events/s", limit))
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
