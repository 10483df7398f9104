//! Unlock an account. So far it happens by itself: a reset opens the password path that wrong passwords had closed.

use crate::workflows::prelude::*;

#[derive(Event)]
#[event(
    type = "user.unlock.attempted",
    version = 1,
    name = "UserUnlockAttempted",
    audit = "USER_UNLOCK_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(type = "user.unlock.succeeded", version = 1, name = "UserUnlocked", audit = "USER_UNLOCK_SUCCEEDED")]
pub struct Succeeded {
    pub user_id: UserId,
    pub reason: Reason,
    pub automatic: bool,
}

/// Adds the triple of an automatic unlock to the commit that causes it.
pub fn automatically(commit: &mut Commit, user_id: UserId, reason: &'static str) {
    commit.also(
        &Attempted { user_id },
        &Succeeded {
            user_id,
            reason: Reason::new(reason),
            automatic: true,
        },
    );
}
