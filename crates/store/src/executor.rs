//! The two verbs a database must have. Everything else in this crate is SQL text over them.
//!
//! A backend adds nothing but these; where two backends must differ, a statement is a named pair and says why.

use std::sync::Arc;

use quivive_delivery::{
    BoxFuture, CommitError, Committed, Fault, Head, Stored, Transaction, Value,
};
use tokio::sync::watch;

/// One row, columns in the order of the statement. [`Value::Id`] and [`Value::Digest`] come back as [`Value::Blob`].
pub type Row = Vec<Value>;

/// Which words a database understands where two differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement that the databases must be told in different words.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

impl Pair {
    pub fn of(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// A database that can read and commit.
pub trait Executor: Send + Sync {
    /// The words it understands.
    fn dialect(&self) -> Dialect;

    /// Runs a reading statement on a snapshot that includes every commit acknowledged before the call.
    fn query(
        &self,
        sql: &'static str,
        params: Vec<Value>,
    ) -> BoxFuture<'_, Result<Vec<Row>, Fault>>;

    /// As [`Log::commit`](quivive_delivery::Log::commit).
    fn apply(&self, transaction: Transaction)
    -> BoxFuture<'static, Result<Committed, CommitError>>;

    /// When this answers, no file that is this store's own holds bytes of rows that were deleted or replaced by commits
    /// acknowledged before the call. The files of a server are not: PostgreSQL keeps such bytes until it vacuums and recycles
    /// its log.
    fn scrub(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// As [`Log::head`](quivive_delivery::Log::head).
    fn head(&self) -> watch::Receiver<Head>;

    /// As [`Log::settled`](quivive_delivery::Log::settled).
    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// As [`Log::confirmed`](quivive_delivery::Log::confirmed).
    fn confirmed(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// As [`Log::fresh`](quivive_delivery::Log::fresh).
    fn fresh(&self, _after: u64, _limit: usize) -> Option<Vec<Arc<Stored>>> {
        None
    }
}
