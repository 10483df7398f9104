//! Verify an address: the letter's token in, a verified account out. Single use; a link that is merely opened uses nothing.
//!
//! Source: document 000.

use quivive_domain::one_time::{Presented, Purpose, Redeemable};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    TokenNotFound,
    TokenExpired,
    TokenAlreadyUsed,
    UserNotFound,
}

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
        let Some(token) = one_time::find(cx, self.token.as_ref(), Purpose::VerifyEmail).await? else {
            return refuse(Refusal::TokenNotFound);
        };
        let Some(account) = cx.accounts.by_id(token.account).await? else {
            return refuse(Refusal::UserNotFound);
        };
        match token.redeemable(account.credential_epoch, cx.now()) {
            Redeemable::Yes => {}
            Redeemable::Used => return refuse(Refusal::TokenAlreadyUsed),
            Redeemable::Expired => return refuse(Refusal::TokenExpired),
        }
        let mut commit = cx.fenced(&account);
        commit.write(cx.one_time.redeem(token.id, cx.now()));
        commit.write(cx.accounts.verify_address(account.id, cx.now()));
        commit.acted_by(account.id);
        let succeeded = Succeeded {
            user_id: account.id,
            email: Email::from(&account.email),
        };
        succeed(commit, succeeded, Reply { user_id: account.id })
    }
}
