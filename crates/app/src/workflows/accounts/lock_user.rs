//! Lock an account. So far it happens by itself: enough wrong passwords close the password path for a while, in the commit
//! of the failure that was one too many.

use quivive_delivery::Time;

use crate::workflows::prelude::*;

#[derive(Event)]
#[event(type = "user.lock.attempted", version = 1, name = "UserLockAttempted", audit = "USER_LOCK_ATTEMPTED")]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(type = "user.lock.succeeded", version = 1, name = "UserLocked", audit = "USER_LOCK_SUCCEEDED")]
pub struct Succeeded {
    pub user_id: UserId,
    pub locked_until: Option<Time>,
    pub reason: Reason,
    pub automatic: bool,
    pub failed_attempts: u32,
}

/// Adds the triple of an automatic lock to the commit that causes it.
pub fn automatically(commit: &mut Commit, user_id: UserId, until: Time, failed_attempts: u32) {
    commit.also(
        &Attempted { user_id },
        &Succeeded {
            user_id,
            locked_until: Some(until),
            reason: Reason::new("too_many_attempts"),
            automatic: true,
            failed_attempts,
        },
    );
}
