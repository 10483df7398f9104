//! Ask for a password reset. The answer never says whether there is such an account; the letter goes to its owner alone.
//!
//! Unverified accounts are served: whoever gets the letter owns the address. Three letters an hour for one address.
//! Source: document 000.

use quivive_domain::one_time::Purpose;

use crate::one_time;
use crate::workflows::prelude::*;

pub struct RequestPasswordReset {
    pub email: String,
}

#[derive(Event)]
#[event(
    type = "user.password_reset_request.attempted",
    version = 1,
    name = "PasswordResetRequestAttempted",
    audit = "PASSWORD_RESET_REQUEST_ATTEMPTED"
)]
pub struct Attempted {
    #[event(personal)]
    pub email: Email,
}

#[derive(Event)]
#[event(
    type = "user.password_reset_request.succeeded",
    version = 1,
    name = "PasswordResetRequestSucceeded",
    audit = "PASSWORD_RESET_REQUESTED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    #[event(personal)]
    pub email: Email,
    pub reset_token_id: TokenId,
}

#[derive(Event)]
#[event(
    type = "user.password_reset_request.failed",
    version = 1,
    name = "PasswordResetRequestFailed",
    audit = "PASSWORD_RESET_REQUEST_FAILED"
)]
pub struct Failed {
    #[event(personal)]
    pub email: Email,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    UserNotFound,
    AccountInactive,
    RateLimited,
}

/// Names the token; its secret is derived where the letter is written. For the operator's command line, never for a caller.
pub struct Reply {
    pub token: TokenId,
}

impl Workflow for RequestPasswordReset {
    const NAME: &'static str = "password_reset_request";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

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
        if !account.may_recover() {
            return refuse(Refusal::AccountInactive);
        }
        if one_time::letters_spent(cx, &account, Purpose::ResetPassword).await? {
            return refuse(Refusal::RateLimited);
        }
        let mut commit = cx.fenced(&account);
        let lifetime = cx.settings.lifetimes.password_reset;
        let token = one_time::issue(&mut commit, cx, &account, Purpose::ResetPassword, lifetime);
        commit.write(one_time::count_letter(cx, &account, Purpose::ResetPassword));
        let succeeded = Succeeded {
            user_id: account.id,
            email: Email::from(&account.email),
            reset_token_id: token,
        };
        succeed(commit, succeeded, Reply { token })
    }
}
