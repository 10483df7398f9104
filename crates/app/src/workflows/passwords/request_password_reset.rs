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
    const ATTEMPT_FIRST: bool = true;
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
        let token = one_time::issue(&mut commit, cx, &account, Purpose::ResetPassword);
        let succeeded = Succeeded {
            user_id: account.id,
            email: Email::from(&account.email),
            reset_token_id: token,
        };
        succeed(commit, succeeded, Reply { token })
    }
}

/// Adds the triple of a request that nobody made to the commit that causes it.
pub fn automatically(commit: &mut Commit, account: &Account, token: TokenId) {
    let email = Email::from(&account.email);
    commit.also(
        &Attempted {
            email: email.clone(),
        },
        &Succeeded {
            user_id: account.id,
            email,
            reset_token_id: token,
        },
    );
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use quivive_delivery::Event as _;
    use quivive_domain::AccountState;

    use super::*;
    use crate::testing::{account, given, nobody};

    fn request() -> RequestPasswordReset {
        RequestPasswordReset {
            email: " ADA@example.org".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_new_token_ends_the_older() {
        // Unverified: whoever gets the letter owns the address.
        let scene = given(account().with_reset_token());
        let older = scene.token(Purpose::ResetPassword).unwrap().id;
        let told = scene.when(request()).await.succeeded().raised(&[]);
        assert_eq!(
            told.event::<Succeeded>().await.email.as_str(),
            "ada@example.org"
        );
        let said = told.open(Succeeded::META.kind)["reset_token_id"].clone();
        let (token, now) = (told.reply().token, scene.world.now());
        assert_eq!(said, token.to_string());
        scene.world.see(|s| {
            let (new, old) = (&s.one_time[&token].0, &s.one_time[&older].0);
            assert!(new.ended_at.is_none() && old.ended_at.is_some());
            assert_eq!(new.expires_at, now + std::time::Duration::from_mins(15));
        });
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let told = nobody()
            .when(request())
            .await
            .refused(Refusal::UserNotFound)
            .raised(&[]);
        assert!(told.events[0].envelope.key.as_str().starts_with("address:"));
        for state in [AccountState::Inactive, AccountState::Locked] {
            given(account().state(state))
                .when(request())
                .await
                .refused(Refusal::AccountInactive)
                .raised(&[]);
        }
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
    async fn of_ten_at_once_three_get_a_letter_and_one_token_is_left() {
        let scene = given(account());
        let told = join_all((0..10).map(|_| scene.when(request()))).await;
        let (won, lost): (Vec<_>, Vec<_>) = told.into_iter().partition(|t| t.answer.is_ok());
        assert_eq!(won.len(), 3);
        for told in lost {
            told.refused(Refusal::RateLimited);
        }
        let open = scene.world.see(|s| {
            s.one_time
                .values()
                .filter(|(t, _)| t.ended_at.is_none())
                .count()
        });
        assert_eq!(open, 1);
    }

    #[tokio::test]
    async fn an_account_that_is_locked_meanwhile_gets_no_token() {
        let scene = given(account());
        let user = scene.user;
        scene.world.meanwhile(Succeeded::META.kind, 1, move |s| {
            let account = s.accounts.get_mut(&user).unwrap();
            (account.state, account.security_version) = (AccountState::Locked, 2);
        });
        scene
            .when(request())
            .await
            .refused(Refusal::AccountInactive)
            .raised(&[]);
        assert!(scene.world.see(|s| s.one_time.is_empty()));
    }
}
