//! What PostgreSQL can do of a refresh: its statements, bare.

use std::time::Instant;

use futures_util::future::join_all;
use quivive_store_postgres::LANES;
use quivive_testkit::postgres::Database;
use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use crate::postgres::connect;
use crate::{LOAD, refreshes};

/// Tables like those of the server, in a schema of their own, with a person for each caller who has a session and a token.
const TABLES: &str = "DROP SCHEMA IF EXISTS bare CASCADE;
    CREATE SCHEMA bare;
    CREATE TABLE bare.account (LIKE public.account INCLUDING ALL);
    CREATE TABLE bare.session (LIKE public.session INCLUDING ALL);
    CREATE TABLE bare.refresh_token (LIKE public.refresh_token INCLUDING ALL);
    CREATE TABLE bare.global_rotation (LIKE public.global_rotation INCLUDING ALL);
    CREATE TABLE bare.open_attempt (LIKE public.open_attempt INCLUDING ALL);
    CREATE TABLE bare.event_in (LIKE public.event_in INCLUDING ALL);
    INSERT INTO bare.global_rotation VALUES (1, 0, 0);";

const PEOPLE: &str = "WITH person AS (SELECT decode(lpad(to_hex(n), 16, '0') || repeat('0', 16), 'hex') AS id, n \
        FROM generate_series(1, CAST($1 AS BIGINT)) AS n), \
    accounts AS (INSERT INTO bare.account SELECT id, n || '@example.org', n || '@example.org', NULL, 'en', 'active', 1, '', 1, 1, 1, \
        'user', 1, 0 FROM person), \
    sessions AS (INSERT INTO bare.session SELECT id, id, NULL, 1, 1, 1, 1, NULL, NULL, 1 FROM person) \
    INSERT INTO bare.refresh_token SELECT id, sha256(id), id, id, 0, 1, 1, 1, 1, 1 FROM person";

/// As the store has them, guards and all.
const READ: &str = "SELECT refresh_token.session, session.account, session.device, session.created_at, session.last_seen_at, \
    session.idle_until, session.expires_at, session.ended_at, account.email, account.email_canonical, account.display_name, \
    account.locale, account.state, account.verified_at, account.password, account.credential_epoch, account.security_version, \
    account.token_version, account.roles, account.created_at, (SELECT max(version) FROM global_rotation), \
    (SELECT version FROM global_rotation WHERE cut_off_at <= $1 ORDER BY version DESC LIMIT 1), refresh_token.hash, \
    refresh_token.family, refresh_token.generation, refresh_token.user_version, refresh_token.global_version, \
    refresh_token.proved_at, refresh_token.expires_at, refresh_token.used_at, refresh_token.used_by, refresh_token.successor, \
    refresh_token.successor_key, follower.used_at FROM refresh_token JOIN session ON session.id = refresh_token.session \
    JOIN account ON account.id = session.account LEFT JOIN refresh_token AS follower ON follower.id = refresh_token.successor \
    WHERE refresh_token.id = $2";
const NUMBER: &str = "SELECT CAST(pg_current_xact_id() AS TEXT)";
const OPEN: &str = "WITH touched AS (INSERT INTO open_attempt (workflow_id, kind, attempted_id, after_pos, deadline, waiting, \
    node) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING 1) \
    SELECT 1 / CAST(count(*) = CAST($8 AS BIGINT) AS INTEGER) FROM touched";
const EVENT: &str = "INSERT INTO event_in (id, type, version, key, priority, time, workflow_id, correlation_id, causation_id, \
    subject, actor_kind, actor_id, request_id, traceparent, context_key, context, body, personal_key, personal, digest) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)";
const CLOSE: &str = "WITH touched AS (DELETE FROM open_attempt WHERE workflow_id = $1 RETURNING 1) \
    SELECT 1 / CAST(count(*) = CAST($2 AS BIGINT) AS INTEGER) FROM touched";
const TOUCH: &str = "WITH touched AS (UPDATE session SET last_seen_at = $1, idle_until = $2, ip = $3 WHERE id = $4 \
    AND ended_at IS NULL RETURNING 1) SELECT 1 / CAST(count(*) = CAST($5 AS BIGINT) AS INTEGER) FROM touched";
const SPEND: &str = "WITH touched AS (UPDATE refresh_token SET used_at = $1, used_by = $2, successor = $3, successor_key = $4 \
    WHERE id = $5 AND used_at IS NULL RETURNING 1) SELECT 1 / CAST(count(*) = CAST($6 AS BIGINT) AS INTEGER) FROM touched";
const ADD: &str = "WITH touched AS (INSERT INTO refresh_token (id, hash, family, session, generation, user_version, \
    global_version, created_at, proved_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING \
    RETURNING 1) SELECT 1 / CAST(count(*) = CAST($11 AS BIGINT) AS INTEGER) FROM touched";

