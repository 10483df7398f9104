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
#[event(
    type = "user.unlock.succeeded",
    version = 1,
    name = "UserUnlocked",
    audit = "USER_UNLOCK_SUCCEEDED"
)]
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quivive_domain::one_time::Purpose;

    use crate::testing::{NEW_PASSWORD, account, given, password};
    use crate::workflows::passwords::confirm_password_reset::ConfirmPasswordReset;

    #[tokio::test]
    async fn only_a_path_that_is_locked_now_is_said_to_be_unlocked() {
        for (locked_for, raised) in [
            (
                1,
                ["user.unlock.attempted", "user.unlock.succeeded"].as_slice(),
            ),
            (0, [].as_slice()),
        ] {
            let scene = given(account().verified().with_reset_token());
            let until = scene.world.now() + Duration::from_secs(locked_for);
            scene.world.change(|s| {
                s.guesses
                    .values_mut()
                    .for_each(|g| g.locked_until = Some(until));
            });
            let reset = ConfirmPasswordReset {
                token: scene.token(Purpose::ResetPassword),
                new_password: password(NEW_PASSWORD),
            };
            let told = scene.when(reset).await.succeeded().raised(raised);
            assert!(
                told.events
                    .iter()
                    .skip(2)
                    .all(|event| event.envelope.actor.kind == "system")
            );
        }
    }
}
