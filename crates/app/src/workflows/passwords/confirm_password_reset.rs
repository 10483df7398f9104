//! Confirm a password reset: the letter's token and a new password in, a changed password out.
//!
//! In one commit: the password, the token's use, the end of every session, refresh token and device, the lock by wrong
//! passwords.
//! The letter proved the address, so it is verified too. Telling the owner is the `email` subscriber's part.
//! Source: document 003.

use quivive_domain::one_time::{Presented, Purpose};
use quivive_domain::session::InvalidatedBy;

use crate::one_time::{self, Unredeemable};
use crate::passwords::{self, Accepted, accept};
use crate::ports::Path;
use crate::workflows::accounts::unlock_user;
use crate::workflows::prelude::*;

pub struct ConfirmPasswordReset {
    /// `None`: what was presented does not even look like a token.
    pub token: Option<Presented>,
    pub new_password: Password,
}

#[derive(Event)]
#[event(
    type = "user.password_reset_confirm.attempted",
    version = 1,
    name = "PasswordResetConfirmAttempted",
    audit = "PASSWORD_RESET_CONFIRM_ATTEMPTED"
)]
pub struct Attempted {
    pub token_id: Option<TokenId>,
}

#[derive(Event)]
#[event(
    type = "user.password_reset_confirm.succeeded",
    version = 1,
    name = "PasswordResetConfirmSucceeded",
    audit = "PASSWORD_RESET_COMPLETED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    #[event(personal)]
    pub email: Email,
    pub sessions_ended: u32,
}

#[derive(Event)]
#[event(
    type = "user.password_reset_confirm.failed",
    version = 1,
    name = "PasswordResetConfirmFailed",
    audit = "PASSWORD_RESET_CONFIRM_FAILED"
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
    AccountInactive,
    WeakPassword,
    PasswordReused,
}

also_refuses!(Unredeemable: TokenNotFound, TokenExpired, TokenAlreadyUsed, UserNotFound);

pub struct Reply {
    pub user_id: UserId,
}

impl Workflow for ConfirmPasswordReset {
    const NAME: &'static str = "password_reset_confirm";
    const HASHES: bool = true;
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        one_time::subject(cx, self.token.as_ref(), Purpose::ResetPassword).await
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
        let (account, mut commit) =
            match one_time::redeem(cx, token, Purpose::ResetPassword).await? {
                Ok(redeemed) => redeemed,
                Err(token) => return refuse(token.into()),
            };
        if !account.may_recover() {
            return refuse(Refusal::AccountInactive);
        }
        let hash = match accept(cx, &self.new_password, &account).await? {
            Accepted::Hash(hash) => hash,
            Accepted::Weak => return refuse(Refusal::WeakPassword),
            Accepted::Reused => return refuse(Refusal::PasswordReused),
        };

        let reason = InvalidatedBy::PasswordReset;
        let sessions_ended =
            passwords::replace(&mut commit, cx, &account, Some(&hash), None, reason).await?;
        commit.write(cx.accounts.verify_address(account.id, cx.now()));
        let counters = cx.guesses.counters(Path::Account(account.id)).await?;
        commit.write(cx.guesses.unlock(account.id, cx.now()));
        if counters.is_some_and(|c| c.locked_until.is_some_and(|until| until > cx.now())) {
            unlock_user::automatically(&mut commit, account.id, "password_reset");
        }
        commit.acted_by(account.id);
        let succeeded = Succeeded {
            user_id: account.id,
            email: Email::from(&account.email),
            sessions_ended,
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
mod tests;
