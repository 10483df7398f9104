//! A new key signs access tokens. What the older ones signed stays good as long as it would have been, or for nothing where
//! somebody else may have them. By command: who runs the server has its keys. Source: the specification.
//!
//! Keys are in files, which no commit holds. They come first: of a rotation whose trail says that it succeeded the new key is
//! on the disk and signs. One that was interrupted may have happened; it is done again, and no harm is in that.

use crate::ports::{OldKeys, RotatedKeys};
use crate::workflows::prelude::*;

pub struct RotateSigningKey {
    pub old: OldKeys,
}

#[derive(Event)]
#[event(
    type = "operator.signing_key_rotation.attempted",
    version = 1,
    name = "SigningKeyRotationAttempted",
    audit = "SIGNING_KEY_ROTATION_ATTEMPTED"
)]
pub struct Attempted {
    pub by: String,
}

#[derive(Event)]
#[event(
    type = "operator.signing_key_rotation.succeeded",
    version = 1,
    name = "SigningKeyRotationSucceeded",
    audit = "SIGNING_KEY_ROTATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub new_key_id: String,
    pub retired_key_id: Option<String>,
}

#[derive(Event)]
#[event(
    type = "operator.signing_key_rotation.failed",
    version = 1,
    name = "SigningKeyRotationFailed",
    audit = "SIGNING_KEY_ROTATION_FAILED"
)]
pub struct Failed {
    pub by: String,
    pub reason: Reason,
}

/// Who runs the server is refused nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {}

impl Workflow for RotateSigningKey {
    const NAME: &'static str = "signing_key_rotation";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = RotatedKeys;

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            by: "system".to_owned(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            by: attempted.by.clone(),
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        // Nothing is guarded, so this is decided once.
        let rotated = cx.access_tokens.rotate(self.old, cx.now()).await?;
        let succeeded = Succeeded {
            new_key_id: rotated.new.clone(),
            retired_key_id: Some(rotated.retired.clone()),
        };
        succeed(Commit::default(), succeeded, rotated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{account, given};

    #[tokio::test]
    async fn what_the_old_key_signed_stays_good_unless_it_is_revoked() {
        let scene = given(account().verified());
        let first = scene.signed_in().await;
        assert!(scene.opens(&first).await, "and it is remembered");
        let rotate = |old| scene.when(RotateSigningKey { old });
        let told = rotate(OldKeys::ServeOn).await.succeeded();
        assert_eq!(
            told.open("operator.signing_key_rotation.succeeded"),
            serde_json::json!({"new_key_id": "key-2", "retired_key_id": "key-1"})
        );
        let second = scene.signed_in().await;
        assert!(scene.opens(&first).await && scene.opens(&second).await);
        rotate(OldKeys::Revoked).await.succeeded();
        assert!(!scene.opens(&first).await && !scene.opens(&second).await);
        let third = scene.signed_in().await;
        assert!(scene.opens(&third).await);
        assert_eq!(scene.open_sessions(), 3, "nobody's session ends");
    }

    #[tokio::test]
    async fn where_no_key_can_be_made_it_failed() {
        let scene = given(account().verified());
        let tokens = scene.signed_in().await;
        scene.world.fail_reads(true);
        let told = scene
            .when(RotateSigningKey {
                old: OldKeys::Revoked,
            })
            .await;
        assert!(told.answer.is_err());
        scene.world.fail_reads(false);
        let kinds = scene.world.kinds();
        assert!(kinds.contains(&"operator.signing_key_rotation.failed".to_owned()));
        assert!(scene.opens(&tokens).await);
    }
}
