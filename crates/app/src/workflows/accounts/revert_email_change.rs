//! Take a change of address back: the link that the old address was sent in, the account goes by that address again. Whoever
//! changed it loses every session and device, and the links of later changes; a new password is the owner's next step.

use quivive_domain::one_time::{Presented, Purpose};
use quivive_domain::session::InvalidatedBy;

use super::confirm_email_change::Reply;
use crate::one_time::{self, Unredeemable};
use crate::sessions::end_everything;
use crate::workflows::prelude::*;

pub struct RevertEmailChange {
    /// `None`: what was presented does not even look like a token.
    pub token: Option<Presented>,
}

#[derive(Event)]
#[event(
    type = "user.email_change_reversal.attempted",
    version = 1,
    name = "EmailChangeReversalAttempted",
    audit = "EMAIL_CHANGE_REVERSAL_ATTEMPTED"
)]
pub struct Attempted {
    pub token_id: Option<TokenId>,
}

#[derive(Event)]
#[event(
    type = "user.email_change_reversal.succeeded",
    version = 1,
    name = "EmailChangeReversed",
    audit = "EMAIL_CHANGE_REVERSAL_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    /// The one that is given up.
    #[event(personal)]
    pub old_email: Email,
    #[event(personal)]
    pub new_email: Email,
    pub sessions_ended: u32,
}

#[derive(Event)]
#[event(
    type = "user.email_change_reversal.failed",
    version = 1,
    name = "EmailChangeReversalFailed",
    audit = "EMAIL_CHANGE_REVERSAL_FAILED"
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
    /// Somebody else took the address meanwhile.
    DuplicateEmail,
}

also_refuses!(Unredeemable: TokenNotFound, TokenExpired, TokenAlreadyUsed, UserNotFound);

impl Workflow for RevertEmailChange {
    const NAME: &'static str = "email_change_reversal";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        one_time::subject(cx, self.token.as_ref(), Purpose::RevertEmail).await
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
        let (account, mut commit) = match one_time::redeem(cx, token, Purpose::RevertEmail).await? {
            Ok(redeemed) => redeemed,
            Err(token) => return refuse(token.into()),
        };
        let Some(change) = one_time::email_change(cx, token).await? else {
            return refuse(Refusal::TokenNotFound);
        };
        let owner = cx.accounts.by_address(&change.address).await?;
        if owner.is_some_and(|owner| owner.id != account.id) {
            return refuse(Refusal::DuplicateEmail);
        }
        commit.write(cx.accounts.end_email_change(change.token));
        // An older one stays: it may be the owner's, and this one whoever took the account.
        let newer = cx
            .one_time
            .end_newer(change.token, account.id, Purpose::RevertEmail, cx.now());
        commit.write(newer);
        commit.write(cx.accounts.set_email(&account, &change.address, cx.now()));
        let why = InvalidatedBy::EmailChange;
        let sessions_ended = end_everything(&mut commit, cx, &account, None, why).await?;
        commit.acted_by(account.id);
        let succeeded = Succeeded {
            user_id: account.id,
            old_email: Email::from(&account.email),
            new_email: Email::from(&change.address),
            sessions_ended,
        };
        let user_id = account.id;
        succeed(commit, succeeded, Reply { user_id })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{NEW_PASSWORD, PASSWORD, Scene, account, account_of, given, password};
    use crate::workflows::accounts::change_email::ChangeEmail;
    use crate::workflows::accounts::confirm_email_change::ConfirmEmailChange;
    use crate::workflows::passwords::change_password::{Change, ChangePassword};

    /// Somebody with the password moves the account; the link that the address before was sent.
    async fn moved(scene: &Scene, to: &str) -> RevertEmailChange {
        let change = ChangeEmail {
            by: scene.proven(),
            new_email: Address::parse(to).unwrap(),
        };
        assert!(scene.when(change).await.answer.is_ok());
        let confirm = ConfirmEmailChange {
            token: scene.token(Purpose::ChangeEmail),
            session: None,
        };
        scene.when(confirm).await.succeeded();
        RevertEmailChange {
            token: scene.token(Purpose::RevertEmail),
        }
    }

    fn address(scene: &Scene) -> String {
        scene.account().email.typed().to_owned()
    }

    #[tokio::test]
    async fn the_owner_takes_it_back_whatever_was_changed_since() {
        let scene = given(account().verified()).by_owner();
        let link = moved(&scene, "thief@new.example").await;
        let session = scene.signed_in().await.session_id;
        let change = ChangePassword {
            user: scene.user,
            change: Change::Own {
                session,
                current: password(PASSWORD),
                new: password(NEW_PASSWORD),
            },
        };
        scene.when(change).await.succeeded();
        let later = moved(&scene, "thief@newer.example").await;
        scene.world.pass(Duration::from_hours(6 * 24));

        let told = scene.when(link).await.succeeded();
        let event = told.event::<Succeeded>().await;
        let addresses = (event.old_email.as_str(), event.new_email.as_str());
        assert_eq!(addresses, ("thief@newer.example", "ada@example.org"));
        assert_eq!(address(&scene), "ada@example.org");
        assert_eq!(scene.open_sessions(), 0);
        assert!(scene.world.see(|s| s.devices.is_empty()));
        let told = scene.when(later).await;
        told.refused(Refusal::TokenExpired).raised(&[]);
    }

    #[tokio::test]
    async fn a_later_link_does_not_end_the_owners() {
        let scene = given(account().verified()).by_owner();
        let owners = moved(&scene, "thief@new.example").await;
        let thiefs = moved(&scene, "thief@newer.example").await;
        scene.when(thiefs).await.succeeded();
        assert_eq!(address(&scene), "thief@new.example");
        scene.when(owners).await.succeeded();
        assert_eq!(address(&scene), "ada@example.org");
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let scene = given(account().verified()).by_owner();
        let link = moved(&scene, "ada@new.example").await;
        let again = || RevertEmailChange {
            token: link.token.clone(),
        };
        let nothing = RevertEmailChange { token: None };
        scene.when(nothing).await.refused(Refusal::TokenNotFound);
        let other = scene.clone().and(account_of("ada@example.org"));
        let told = scene.when(again()).await;
        told.refused(Refusal::DuplicateEmail).raised(&[]);
        let taken = other.user;
        scene.world.change(|s| s.accounts.remove(&taken));
        scene.when(again()).await.succeeded();
        let told = scene.when(again()).await;
        told.refused(Refusal::TokenAlreadyUsed);

        let late = moved(&scene, "ada@new.example").await;
        scene.world.pass(Duration::from_hours(7 * 24));
        scene.when(late).await.refused(Refusal::TokenExpired);

        let scene = given(account().verified()).by_owner();
        let orphan = moved(&scene, "ada@new.example").await;
        scene.world.change(|s| s.accounts.clear());
        scene.when(orphan).await.refused(Refusal::UserNotFound);
    }
}
