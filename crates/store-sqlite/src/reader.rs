//! The readers: a few threads, each with a connection that can only read, behind one bounded queue.
//!
//! **Guarantees.** A read sees every commit acknowledged before it was asked for: it begins its snapshot after it was
//! taken from the queue. It ends after [`READ_TIME`] at the latest and returns at most [`READ_ROWS`] rows. Who no longer
//! listens when its turn comes is skipped.
//!
//! **Not guaranteed.** Two reads see one snapshot, even when one task asks for them one after the other. A read that fails
//! says so to its caller alone; it acknowledges nothing, so it does not stop the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quivive_delivery::{Fault, Value};
use quivive_store::Row;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use crate::failure::StatementError;
use crate::halt::{Halt, OnPanic};
use crate::queue::Queue;
use crate::statements::{Prepared, Statements};

/// Reads that may wait. A point read takes microseconds, so this many are answered well within a request's patience.
pub(crate) const READ_QUEUE: usize = 1_024;

/// No statement of a request may hold a reader longer; two such would hold up all others.
pub(crate) const READ_TIME: Duration = Duration::from_secs(10);

/// More rows in one answer are a missing LIMIT, and would be held in memory all at once.
pub(crate) const READ_ROWS: usize = 1_000_000;

/// Virtual machine steps between two looks at the time: some microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// One read on its way.
pub(crate) struct Question {
    pub(crate) sql: &'static str,
    pub(crate) params: Vec<Value>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Row>, Fault>>,
}

/// Serves reads until the queue is closed and empty.
pub(crate) fn run(mut connection: Connection, queue: &Arc<Queue<Question>>, halt: &Arc<Halt>) {
    let _ending = Ending(queue);
    let timer = match Timer::install(&mut connection, READ_TIME) {
        Ok(timer) => timer,
        Err(error) => {
            halt.stop(&StatementError::Sqlite(error).describe("setting a reader's time limit"));
            queue.abandon();
            return;
        }
    };
    let mut statements = Statements::new(&connection);
    let mut taken = Vec::with_capacity(1);
    while queue.take(1, &mut taken) {
        let Some(question) = taken.pop() else {
            continue;
        };
        let _told = OnPanic {
            halt,
            why: "a reader panicked",
        };
        if question.answer.is_closed() {
            continue;
        }
        timer.start();
        let rows = read(&mut statements, question.sql, &question.params)
            .map_err(|error| fault(&error, question.sql));
        let _ = question.answer.send(rows);
    }
}

fn read(
    statements: &mut Statements<'_>,
    sql: &'static str,
    params: &[Value],
) -> Result<Vec<Row>, StatementError> {
    let prepared = statements.get(sql)?;
    if !prepared.only_reads() {
        return Err(StatementError::Misuse(format!("a query writes: {sql}")));
    }
    let rows = collect(prepared, params);
    prepared.finish();
    rows
}

fn collect(prepared: &mut Prepared<'_>, params: &[Value]) -> Result<Vec<Row>, StatementError> {
    let sql = prepared.sql();
    let columns = prepared.columns();
    let mut found = prepared.query(params)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        if rows.len() == READ_ROWS {
            let text = format!("more than {READ_ROWS} rows: {sql}");
            return Err(StatementError::Misuse(text));
        }
        let mut values = Row::with_capacity(columns);
        for column in 0..columns {
            values.push(owned(row.get_ref(column)?, column, sql)?);
        }
        rows.push(values);
    }
    Ok(rows)
}

fn owned(value: ValueRef<'_>, column: usize, sql: &str) -> Result<Value, StatementError> {
    let misuse = |what| StatementError::Misuse(format!("column {column} is {what}: {sql}"));
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Int(number)),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes)
            .map(|text| Value::from(text.to_owned()))
            .map_err(|_| misuse("not UTF-8")),
        ValueRef::Blob(bytes) => Ok(Value::Blob(bytes.to_vec())),
        ValueRef::Real(_) => Err(misuse("a float, which no table of ours holds")),
    }
}

/// A read never stops the store: what would, coming from the writer, is this caller's trouble here.
fn fault(error: &StatementError, sql: &str) -> Fault {
    let interrupted = matches!(error, StatementError::Sqlite(error)
        if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted));
    if interrupted {
        return Fault::Internal(format!("a read took longer than {READ_TIME:?}: {sql}"));
    }
    match error.fault(sql) {
        Fault::Stopped(text) => {
            tracing::error!(text, "a read failed");
            Fault::Internal(text)
        }
        other => other,
    }
}

/// Interrupts a statement that runs past its time.
struct Timer {
    epoch: Instant,
    limit: Duration,
    /// Microseconds after `epoch`.
    deadline_us: Arc<AtomicU64>,
}

impl Timer {
    fn install(connection: &mut Connection, limit: Duration) -> rusqlite::Result<Self> {
        let epoch = Instant::now();
        let deadline_us = Arc::new(AtomicU64::new(u64::MAX));
        let seen = Arc::clone(&deadline_us);
        let late = move || microseconds(epoch.elapsed()) > seen.load(Ordering::Relaxed);
        connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(late))?;
        Ok(Self {
            epoch,
            limit,
            deadline_us,
        })
    }

    /// Gives the next statement its time.
    fn start(&self) {
        let deadline_us = microseconds(self.epoch.elapsed() + self.limit);
        self.deadline_us.store(deadline_us, Ordering::Relaxed);
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A panic in one reader ends all reading: with fewer readers than thought, callers might wait for ever.
struct Ending<'a>(&'a Queue<Question>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quivive_delivery::Fault;
    use rusqlite::Connection;

    use super::{Timer, fault, read};
    use crate::statements::Statements;

    #[test]
    fn a_read_ends_when_its_time_is_over_and_the_next_has_its_own() {
        let endless =
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
        let mut connection = Connection::open_in_memory().unwrap();
        let timer = Timer::install(&mut connection, Duration::from_millis(20)).unwrap();
        let mut statements = Statements::new(&connection);
        for _ in 0..2 {
            timer.start();
            let error = read(&mut statements, endless, &[]).unwrap_err();
            let Fault::Internal(text) = fault(&error, endless) else {
                panic!("{error:?}");
            };
            assert!(text.starts_with("a read took longer than 10s"), "{text}");
            timer.start();
            assert_eq!(read(&mut statements, "SELECT 1", &[]).unwrap().len(), 1);
        }
    }
}