/// Refreshes a second, of as many callers at once as the server has, on as many connections as it commits on, durable and
/// pipelined: one read, the commit of the attempt (two statements) and that of the outcome (six). What becomes of the events
/// afterwards is not in it.
pub(crate) async fn rate(database: &Database) -> f64 {
    let client = connect(database).await;
    client.batch_execute(TABLES).await.unwrap();
    let callers = refreshes::CONNECTIONS as i64;
    client.execute(PEOPLE, &[&callers]).await.unwrap();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in 0..LANES {
        let client = connect(database).await;
        tasks.spawn(async move { commits(&client, lane, began).await });
    }
    let total: u64 = tasks.join_all().await.into_iter().sum();
    total as f64 / began.elapsed().as_secs_f64()
}

struct Statements {
    read: Statement,
    number: Statement,
    open: Statement,
    event: Statement,
    close: Statement,
    touch: Statement,
    spend: Statement,
    add: Statement,
}

impl Statements {
    async fn prepare(client: &Client) -> Self {
        client
            .batch_execute("SET search_path TO bare")
            .await
            .unwrap();
        let prepare = async |text| client.prepare(text).await.unwrap();
        Self {
            read: prepare(READ).await,
            number: prepare(NUMBER).await,
            open: prepare(OPEN).await,
            event: prepare(EVENT).await,
            close: prepare(CLOSE).await,
            touch: prepare(TOUCH).await,
            spend: prepare(SPEND).await,
            add: prepare(ADD).await,
        }
    }
}

/// Of the callers that one connection has: each next refresh of theirs is sent with the others'.
async fn commits(client: &Client, lane: usize, began: Instant) -> u64 {
    let statements = Statements::prepare(client).await;
    let callers: Vec<u64> = (1..=refreshes::CONNECTIONS as u64)
        .skip(lane)
        .step_by(LANES)
        .collect();
    let (mut round, mut count) = (0, 0);
    while began.elapsed() < LOAD / 2 {
        let all = callers
            .iter()
            .map(|caller| refresh(client, &statements, *caller, round));
        count += join_all(all).await.len() as u64;
        round += 1;
    }
    count
}

/// The first half of an id is the caller's.
fn id(caller: u64, number: u64) -> [u8; 16] {
    ((u128::from(caller) << 64) | u128::from(number)).to_be_bytes()
}

type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

async fn refresh(client: &Client, statements: &Statements, caller: u64, round: u64) {
    let Statements {
        read,
        number,
        open,
        event,
        close,
        touch,
        spend,
        add,
    } = statements;
    let [session, token, next, workflow] =
        [(0, 0), (0, round), (0, round + 1), (1, round)].map(|(kind, number)| {
            let number = number | (kind << 63);
            id(caller, number).to_vec()
        });
    let none = None::<&[u8]>;
    let (time, one, zero, text) = (
        round as i64,
        1_i64,
        0_i64,
        "018f0000-0000-7000-8000-000000000000",
    );
    let (body, context, digest) = (&[b'x'; 160][..], &[7_u8; 70][..], &[7_u8; 32][..]);
    let key = format!("account:{text}");
    let fact: Params<'_> = &[
        &workflow,
        &"token.refresh.succeeded",
        &one,
        &key,
        &one,
        &time,
        &workflow,
        &workflow,
        &none,
        &text,
        &"user",
        &session,
        &text,
        &None::<&str>,
        &text,
        &context,
        &body,
        &None::<&str>,
        &none,
        &digest,
    ];
    let which: Params<'_> = &[&time, &token];
    let opened: Params<'_> = &[
        &workflow,
        &"token.refresh.attempted",
        &workflow,
        &time,
        &time,
        &zero,
        &session,
        &one,
    ];
    let closed: Params<'_> = &[&workflow, &one];
    let touched: Params<'_> = &[&time, &time, &text, &session, &one];
    let spent: Params<'_> = &[&time, &session, &next, &text, &token, &one];
    let added: Params<'_> = &[
        &next, &digest, &session, &session, &time, &one, &one, &time, &time, &time, &one,
    ];
    // All of it is sent before the first is answered.
    let done = tokio::try_join!(
        biased;
        client.query_one(read, which),
        client.batch_execute("BEGIN"),
        client.query_one(number, &[]),
        client.query_one(open, opened),
        client.execute(event, fact),
        client.batch_execute("COMMIT"),
        client.batch_execute("BEGIN"),
        client.query_one(number, &[]),
        client.query_one(close, closed),
        client.query_one(touch, touched),
        client.query_one(spend, spent),
        client.query_one(add, added),
        client.execute(event, fact),
        client.execute(event, fact),
        client.batch_execute("COMMIT"),
    );
    done.unwrap();
}
