//! The first administrator: by the link of the first minute, by command, or by configuration. No default password.
//!
//! The link serves while there is no administrator; the command and the configuration belong to whoever runs the server.
//! An existing account of that address becomes an administrator by command, with the password that is given.

use quivive_domain::Role;
use quivive_domain::session::InvalidatedBy;

use crate::passwords;
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
        if passwords::is_weak(cx, &self.password, &address) {
            return refuse(Refusal::WeakPassword);
        }
        let hash = cx.passwords.hash(&self.password).await?;
        let existing = cx.accounts.by_address(&address).await?;

        let mut commit = Commit::default();
        if self.method != Method::Command {
            commit.write(cx.accounts.claim_first_administrator(cx.now()));
        }
        let id = if let Some(account) = existing {
            commit.write(cx.accounts.fence(&account, cx.now()));
            let reason = InvalidatedBy::PasswordReset;
            passwords::replace(&mut commit, cx, &account, Some(&hash), None, reason).await?;
            // The guard of the grant looks for the version that the new password raises.
            let raised = Account {
                security_version: account.security_version + 1,
                ..account.clone()
            };
            commit.write(cx.accounts.grant_role(&raised, Role::Admin));
            commit.write(cx.accounts.verify_address(account.id, cx.now()));
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

#[cfg(test)]
mod tests {
    use quivive_delivery::Event as _;

    use super::*;
    use crate::testing::{
        NEW_PASSWORD, PASSWORD, Scene, account, fake_hash, given, nobody, password,
    };

    fn bootstrap(method: Method, text: &str) -> BootstrapAdministrator {
        BootstrapAdministrator {
            email: "ada@example.org".to_owned(),
            password: password(text),
            method,
        }
    }

    fn administrator() -> Scene {
        given(
            crate::testing::account_of("root@example.org")
                .verified()
                .role(Role::Admin),
        )
    }

    #[tokio::test]
    async fn the_first_administrator_can_sign_in_at_once() {
        for method in [Method::Link, Method::Command, Method::Configuration] {
            let scene = nobody();
            let told = scene
                .when(bootstrap(method, PASSWORD))
                .await
                .succeeded()
                .raised(&[]);
            assert_eq!(told.events[0].envelope.key.as_str(), "system:all");
            let user = told.reply().user_id;
            let scene = Scene { user, ..scene };
            assert!(scene.account().is_admin() && scene.account().verified_at.is_some());
            scene.signed_in().await;
        }
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        for method in [Method::Link, Method::Configuration] {
            administrator()
                .when(bootstrap(method, PASSWORD))
                .await
                .refused(Refusal::AlreadyDone)
                .raised(&[]);
        }
        nobody()
            .when(bootstrap(Method::Link, "password1234"))
            .await
            .refused(Refusal::WeakPassword)
            .raised(&[]);
        let odd = BootstrapAdministrator {
            email: "ada".to_owned(),
            ..bootstrap(Method::Link, PASSWORD)
        };
        nobody()
            .when(odd)
            .await
            .refused(Refusal::InvalidEmail)
            .raised(&[]);
    }

    #[tokio::test]
    async fn the_command_adds_an_administrator_whenever_it_is_given() {
        administrator()
            .when(bootstrap(Method::Command, PASSWORD))
            .await
            .succeeded();
    }

    #[tokio::test]
    async fn an_account_of_that_address_becomes_an_administrator_with_the_new_password() {
        let scene = given(account().with_sessions(2));
        let told = scene
            .when(bootstrap(Method::Command, NEW_PASSWORD))
            .await
            .succeeded();
        assert_eq!(told.kinds()[2..], ["session.invalidated"; 2]);
        assert_eq!(told.reply().user_id, scene.user);
        let account = scene.account();
        assert_eq!(account.roles, [Role::User, Role::Admin]);
        assert_eq!(account.password, Some(fake_hash(NEW_PASSWORD, 1)));
        assert!(account.verified_at.is_some() && account.token_version == 2);
        assert_eq!(scene.open_sessions(), 0);
    }

    #[tokio::test]
    async fn of_two_links_at_once_one_claims_the_place() {
        let scene = nobody();
        let other = BootstrapAdministrator {
            email: "bob@example.org".to_owned(),
            ..bootstrap(Method::Link, PASSWORD)
        };
        let (one, two) = tokio::join!(
            scene.when(bootstrap(Method::Link, PASSWORD)),
            scene.when(other)
        );
        let (won, lost) = if one.answer.is_ok() {
            (one, two)
        } else {
            (two, one)
        };
        won.succeeded();
        lost.refused(Refusal::AlreadyDone).raised(&[]);
        assert_eq!(scene.world.missed(), ["account claim_first_administrator"]);
        let succeeded = scene
            .world
            .kinds()
            .iter()
            .filter(|kind| *kind == Succeeded::META.kind)
            .count();
        assert_eq!((succeeded, scene.world.see(|s| s.accounts.len())), (1, 1));
    }
}
