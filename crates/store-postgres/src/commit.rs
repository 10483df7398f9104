//! One commit, as one pipeline: `BEGIN`, its guarded writes, its events into `event_in`, `COMMIT`.
//!
//! **Guarantees.** Applied whole or not at all, and the answer says which write missed. The events are last, after every
//! lock of the commit: so those of one key are numbered in the order in which their commits went through.
//!
//! **When the connection breaks** after a commit was sent, nobody was told what became of it. Its number in the database
//! comes back before its `COMMIT` is carried out; with that another connection asks ([`fate`]).
//!
//! **Not guaranteed.** What became of a commit whose number did not come back, whose server stays away, or from whose server
//! another has taken over, for the new one may have given the number to another commit: the answer is
//! [`Fault::Unreachable`], and it may be in the database all the same.

use std::sync::OnceLock;

use quivive_delivery::log::Record;
use quivive_delivery::{CommitError, Expect, Fault, Transaction, Value, Write};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use crate::failure::{self, Reach};
use crate::pipeline::{self, Step};
use crate::session::{Form, Session};
use crate::value::Bound;

/// One row of `event_in`.
const INSERT_EVENT: &str = "INSERT INTO event_in (id, type, version, key, priority, time, workflow_id, correlation_id, \
    causation_id, subject, actor_kind, actor_id, request_id, traceparent, context_key, context, body, personal_key, personal, \
    digest) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)";

/// The number of the transaction. `pg_xact_status` knows it for long after.
const NUMBER: &str = "SELECT CAST(pg_current_xact_id() AS TEXT)";

/// What became of it. The message, which nobody reads, makes the answer wait for what commits wait for: a commit that was
/// waiting for a standby when its server crashed counts as committed after that, and the standby may not have it yet.
const FATE: &str = "SELECT pg_xact_status(CAST(CAST($1 AS TEXT) AS xid8)), pg_logical_emit_message(true, 'quivive', '')";

/// Statements of a commit before its writes: `BEGIN` and its number.
const BEFORE: usize = 2;

/// How often a commit is begun again that the server undid for another's sake.
const TRIES: u32 = 10;

/// Why a commit is not known to have happened.
pub(crate) enum Broken {
    /// It has not.
    Undone(CommitError),
    /// It may have: the connection broke. With its number, as far as that came back.
    InDoubt(Option<String>, Fault),
}

/// A commit with its statements, ready to be sent.
pub(crate) struct Prepared {
    number: Statement,
    writes: Vec<(Statement, Write, Option<Value>)>,
    insert: Option<Statement>,
    records: Vec<Record>,
}

impl Prepared {
    /// A write that is no statement of this database is an error that names it.
    pub(crate) async fn new(
        session: &Session,
        transaction: Transaction,
    ) -> Result<Self, CommitError> {
        let mut writes = Vec::with_capacity(transaction.writes.len());
        for write in transaction.writes {
            let (form, expected) = match write.expect {
                Expect::Any => (Form::Plain, None),
                Expect::Rows(rows) => (Form::Guarded, Some(Value::Int(rows.cast_signed()))),
            };
            let prepared = session.prepared(write.sql, form, write.params.len()).await;
            let statement = prepared.map_err(|error| failure::fault(&error, write.sql))?;
            writes.push((statement, write, expected));
        }
        let prepared = session.prepared(NUMBER, Form::Plain, 0).await;
        let number = prepared.map_err(|error| failure::fault(&error, NUMBER))?;
        let insert = if transaction.records.is_empty() {
            None
        } else {
            let prepared = session.prepared(INSERT_EVENT, Form::Plain, 0).await;
            Some(prepared.map_err(|error| failure::fault(&error, INSERT_EVENT))?)
        };
        Ok(Self {
            writes,
            number,
            insert,
            records: transaction.records,
        })
    }

