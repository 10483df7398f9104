//! Sessions whose time is over: a sweeper ends them, for nobody asks for what has expired. They are refused from that moment
//! on; this says so in the log, once.

use futures_util::future::try_join_all;
use quivive_delivery::{CommitError, Fault};
use quivive_domain::session::Session;

use crate::facts::SessionExpired;
use crate::kernel::{Kernel, Subject};

/// Looked at together, so that they share a sync.
const BATCH: u32 = 256;

/// Batches of a sweep. What is left waits for the next one, so that a server that was off for a month neither starves its
/// writer nor stops late.
const BATCHES: u32 = 16;

/// Ends those whose time is over, as far as one sweep goes.
pub(crate) async fn expire(kernel: &Kernel) -> Result<(), Fault> {
    let families = kernel.families();
    for _ in 0..BATCHES {
        let due = families.sessions.due(families.clock.now(), BATCH).await?;
        try_join_all(due.iter().map(|session| look_at(kernel, session))).await?;
        if due.len() < BATCH as usize {
            break;
        }
    }
    Ok(())
}

/// Ends it if its time is over; one that went on is looked at again. What another ended meanwhile has its event from there.
async fn look_at(kernel: &Kernel, session: &Session) -> Result<(), Fault> {
    let families = kernel.families();
    let now = families.clock.now();
    let done = if let Some(reason) = session.expired(now) {
        let expired = SessionExpired {
            session_id: session.id,
            user_id: session.account,
            reason,
        };
        let writes = vec![families.sessions.expire(session.id, now)];
        let about = Subject::Account(session.account);
        kernel.happened(about, writes, &expired).await
    } else {
        let writes = vec![families.sessions.look_again(session.id)];
        kernel.change(writes).await
    };
    match done {
        Ok(()) | Err(CommitError::Missed(_)) => Ok(()),
        Err(CommitError::Fault(fault)) => Err(fault),
    }
}
