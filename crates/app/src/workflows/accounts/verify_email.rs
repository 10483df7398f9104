//! Verify an address: the letter's token in, a verified account out. Single use; a link that is merely opened uses nothing.
//!
//! Source: document 000.

use quivive_domain::one_time::{Presented, Purpose};

use crate::one_time;
use crate::workflows::prelude::*;

pub struct VerifyEmail {
    /// `None`: what was presented does not even look like a token.
    pub token: Option<Presented>,
}

#[derive(Event)]
#[event(
    type = "user.email_verification.attempted",
    version = 1,
    name = "EmailVerificationAttempted",
    audit = "EMAIL_VERIFICATION_ATTEMPTED"
)]
pub struct Attempted {
    pub token_id: Option<TokenId>,
}

#[derive(Event)]
#[event(
    type = "user.email_verification.succeeded",
    version = 1,
    name = "EmailVerificationSucceeded",
    audit = "EMAIL_VERIFIED",
    also = ["user_email_verified"]
)]
pub struct Succeeded {
    pub user_id: UserId,
    #[event(personal)]
    pub email: Email,
}

#[derive(Event)]
#[event(
    type = "user.email_verification.failed",
    version = 1,
    name = "EmailVerificationFailed",
    audit = "EMAIL_VERIFICATION_FAILED"
)]
pub struct Failed {
    pub token_id: Option<TokenId>,
    pub reason: Reason,
}

pub use crate::one_time::Unredeemable as Refusal;

pub struct Reply {
    pub user_id: UserId,
}

impl Workflow for VerifyEmail {
    const NAME: &'static str = "email_verification";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        one_time::subject(cx, self.token.as_ref(), Purpose::VerifyEmail).await
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            token_id: self.token.as_ref().map(|token| token.id),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            token_id: attempted.token_id,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let token = self.token.as_ref();
        let (account, mut commit) = match one_time::redeem(cx, token, Purpose::VerifyEmail).await? {
            Ok(redeemed) => redeemed,
            Err(refusal) => return refuse(refusal),
        };
        commit.write(cx.accounts.verify_address(account.id, cx.now()));
        commit.acted_by(account.id);
        let succeeded = Succeeded {
            user_id: account.id,
            email: Email::from(&account.email),
        };
        succeed(
            commit,
            succeeded,
            Reply {
                user_id: account.id,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::testing::{Scene, account, given};

    fn verify(scene: &Scene) -> VerifyEmail {
        VerifyEmail {
            token: scene.token(Purpose::VerifyEmail),
        }
    }

    #[tokio::test]
    async fn the_letters_token_verifies_the_address_once() {
        let scene = given(account().with_verification_token());
        let told = scene.when(verify(&scene)).await.succeeded().raised(&[]);
        assert_eq!(told.events[1].envelope.actor.id, Some(scene.user.0));
        assert_eq!(
            told.event::<Succeeded>().await.email.as_str(),
            "ada@example.org"
        );
        assert_eq!(told.reply().user_id, scene.user);
        assert_eq!(scene.account().verified_at, Some(scene.world.now()));
        scene
            .when(verify(&scene))
            .await
            .refused(Refusal::TokenAlreadyUsed)
            .raised(&[]);
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let scene = given(account().with_reset_token());
        let token = scene.token(Purpose::ResetPassword);
        scene
            .when(VerifyEmail { token })
            .await
            .refused(Refusal::TokenNotFound);
        scene
            .when(VerifyEmail { token: None })
            .await
            .refused(Refusal::TokenNotFound);
        assert_eq!(scene.account().verified_at, None);

        let scene = given(account().with_verification_token());
        scene.world.pass(std::time::Duration::from_hours(24));
        scene
            .when(verify(&scene))
            .await
            .refused(Refusal::TokenExpired);

        let scene = given(account().with_verification_token());
        scene
            .world
            .change(|s| s.accounts.get_mut(&scene.user).unwrap().credential_epoch = 2);
        scene
            .when(verify(&scene))
            .await
            .refused(Refusal::TokenExpired);

        let scene = given(account().with_verification_token());
        let orphan = verify(&scene);
        scene.world.change(|s| s.accounts.clear());
        scene.when(orphan).await.refused(Refusal::UserNotFound);
    }

    #[tokio::test]
    async fn of_fifty_at_once_one_succeeds() {
        let scene = given(account().with_verification_token());
        let told = join_all((0..50).map(|_| scene.when(verify(&scene)))).await;
        let (won, lost): (Vec<_>, Vec<_>) = told.into_iter().partition(|t| t.answer.is_ok());
        assert_eq!((won.len(), lost.len()), (1, 49));
        for told in lost {
            told.refused(Refusal::TokenAlreadyUsed).raised(&[]);
        }
        assert_eq!(scene.world.missed(), ["one_time_token redeem"; 49]);
    }

    #[tokio::test]
    async fn a_credential_that_changes_meanwhile_makes_the_token_worthless() {
        let scene = given(account().with_verification_token());
        let user = scene.user;
        scene
            .world
            .meanwhile("user.email_verification.succeeded", 1, move |s| {
                let account = s.accounts.get_mut(&user).unwrap();
                (account.credential_epoch, account.security_version) = (2, 2);
            });
        scene
            .when(verify(&scene))
            .await
            .refused(Refusal::TokenExpired)
            .raised(&[]);
        assert_eq!(scene.world.missed(), ["account fence"]);
        assert_eq!(scene.account().verified_at, None);
    }
}
