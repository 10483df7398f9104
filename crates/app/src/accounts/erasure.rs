//! Who was erased stays erased: a database that was restored from an older copy has them again, the file of keys knows better.

use std::sync::Arc;

use quivive_delivery::Fault;
use quivive_domain::UserId;

use crate::kernel::{Failure, Kernel, Request, account_of_vault_key};
use crate::workflows::accounts::erase_account::{Cause, EraseAccount};

/// Erases those again whose key was destroyed and who are there all the same. Says how many. Before anybody is served.
pub async fn apply_again(kernel: &Arc<Kernel>) -> Result<u32, Fault> {
    let families = kernel.families();
    let mut erased = 0;
    let destroyed = families.vault.destroyed().await?;
    let of_accounts = destroyed
        .iter()
        .filter_map(|name| account_of_vault_key(name));
    let gone: Vec<_> = of_accounts.map(UserId).collect();
    for user in families.accounts.those_there(&gone).await? {
        let command = EraseAccount {
            user,
            cause: Cause::ErasedBefore,
        };
        match kernel.execute(command, Request::system()).await {
            Ok(()) => erased += 1,
            Err(Failure::Fault(fault)) => return Err(fault),
            Err(Failure::Refused(refusal)) => {
                let why =
                    format!("an account that was erased stays, as it is refused: {refusal:?}");
                return Err(Fault::Internal(why));
            }
            Err(other) => return Err(Fault::Internal(other.to_string())),
        }
    }
    Ok(erased)
}
