//! Ask for the verification letter again. The answer never says whether there is such an account.
//!
//! A new token ends the older; three letters an hour for one address.

use quivive_domain::one_time::Purpose;

use crate::one_time;
use crate::workflows::prelude::*;

pub struct RequestEmailVerification {
    pub email: String,
}

#[derive(Event)]
#[event(
    type = "user.email_verification_request.attempted",
    version = 1,
    name = "EmailVerificationRequestAttempted",
    audit = "EMAIL_VERIFICATION_REQUEST_ATTEMPTED"
)]
pub struct Attempted {
    #[event(personal)]
    pub email: Email,
}

#[derive(Event)]
#[event(
    type = "user.email_verification_request.succeeded",
    version = 1,
    name = "EmailVerificationRequestSucceeded",
    audit = "EMAIL_VERIFICATION_REQUEST_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    #[event(personal)]
    pub email: Email,
    pub verification_token_id: TokenId,
}

#[derive(Event)]
#[event(
    type = "user.email_verification_request.failed",
    version = 1,
    name = "EmailVerificationRequestFailed",
    audit = "EMAIL_VERIFICATION_REQUEST_FAILED"
)]
pub struct Failed {
    #[event(personal)]
    pub email: Email,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    UserNotFound,
    AlreadyVerified,
    RateLimited,
}

impl Workflow for RequestEmailVerification {
    const NAME: &'static str = "email_verification_request";
    const ATTEMPT_FIRST: bool = true;
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        cx.subject_of_address(&self.email).await
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            email: Email::typed(&self.email),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            email: attempted.email.clone(),
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let Some(account) = cx.account_of_subject().await? else {
            return refuse(Refusal::UserNotFound);
        };
        if account.verified_at.is_some() {
            return refuse(Refusal::AlreadyVerified);
        }
        if one_time::letters_spent(cx, &account, Purpose::VerifyEmail).await? {
            return refuse(Refusal::RateLimited);
        }
        let mut commit = cx.fenced(&account);
        let token = one_time::issue(&mut commit, cx, &account, Purpose::VerifyEmail);
        let succeeded = Succeeded {
            user_id: account.id,
            email: Email::from(&account.email),
            verification_token_id: token,
        };
        succeed(commit, succeeded, ())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::testing::{account, given, nobody};

    fn request() -> RequestEmailVerification {
        RequestEmailVerification {
            email: "Ada@example.org".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_new_token_ends_the_older() {
        let scene = given(account().with_verification_token());
        let older = scene.token(Purpose::VerifyEmail).unwrap().id;
        let told = scene.when(request()).await.succeeded().raised(&[]);
        let new = told.event::<Succeeded>().await.verification_token_id;
        scene.world.see(|s| {
            assert!(s.one_time[&older].0.ended_at.is_some());
            assert!(s.one_time[&new].0.ended_at.is_none());
        });
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        nobody()
            .when(request())
            .await
            .refused(Refusal::UserNotFound)
            .raised(&[]);
        given(account().verified())
            .when(request())
            .await
            .refused(Refusal::AlreadyVerified)
            .raised(&[]);
        let scene = given(account());
        for _ in 0..3 {
            scene.when(request()).await.succeeded();
        }
        scene
            .when(request())
            .await
            .refused(Refusal::RateLimited)
            .raised(&[]);
        scene.after(3600).when(request()).await.succeeded();
    }

    #[tokio::test]
    async fn of_ten_at_once_three_get_a_letter() {
        let scene = given(account());
        let told = join_all((0..10).map(|_| scene.when(request()))).await;
        let (won, lost): (Vec<_>, Vec<_>) = told.into_iter().partition(|t| t.answer.is_ok());
        assert_eq!(won.len(), 3);
        for told in lost {
            told.refused(Refusal::RateLimited);
        }
    }
}
