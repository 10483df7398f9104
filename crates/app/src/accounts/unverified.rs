//! Accounts whose address nobody ever showed to be theirs: a sweeper erases them when they have had their time, so that an
//! address is not kept from its owner, and nobody's from going.

use std::sync::Arc;

use futures_util::future::try_join_all;
use quivive_delivery::Fault;
use quivive_domain::UserId;

use crate::kernel::{Failure, Kernel, Request};
use crate::workflows::accounts::erase_account::{Cause, EraseAccount};

/// Erased in one sweep, together, so that they share a sync. What is left waits for the next one.
const BATCH: u32 = 64;

/// Erases those that have had their time, as far as one sweep goes.
pub(crate) async fn expire(kernel: &Arc<Kernel>) -> Result<(), Fault> {
    let families = kernel.families();
    let kept = families.settings.lifetimes.unverified;
    let now = families.clock.now();
    let before = now.checked_sub(kept).unwrap_or(quivive_delivery::Time::MIN);
    let due = families.accounts.never_verified(before, BATCH).await?;
    try_join_all(due.into_iter().map(|user| erase(kernel, user))).await?;
    Ok(())
}

/// Unless it was verified meanwhile.
async fn erase(kernel: &Arc<Kernel>, user: UserId) -> Result<(), Fault> {
    let command = EraseAccount {
        user,
        cause: Cause::NeverVerified,
    };
    match kernel.execute(command, Request::system()).await {
        Ok(()) | Err(Failure::Refused(_)) => Ok(()),
        Err(Failure::Fault(fault)) => Err(fault),
        Err(other) => Err(Fault::Internal(other.to_string())),
    }
}
