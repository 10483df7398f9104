//! One commit, as one pipeline: `BEGIN`, its guarded writes, its events into `event_in`, `COMMIT`.
//!
//! **Guarantees.** Applied whole or not at all, and the answer says which write missed. The events are last, after every
//! lock of the commit: so those of one key are numbered in the order in which their commits went through.
//!
//! **Not guaranteed.** What became of a commit whose connection broke after it was sent: the answer is
//! [`Fault::Unreachable`], and it may be in the database all the same.

use quivive_delivery::log::Record;
use quivive_delivery::{CommitError, Expect, Transaction, Value, Write};
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

/// How often a commit is begun again that the server undid for another's sake.
const TRIES: u32 = 5;

/// A commit with its statements, ready to be sent.
pub(crate) struct Prepared {
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
        let insert = if transaction.records.is_empty() {
            None
        } else {
            let prepared = session.prepared(INSERT_EVENT, Form::Plain, 0).await;
            Some(prepared.map_err(|error| failure::fault(&error, INSERT_EVENT))?)
        };
        Ok(Self {
            writes,
            insert,
            records: transaction.records,
        })
    }

    /// Sends all of it when it is polled first.
    pub(crate) async fn run(&self, client: &Client) -> Result<(), CommitError> {
        let mut tries = 1;
        loop {
            let Err((index, error)) = pipeline::run(self.steps(client)).await else {
                return Ok(());
            };
            let write = index.checked_sub(1).filter(|at| *at < self.writes.len());
            match (Reach::of(&error), write) {
                (Reach::Guard, Some(write)) => return Err(CommitError::Missed(write)),
                (Reach::Again, _) if tries < TRIES => tries += 1,
                (_, write) => {
                    let doing = write.map_or("a commit", |at| self.writes[at].1.sql);
                    return Err(failure::fault(&error, doing).into());
                }
            }
        }
    }

    fn steps<'s>(&'s self, client: &'s Client) -> Vec<Step<'s>> {
        let mut steps: Vec<Step<'s>> =
            Vec::with_capacity(self.writes.len() + self.records.len() + 2);
        steps.push(Box::pin(client.batch_execute("BEGIN")));
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
