//! Notes what the log says against access tokens. Of what this process committed the kernel has noted it before: this is for
//! what others did. The security effect itself was in the commit; this only makes it felt, on every node.

use std::sync::Arc;

use quivive_delivery::subscriber::Phase;
use quivive_delivery::{Cx, Received, Subscription, subscriber};

use crate::access::Said;
use crate::kernel::Families;

/// How far it has come says how far the log is known to [`crate::access::Access`].
pub const NAME: &str = "sessions";

/// It takes every type: what a newer server raises, and this program does not know yet, may end a session, too.
pub fn subscription(families: Arc<Families>) -> Subscription {
    sessions(families).phase(Phase::View)
}

// What was said before the process started is in the database, where older tokens are looked up.
#[subscriber(name = "sessions", on = any)]
async fn sessions(families: &Arc<Families>, event: &Received, _: &mut Cx) {
    let envelope = &event.stored.envelope;
    if let Some(said) = Said::by(envelope, &event.stored.body) {
        families.note_heard(said, envelope.time);
    }
}

#[cfg(test)]
mod tests {
    use quivive_delivery::subscriber::InCommit;
    use quivive_delivery::{Outcome, Stored};
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::access::Access;
    use crate::sessions::Tokens;
    use crate::testing::{NEW_PASSWORD, Scene, account, given, password};
    use crate::workflows::operators::bootstrap_administrator::{BootstrapAdministrator, Method};
    use crate::workflows::sessions::log_out::LogOut;

    /// Another node, which reads the same log.
    struct Other {
        scene: Scene,
        access: Access,
    }

    impl Other {
        async fn knows(&self, tokens: &Tokens) -> bool {
            let bearer = tokens.access_token.expose_secret();
            let caller = self.access.authenticate(bearer).await;
            caller.expect("no fault").is_some()
        }

        fn subscription(&self) -> Subscription {
            let families = Arc::clone(self.scene.kernel.families());
            subscription(families)
        }

        async fn hears(&self) {
            self.scene.deliver(&self.subscription()).await;
        }
    }

    /// Two sessions that are remembered there.
    async fn remembered() -> (Scene, Other, Tokens, Tokens) {
        let scene = given(account().verified());
        let (one, two) = (scene.signed_in().await, scene.signed_in().await);
        let elsewhere = scene.reacting(InCommit::default());
        let access = Access::new(Arc::clone(elsewhere.kernel.families()));
        let other = Other {
            scene: elsewhere,
            access,
        };
        assert!(other.knows(&one).await && other.knows(&two).await);
        (scene, other, one, two)
    }

    #[tokio::test]
    async fn a_session_that_ended_elsewhere_is_over_as_soon_as_it_is_heard_of() {
        let (scene, other, one, two) = remembered().await;
        let token = Some(one.refresh_token.expose_secret());
        let log_out = LogOut::resolve(scene.kernel.families(), None, token)
            .await
            .unwrap()
            .unwrap();
        scene.when(log_out).await.succeeded();
        assert!(other.knows(&one).await, "until the subscriber hears of it");
        other.hears().await;
        assert!(!other.knows(&one).await);
        assert!(other.knows(&two).await);
    }

    #[tokio::test]
    async fn an_event_that_does_not_fit_its_type_is_no_trouble() {
        let (scene, other, one, _) = remembered().await;
        let token = Some(one.refresh_token.expose_secret());
        let log_out = LogOut::resolve(scene.kernel.families(), None, token);
        let log_out = log_out.await.unwrap().unwrap();
        scene.when(log_out).await.succeeded();
        let ended = |event: &Stored| event.envelope.kind == "session.terminated";
        let mut ended = scene.world.log().into_iter().find(ended).expect("it ended");
        ended.body = b"{}".to_vec();
        let outcome = scene.react(&other.subscription(), ended).await;
        assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_bootstrap_is_heard_of_too() {
        let (scene, other, one, two) = remembered().await;
        let bootstrap = BootstrapAdministrator {
            email: "ada@example.org".to_owned(),
            password: password(NEW_PASSWORD),
            method: Method::Command,
        };
        scene.when(bootstrap).await.succeeded();
        other.hears().await;
        assert!(!other.knows(&one).await && !other.knows(&two).await);
    }
}
