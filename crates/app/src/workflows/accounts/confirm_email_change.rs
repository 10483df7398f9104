//! Confirm another address: the letter's token in, the account goes by the new address. The outcome of the change that was
//! asked for is in the same commit.
//!
//! Other sessions end, and every link that was sent before is worth nothing. The old address gets a link that takes the
//! change back, for a week.

use quivive_domain::AccountState;
use quivive_domain::one_time::{Presented, Purpose};
use quivive_domain::session::InvalidatedBy;

use super::change_email;
use crate::one_time::{self, Unredeemable};
use crate::ports::EmailChange;
use crate::sessions::{Ending, end_all};
use crate::workflows::prelude::*;

pub struct ConfirmEmailChange {
    /// `None`: what was presented does not even look like a token.
    pub token: Option<Presented>,
    /// The session it was confirmed from goes on.
    pub session: Option<SessionId>,
}

#[derive(Event)]
#[event(
    type = "user.email_change_confirmation.attempted",
    version = 1,
    name = "EmailChangeConfirmationAttempted",
    audit = "EMAIL_CHANGE_CONFIRMATION_ATTEMPTED"
)]
pub struct Attempted {
    pub token_id: Option<TokenId>,
}

#[derive(Event)]
#[event(
    type = "user.email_change_confirmation.succeeded",
    version = 1,
    name = "EmailChangeConfirmed",
    audit = "EMAIL_CHANGE_CONFIRMATION_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    pub sessions_ended: u32,
    /// Takes it back.
    pub revert_token_id: TokenId,
}

#[derive(Event)]
#[event(
    type = "user.email_change_confirmation.failed",
    version = 1,
    name = "EmailChangeConfirmationFailed",
    audit = "EMAIL_CHANGE_CONFIRMATION_FAILED"
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
    /// Somebody else took the address meanwhile.
    DuplicateEmail,
}

also_refuses!(Unredeemable: TokenNotFound, TokenExpired, TokenAlreadyUsed, UserNotFound);

/// Whose address it is now.
#[derive(Debug)]
pub struct Reply {
    pub user_id: UserId,
}

impl Workflow for ConfirmEmailChange {
    const NAME: &'static str = "email_change_confirmation";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        one_time::subject(cx, self.token.as_ref(), Purpose::ChangeEmail).await
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
        let (account, mut commit) = match one_time::redeem(cx, token, Purpose::ChangeEmail).await? {
            Ok(redeemed) => redeemed,
            Err(token) => return refuse(token.into()),
        };
        let Some(change) = one_time::email_change(cx, token).await? else {
            return refuse(Refusal::TokenNotFound);
        };
        if account.state != AccountState::Active {
            return refuse(Refusal::AccountInactive);
        }
        commit.write(cx.accounts.end_email_change(change.token));
        if cx.accounts.by_address(&change.address).await?.is_some() {
            let failed = change_email::Failed {
                user_id: account.id,
                reason: Reason::new("duplicate_email"),
            };
            if let Some(attempt) = change.attempt {
                commit.conclude(attempt, &failed);
            }
            return refuse_with(Refusal::DuplicateEmail, commit);
        }
        commit.write(cx.accounts.set_email(&account, &change.address, cx.now()));
        let how = Ending::Invalidated(InvalidatedBy::EmailChange);
        let ended = end_all(&mut commit, cx, &account, self.session, how).await?;
        let revert_token_id = one_time::add(&mut commit, cx, &account, Purpose::RevertEmail);
        commit.write(cx.accounts.insert_email_change(&EmailChange {
            token: revert_token_id,
            account: account.id,
            address: account.email.clone(),
            attempt: None,
        }));
        if let Some(attempt) = change.attempt {
            let changed = change_email::Succeeded {
                user_id: account.id,
                old_email: Email::from(&account.email),
                new_email: Email::from(&change.address),
            };
            commit.conclude(attempt, &changed);
        }
        commit.acted_by(account.id);
        let succeeded = Succeeded {
            user_id: account.id,
            sessions_ended: crate::sessions::count(&ended),
            revert_token_id,
        };
        let user_id = account.id;
        succeed(commit, succeeded, Reply { user_id })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::testing::{Scene, account, account_of, given};
    use crate::workflows::accounts::change_email::ChangeEmail;
    use crate::workflows::passwords::request_password_reset::RequestPasswordReset;

