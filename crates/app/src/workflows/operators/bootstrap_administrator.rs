//! The first administrator: by the link of the first minute, by command, or by configuration. No default password.
//!
//! The link serves while there is no administrator; the command and the configuration belong to whoever runs the server.
//! An existing account of that address becomes an administrator by command, with the password that is given.

use quivive_domain::Role;
use quivive_domain::session::InvalidatedBy;

use crate::sessions::end_everything;
use crate::workflows::prelude::*;

pub struct BootstrapAdministrator {
    pub email: String,
    pub password: Password,
    pub method: Method,
}

/// How it was asked for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Command,
    Link,
    Configuration,
}

#[derive(Event)]
#[event(
    type = "operator.bootstrap.attempted",
    version = 1,
    name = "AdministratorBootstrapAttempted",
    audit = "ADMINISTRATOR_BOOTSTRAP_ATTEMPTED"
)]
pub struct Attempted {
    pub method: Method,
}

#[derive(Event)]
#[event(
    type = "operator.bootstrap.succeeded",
    version = 1,
    name = "AdministratorBootstrapSucceeded",
    audit = "ADMINISTRATOR_BOOTSTRAP_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub method: Method,
}

#[derive(Event)]
#[event(
    type = "operator.bootstrap.failed",
    version = 1,
    name = "AdministratorBootstrapFailed",
    audit = "ADMINISTRATOR_BOOTSTRAP_FAILED"
)]
pub struct Failed {
    pub method: Method,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    AlreadyDone,
    TokenExpired,
    WeakPassword,
    InvalidEmail,
}

pub struct Reply {
    pub user_id: UserId,
}

impl Workflow for BootstrapAdministrator {
    const NAME: &'static str = "administrator_bootstrap";
    const HASHES: bool = true;
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

    /// All bootstraps share a key, so that two at once come one after the other for every reader.
    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            method: self.method,
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            method: attempted.method,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        let Ok(address) = Address::parse(&self.email) else {
            return refuse(Refusal::InvalidEmail);
        };
        let first = cx.accounts.administrators().await? == 0;
        if !first && self.method != Method::Command {
            return refuse(Refusal::AlreadyDone);
        }
        if cx.settings.passwords.check(&self.password, Some(&address)).is_err() {
            return refuse(Refusal::WeakPassword);
        }
        let hash = cx.passwords.hash(&self.password).await?;
        let existing = cx.accounts.by_address(&address).await?;

        let mut commit = Commit::default();
        if self.method != Method::Command {
            commit.write(cx.accounts.claim_first_administrator(cx.now()));
        }
        let id = if let Some(account) = existing {
            let keep = cx.settings.password_history;
            commit.write(cx.accounts.fence(&account, cx.now()));
            commit.write_all(cx.accounts.set_password(&account, &hash, keep, cx.now()));
            commit.write(cx.accounts.grant_role(&account, Role::Admin));
            commit.write(cx.accounts.verify_address(account.id, cx.now()));
            end_everything(&mut commit, cx, &account, None, InvalidatedBy::PasswordReset).await?;
            account.id
        } else {
            let mut account = Account::new(UserId(cx.ids.next()), address, hash, cx.now());
            account.roles = vec![Role::Admin, Role::User];
            account.verified_at = Some(cx.now());
            commit.write_all(cx.accounts.insert(&account));
            account.id
        };
        let succeeded = Succeeded {
            user_id: id,
            method: self.method,
        };
        succeed(commit, succeeded, Reply { user_id: id })
    }
}