    /// Sends all of it when it is polled first.
    pub(crate) async fn run(&self, client: &Client) -> Result<(), Broken> {
        let mut tries = 1;
        loop {
            let number = OnceLock::new();
            let Err((index, error)) = pipeline::run(self.steps(client, &number)).await else {
                return Ok(());
            };
            let write = index
                .checked_sub(BEFORE)
                .filter(|at| *at < self.writes.len());
            let doing = write.map_or("a commit", |at| self.writes[at].1.sql);
            let undone = match (Reach::of(&error), write) {
                (Reach::Guard, Some(write)) => CommitError::Missed(write),
                (Reach::Again, _) if tries < TRIES => {
                    tries += 1;
                    continue;
                }
                (Reach::Away, _) => {
                    let fault = failure::fault(&error, doing);
                    return Err(Broken::InDoubt(number.into_inner(), fault));
                }
                _ => failure::fault(&error, doing).into(),
            };
            return Err(Broken::Undone(undone));
        }
    }

    fn steps<'s>(&'s self, client: &'s Client, number: &'s OnceLock<String>) -> Vec<Step<'s>> {
        let count = BEFORE + self.writes.len() + self.records.len() + 1;
        let mut steps: Vec<Step<'s>> = Vec::with_capacity(count);
        steps.push(Box::pin(client.batch_execute("BEGIN")));
        steps.push(Box::pin(async {
            let row = client.query_one(&self.number, &[]).await?;
            let _ = number.set(row.try_get(0)?);
            Ok(())
        }));
        for (statement, write, expected) in &self.writes {
            let params = write.params.iter().chain(expected).map(Bound).collect();
            steps.push(Box::pin(execute(client, statement, params)));
        }
        for (record, statement) in self.records.iter().zip(self.insert.iter().cycle()) {
            steps.push(Box::pin(insert(client, statement, record)));
        }
        steps.push(Box::pin(client.batch_execute("COMMIT")));
        steps
    }
}

/// What became of a commit, as another connection sees it: `Some(true)` when it happened. `None`: it is still under way, or
/// nobody knows any more.
pub(crate) async fn fate(session: &Session, number: &str) -> Result<Option<bool>, Fault> {
    let failed = |error: Error| failure::fault(&error, FATE);
    let statement = session
        .prepared(FATE, Form::Plain, 1)
        .await
        .map_err(failed)?;
    let row = session.client.query_one(&statement, &[&number]).await;
    let status: Option<String> = row.and_then(|row| row.try_get(0)).map_err(failed)?;
    Ok(match status.as_deref() {
        Some("committed") => Some(true),
        Some("aborted") => Some(false),
        _ => None,
    })
}

async fn execute(
    client: &Client,
    statement: &Statement,
    params: Vec<Bound<'_>>,
) -> Result<(), Error> {
    let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(|p| p as _).collect();
    client.execute(statement, &params).await.map(|_| ())
}

/// The record's bytes are bound where they lie.
async fn insert(client: &Client, statement: &Statement, record: &Record) -> Result<(), Error> {
    let envelope = record.envelope();
    let (context, personal) = (record.context(), record.personal());
    let columns: [&(dyn ToSql + Sync); 20] = [
        &&envelope.id.as_bytes()[..],
        &envelope.kind.as_str(),
        &i64::from(envelope.version),
        &envelope.key.as_str(),
        &(envelope.priority as i64),
        &envelope.time.as_microsecond(),
        &&envelope.workflow_id.as_bytes()[..],
        &&envelope.correlation_id.as_bytes()[..],
        &envelope.causation_id.as_ref().map(|id| &id.as_bytes()[..]),
        &envelope.subject.as_deref(),
        &&*envelope.actor.kind,
        &envelope.actor.id.as_ref().map(|id| &id.as_bytes()[..]),
        &envelope.request_id.as_deref(),
        &envelope.traceparent.as_deref(),
        &context.map(|sealed| sealed.key.as_str()),
        &context.map(|sealed| sealed.bytes.as_slice()),
        &record.body(),
        &personal.map(|sealed| sealed.key.as_str()),
        &personal.map(|sealed| sealed.bytes.as_slice()),
        &&record.digest()[..],
    ];
    client.execute(statement, &columns).await.map(|_| ())
}
