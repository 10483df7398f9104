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

/// A database that can read and commit.
pub trait Executor: Send + Sync {
    /// Runs a reading statement on a snapshot that includes every commit acknowledged before the call.
    fn query(
        &self,
        sql: &'static str,
        params: Vec<Value>,
    ) -> BoxFuture<'_, Result<Vec<Row>, Fault>>;

    /// Submits a commit when called; answers when it is durable. First submitted, first applied.
    fn apply(&self, transaction: Transaction)
    -> BoxFuture<'static, Result<Committed, CommitError>>;

    /// When this answers, no file of the database holds bytes of rows that were deleted or replaced by commits acknowledged
    /// before the call.
    fn scrub(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// The head of the log as of the last durable commit.
    fn head(&self) -> watch::Receiver<Head>;

    /// As [`Log::fresh`](quivive_delivery::Log::fresh).
    fn fresh(&self, _after: u64, _limit: usize) -> Option<Vec<Arc<Stored>>> {
        None
    }
}
