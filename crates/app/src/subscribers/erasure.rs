//! Makes the erasure of an account good: destroys the key that sealed what the log has of it, and sees that no file of the
//! database keeps what its rows held. Both may be done twice. Until they are done the event waits, through every restart.

use std::sync::Arc;

use quivive_delivery::subscriber::Replay;
use quivive_delivery::{Cx, Fault, Received, Subscription, subscriber};

use crate::kernel::{Families, account_vault_key};
use crate::workflows::accounts::erase_account;

pub fn subscription(families: Arc<Families>) -> Subscription {
    erasure(families).replay(Replay::Deny)
}

#[subscriber(name = "erasure", on = erase_account::Succeeded)]
async fn erasure(
    families: &Arc<Families>,
    event: &Received<erase_account::Succeeded>,
    _: &mut Cx,
) -> Result<(), Fault> {
    let key = account_vault_key(event.user_id.0);
    families.vault.destroy(&key).await?;
    families.accounts.scrub().await
}
