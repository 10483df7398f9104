//! Sign in with a password: credentials in, a session with its tokens out.
//!
//! The guess is counted, guarded by the limit, before anything is compared; while the path is closed nothing is compared
//! at all, and the answer is that of a wrong password. State is told only after the right one. Source: documents 000, 004.

use quivive_domain::{AccountState, DeviceId, PasswordHash};
use secrecy::{ExposeSecret, SecretString};

use crate::ports::{Device, Path};
use crate::sessions::{Tokens, mint_session};
use crate::workflows::prelude::*;
use crate::{devices, guesses, passwords};

pub struct LogIn {
    pub email: String,
    pub password: Password,
    pub device_token: Option<SecretString>,
}

#[derive(Event)]
#[event(
    type = "user.login.attempted",
    version = 1,
    name = "UserLoginAttempted",
    audit = "USER_LOGIN_ATTEMPTED"
)]
pub struct Attempted {
    #[event(personal)]
    pub email: Option<Email>,
    pub method: Reason,
}

#[derive(Event)]
#[event(
    type = "user.login.succeeded",
    version = 1,
    name = "UserLoginSucceeded",
    audit = "USER_LOGIN_SUCCESS",
    also = ["user_login_successful", "UserLoggedIn"]
)]
pub struct Succeeded {
    pub user_id: UserId,
    #[event(personal)]
    pub email: Email,
    pub session_id: SessionId,
    pub device_id: Option<DeviceId>,
    pub mfa_used: bool,
    pub risk_level: Reason,
}

#[derive(Event)]
#[event(
    type = "user.login.failed",
    version = 1,
    name = "UserLoginFailed",
    audit = "USER_LOGIN_FAILED",
    also = ["user_login_failed"]
)]
pub struct Failed {
    #[event(personal)]
    pub email: Email,
    pub reason: Reason,
    pub user_id: Option<UserId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    InvalidCredentials,
    UserNotFound,
    EmailNotVerified,
    AccountLocked,
    AccountInactive,
}

impl Workflow for LogIn {
    const NAME: &'static str = "user_login";
    const HASHES: bool = true;
    const ATTEMPT_FIRST: bool = true;
    const EXPIRED: &'static str = "mfa_expired";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Tokens;

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        cx.subject_of_address(&self.email).await
    }

    async fn reserve(&self, cx: &Cx) -> Result<Reservation, Fault> {
        let who = self.who(cx).await?;
        let account = who.account.as_ref().map(|account| account.id);
        let reservation = guesses::reserve(cx, account, who.path).await?;
        cx.keep(who);
        Ok(reservation)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            email: Some(Email::typed(&self.email)),
            method: Reason::new("password"),
        }
    }

    fn failed(attempted: &Attempted, subject: &Subject, reason: Reason) -> Failed {
        Failed {
            email: attempted.email.clone().unwrap_or_else(|| Email::typed("")),
            reason,
            user_id: subject.account(),
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let Who {
            account, device, ..
        } = self.who(cx).await?;
        let verdict = passwords::compare(cx, &self.password, account.as_ref()).await?;
        let right = verdict.filter(|verdict| verdict.matches);
        let (Some(account), Some(verdict)) = (&account, right) else {
            let mut commit = Commit::default();
            let account = account.map(|account| account.id);
            if verdict.is_some() {
                guesses::wrong(&mut commit, cx, account).await?;
            }
            let refusal = account.map_or(Refusal::UserNotFound, |_| Refusal::InvalidCredentials);
            return refuse_with(refusal, commit);
        };

        let mut commit = cx.fenced(account);
        guesses::right(&mut commit, cx, device.as_ref());
        if let Some(refusal) = barred(account) {
            return refuse_with(refusal, commit);
        }
        if device.is_some() {
            commit.write(cx.guesses.end_row(account.id));
        }
        if verdict.outdated {
            commit.write(cx.accounts.rehash(account, &self.renewed(cx).await?));
        }
        let device_id = device.as_ref().map(|device| device.id);
        let tokens = mint_session(&mut commit, cx, account, device).await?;
        commit.acted_by(account.id);
        let succeeded = Succeeded {
            user_id: account.id,
            email: Email::from(&account.email),
            session_id: tokens.session_id,
            device_id,
            mfa_used: false,
            risk_level: Reason::new("low"),
        };
        succeed(commit, succeeded, tokens)
    }
}

/// Whose password is tried, and on what path the guess counts.
struct Who {
    account: Option<Account>,
    device: Option<Device>,
    path: Path,
}

impl LogIn {
    async fn who(&self, cx: &Cx) -> Result<Who, Fault> {
        if let Some(who) = cx.kept() {
            return Ok(who);
        }
        let account = cx.account_of_subject().await?;
        let token = self.device_token.as_ref().map(ExposeSecret::expose_secret);
        let device = match &account {
            Some(account) => devices::known(cx, account, token).await?,
            None => None,
        };
        let path = match &account {
            Some(account) => Path::of(account.id, device.as_ref()),
            None => guesses::stranger(cx, &self.email),
        };
        Ok(Who {
            account,
            device,
            path,
        })
    }

    async fn renewed(&self, cx: &Cx) -> Result<PasswordHash, Fault> {
        cx.passwords.hash(&self.password).await
    }
}

/// Why an account may not sign in, told only after the right password.
fn barred(account: &Account) -> Option<Refusal> {
    match account.state {
        AccountState::Inactive => Some(Refusal::AccountInactive),
        AccountState::Locked => Some(Refusal::AccountLocked),
        AccountState::Active if account.verified_at.is_none() => Some(Refusal::EmailNotVerified),
        AccountState::Active => None,
    }
}

#[cfg(test)]
mod tests;
