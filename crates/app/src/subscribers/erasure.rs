//! Makes the erasure of an account good: destroys the key that sealed what the log has of it, sees that no file of the database
//! keeps what its rows held, and takes its tags out of the index of the log. All may be done twice. Until they are done the
//! event waits, through every restart.

use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::subscriber::{Effects, Replay};
use quivive_delivery::{Cx, Fault, Log, Outcome, Received, Subscription, subscriber};
use quivive_domain::UserId;

use crate::kernel::{Families, account_vault_key};
use crate::ports::EventIndex;
use crate::workflows::accounts::erase_account;

/// How often, and how many times, it is looked whether the index has come to where the log is: for five seconds.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: u32 = 100;

pub fn subscription(
    families: Arc<Families>,
    index: Arc<dyn EventIndex>,
    log: Arc<dyn Log>,
) -> Subscription {
    let erasure_of = Erasure {
        families,
        index,
        log,
    };
    erasure(erasure_of).replay(Replay::Deny)
}

#[subscriber(name = "erasure", on = erase_account::Succeeded)]
async fn erasure(
    erasure: &Erasure,
    event: &Received<erase_account::Succeeded>,
    _: &mut Cx,
) -> Result<Outcome, Fault> {
    erasure.of(event.user_id).await
}

struct Erasure {
    families: Arc<Families>,
    index: Arc<dyn EventIndex>,
    log: Arc<dyn Log>,
}

impl Erasure {
    async fn of(&self, user: UserId) -> Result<Outcome, Fault> {
        let key = account_vault_key(user.0);
        self.families.vault.destroy(&key).await?;
        self.families.accounts.scrub().await?;
        // What comes into the index from here on has no tags of them any more; what was on its way may.
        let head = self.log.head().borrow().position;
        if !self.index_is_at(head).await? {
            return Ok(Outcome::Retry("the index is behind".to_owned()));
        }
        let mut effects = Effects::default();
        effects.writes.push(self.index.forget(&user.to_string()));
        Ok(Outcome::DoneWith(effects))
    }

    async fn index_is_at(&self, position: u64) -> Result<bool, Fault> {
        for _ in 0..LOOKS {
            if self.index.reaches().await? >= position {
                return Ok(true);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(false)
    }
}
