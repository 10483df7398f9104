//! Rows that are worth nothing any more go, some in a commit, so that nobody waits long behind them.

use quivive_delivery::{CommitError, Fault, Log, Transaction, Write};

use crate::ports::Read;

/// Takes them away as long as there are any.
pub(crate) async fn forget<'a>(
    log: &dyn Log,
    are_some: impl Fn() -> Read<'a, bool>,
    take_some: impl Fn() -> Write,
) -> Result<(), Fault> {
    while are_some().await? {
        let transaction = Transaction {
            writes: vec![take_some()],
            records: Vec::new(),
        };
        match log.commit(transaction).await {
            Ok(_) => {}
            Err(CommitError::Fault(fault)) => return Err(fault),
            Err(CommitError::Missed(_)) => return Ok(()),
        }
    }
    Ok(())
}
