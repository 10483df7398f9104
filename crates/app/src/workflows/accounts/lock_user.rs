//! Lock an account. So far it happens by itself: enough wrong passwords close the password path for a while, in the commit
//! of the failure that was one too many.

use quivive_delivery::Time;

use crate::workflows::prelude::*;

#[derive(Event)]
#[event(
    type = "user.lock.attempted",
    version = 1,
    name = "UserLockAttempted",
    audit = "USER_LOCK_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
}

#[derive(Event)]
#[event(
    type = "user.lock.succeeded",
    version = 1,
    name = "UserLocked",
    audit = "USER_LOCK_SUCCEEDED"
)]
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

#[cfg(test)]
mod tests {
    use crate::testing::{account, given, password};
    use crate::workflows::sessions::log_in::{LogIn, Refusal};

    #[tokio::test]
    async fn the_system_locks_in_the_commit_of_the_failure_that_caused_it() {
        let scene = given(account().verified());
        let wrong = || LogIn {
            email: "ada@example.org".to_owned(),
            password: password("wrong"),
            device_token: None,
        };
        for _ in 0..4 {
            scene
                .when(wrong())
                .await
                .refused(Refusal::InvalidCredentials)
                .raised(&[]);
        }
        let told = scene
            .when(wrong())
            .await
            .refused(Refusal::InvalidCredentials);
        let [_, failed, attempted, locked] = told.events.as_slice() else {
            panic!("{:?}", told.kinds());
        };
        for event in [attempted, locked] {
            assert_eq!(event.envelope.actor.kind, "system");
            assert_eq!(event.envelope.causation_id, Some(failed.envelope.id));
            assert_eq!(event.envelope.key, failed.envelope.key);
        }
        assert_eq!(
            told.open("user.lock.succeeded")["reason"],
            "too_many_attempts"
        );
    }
}