    /// Ada, who asked for `ada@new.example`.
    async fn asked() -> Scene {
        let scene = given(account().verified()).by_owner();
        let change = ChangeEmail {
            by: scene.proven(),
            new_email: Address::parse("Ada@new.example").unwrap(),
        };
        assert!(scene.when(change).await.answer.is_ok());
        scene
    }

    fn confirm(scene: &Scene) -> ConfirmEmailChange {
        ConfirmEmailChange {
            token: scene.token(Purpose::ChangeEmail),
            session: None,
        }
    }

    #[tokio::test]
    async fn the_account_goes_by_the_new_address() {
        let scene = asked().await;
        let here = scene.signed_in().await.session_id;
        scene.signed_in().await;
        let email = "ada@example.org".to_owned();
        scene.when(RequestPasswordReset { email }).await;
        let confirmed = ConfirmEmailChange {
            session: Some(here),
            ..confirm(&scene)
        };
        let told = scene.when(confirmed).await.succeeded();
        let told = told.raised(&["session.invalidated", "user.email_change.succeeded"]);
        assert_eq!(told.open("session.invalidated")["reason"], "email_change");
        let changed = told.event::<change_email::Succeeded>().await;
        let addresses = (changed.old_email.as_str(), changed.new_email.as_str());
        assert_eq!(addresses, ("ada@example.org", "Ada@new.example"));
        let log = scene.world.log();
        let mut asked = log.iter().map(|event| &event.envelope);
        let asked = asked.find(|e| e.kind == "user.email_change.attempted");
        let outcome = told.events.last().unwrap();
        assert_eq!(outcome.envelope.workflow_id, asked.unwrap().workflow_id);
        let now = scene.account();
        assert_eq!(now.email.typed(), "Ada@new.example");
        assert_eq!((now.credential_epoch, now.security_version), (2, 2));
        assert_eq!(scene.open_sessions(), 1);
        assert!(scene.world.see(|s| s.attempts.is_empty()));
        let again = ConfirmEmailChange {
            session: None,
            ..confirm(&scene)
        };
        let told = scene.when(again).await;
        told.refused(Refusal::TokenAlreadyUsed).raised(&[]);
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let scene = asked().await;
        let nothing = ConfirmEmailChange {
            token: None,
            session: None,
        };
        scene.when(nothing).await.refused(Refusal::TokenNotFound);
        let user = scene.user;
        let state = |state| {
            scene
                .world
                .change(|s| s.accounts.get_mut(&user).unwrap().state = state);
        };
        state(AccountState::Locked);
        let told = scene.when(confirm(&scene)).await;
        told.refused(Refusal::AccountInactive).raised(&[]);
        state(AccountState::Active);
        scene.world.pass(Duration::from_hours(1));
        let told = scene.when(confirm(&scene)).await;
        told.refused(Refusal::TokenExpired).raised(&[]);

        let scene = asked().await;
        let taken = scene.clone().and(account_of("ada@new.example"));
        let told = scene.when(confirm(&scene)).await;
        let told = told.refused(Refusal::DuplicateEmail);
        let told = told.raised(&["user.email_change.failed"]);
        let failed = told.open("user.email_change.failed");
        assert_eq!(failed["reason"], "duplicate_email");
        assert_eq!(scene.account().email.typed(), "ada@example.org");
        drop(taken);

        let scene = asked().await;
        let orphan = confirm(&scene);
        scene.world.change(|s| s.accounts.clear());
        scene.when(orphan).await.refused(Refusal::UserNotFound);
    }

    #[tokio::test]
    async fn of_fifty_at_once_one_succeeds() {
        let scene = asked().await;
        let told = join_all((0..50).map(|_| scene.when(confirm(&scene)))).await;
        let (won, lost): (Vec<_>, Vec<_>) = told.into_iter().partition(|t| t.answer.is_ok());
        assert_eq!((won.len(), lost.len()), (1, 49));
        for told in lost {
            told.refused(Refusal::TokenAlreadyUsed).raised(&[]);
        }
        let kinds = scene.world.kinds();
        let changed = kinds.iter().filter(|k| *k == "user.email_change.succeeded");
        assert_eq!(changed.count(), 1);
    }
}
