//! Forgets cached sessions when something was said of them. The security effect itself was in the commit; this only makes it
//! felt at once.

use std::sync::Arc;

use quivive_delivery::subscriber::Begin;
use quivive_delivery::{Cx, DecodeError, Received, Subscription, subscriber};
use quivive_domain::UserId;
use uuid::Uuid;

use crate::access::Access;
use crate::facts::{SessionEvicted, SessionInvalidated, SessionTerminated};
use crate::workflows::accounts::{confirm_email_change, revert_email_change};
use crate::workflows::operators::bootstrap_administrator;
use crate::workflows::passwords::{change_password, confirm_password_reset};

pub fn subscription(access: Arc<Access>) -> Subscription {
    sessions(access)
}

// The cache of a process that starts is empty, so it begins at the head.
#[subscriber(name = "sessions", begin = Begin::Head, on = [
    SessionTerminated,
    SessionInvalidated,
    SessionEvicted,
    change_password::Succeeded,
    confirm_password_reset::Succeeded,
    confirm_email_change::Succeeded,
    revert_email_change::Succeeded,
    bootstrap_administrator::Succeeded,
])]
async fn sessions(access: &Arc<Access>, event: &Received, _: &mut Cx) -> Result<(), DecodeError> {
    if let Some(ended) = event.decode_if::<SessionTerminated>()? {
        access.forget(ended.session_id);
    } else if let Some(ended) = event.decode_if::<SessionInvalidated>()? {
        access.forget(ended.session_id);
    } else if let Some(ended) = event.decode_if::<SessionEvicted>()? {
        access.forget(ended.session_id);
    } else if let Some(made) = event.decode_if::<bootstrap_administrator::Succeeded>()? {
        // All bootstraps share a key, so its subject names nobody.
        access.forget_account(made.user_id);
    } else if let Some(account) = event
        .envelope()
        .subject
        .as_deref()
        .and_then(|s| Uuid::parse_str(s).ok())
    {
        access.forget_account(UserId(account));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quivive_delivery::{Outcome, Stored};
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::sessions::Tokens;
    use crate::testing::{NEW_PASSWORD, Scene, account, given, password};
    use crate::workflows::operators::bootstrap_administrator::{BootstrapAdministrator, Method};
    use crate::workflows::sessions::log_out::LogOut;

    async fn knows(access: &Access, tokens: &Tokens) -> bool {
        access
            .authenticate(tokens.access_token.expose_secret())
            .await
            .expect("no fault")
            .is_some()
    }

    /// Two sessions that are remembered.
    async fn remembered() -> (Scene, Arc<Access>, Tokens, Tokens) {
        let scene = given(account().verified());
        let (one, two) = (scene.signed_in().await, scene.signed_in().await);
        let access = Arc::new(Access::new(Arc::clone(scene.kernel.families())));
        assert!(knows(&access, &one).await && knows(&access, &two).await);
        (scene, access, one, two)
    }

    #[tokio::test]
    async fn an_ended_session_is_forgotten_at_once() {
        let (scene, access, one, two) = remembered().await;
        let token = Some(one.refresh_token.expose_secret());
        let log_out = LogOut::resolve(scene.kernel.families(), None, token)
            .await
            .unwrap()
            .unwrap();
        scene.when(log_out).await.succeeded();
        assert!(
            knows(&access, &one).await,
            "until the subscriber hears of it"
        );
        scene.deliver(&subscription(Arc::clone(&access))).await;
        assert!(!knows(&access, &one).await);
        assert!(knows(&access, &two).await);
    }

    #[tokio::test]
    async fn an_event_that_does_not_fit_its_type_is_poison() {
        let (scene, access, one, _) = remembered().await;
        let token = Some(one.refresh_token.expose_secret());
        let log_out = LogOut::resolve(scene.kernel.families(), None, token);
        let log_out = log_out.await.unwrap().unwrap();
        scene.when(log_out).await.succeeded();
        let ended = |event: &Stored| event.envelope.kind == "session.terminated";
        let mut ended = scene.world.log().into_iter().find(ended).expect("it ended");
        ended.body = b"{}".to_vec();
        let outcome = scene.react(&subscription(access), ended).await;
        assert!(matches!(outcome, Outcome::Poison(_)), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_bootstrap_is_felt_at_once_too() {
        let (scene, access, one, two) = remembered().await;
        let bootstrap = BootstrapAdministrator {
            email: "ada@example.org".to_owned(),
            password: password(NEW_PASSWORD),
            method: Method::Command,
        };
        scene.when(bootstrap).await.succeeded();
        // Its outcome alone, without the sessions that it ended.
        let outcome =
            subscription(Arc::clone(&access)).matching(["AdministratorBootstrapSucceeded"]);
        scene.deliver(&outcome).await;
        assert!(!knows(&access, &one).await && !knows(&access, &two).await);
    }
}
