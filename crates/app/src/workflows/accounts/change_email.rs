//! Ask for another address. The attempt stays open until the new address is confirmed (`confirm_email_change`), which is its
//! outcome, or for an hour. The answer does not say whether the address is somebody's.
//!
//! A newer one cancels the older.

use quivive_domain::one_time::Purpose;

use crate::facts::EmailChangeRequested;
use crate::kernel::wait;
use crate::one_time;
use crate::ports::EmailChange;
use crate::step_up::Proven;
use crate::workflows::prelude::*;

pub struct ChangeEmail {
    pub by: Proven,
    pub new_email: Address,
}

#[derive(Event)]
#[event(
    type = "user.email_change.attempted",
    version = 1,
    name = "EmailChangeAttempted",
    audit = "EMAIL_CHANGE_ATTEMPTED"
)]
pub struct Attempted {
    pub user_id: UserId,
    #[event(personal)]
    pub new_email: Email,
}

#[derive(Event)]
#[event(
    type = "user.email_change.succeeded",
    version = 1,
    name = "EmailChangeSucceeded",
    audit = "EMAIL_CHANGE_SUCCEEDED"
)]
pub struct Succeeded {
    pub user_id: UserId,
    #[event(personal)]
    pub old_email: Email,
    #[event(personal)]
    pub new_email: Email,
}

#[derive(Event)]
#[event(
    type = "user.email_change.failed",
    version = 1,
    name = "EmailChangeFailed",
    audit = "EMAIL_CHANGE_FAILED"
)]
pub struct Failed {
    pub user_id: UserId,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    DuplicateEmail,
    /// The account is there no more, or a newer change was asked for.
    Cancelled,
    RateLimited,
    StepUpRequired,
}

impl Workflow for ChangeEmail {
    const NAME: &'static str = "email_change";
    const ATTEMPT_FIRST: bool = true;
    const EXPIRED: &'static str = "expired";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::Account(self.by.user))
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            user_id: self.by.user,
            new_email: Email::from(&self.new_email),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            user_id: attempted.user_id,
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        if !self.by.is_fresh(cx) {
            return refuse(Refusal::StepUpRequired);
        }
        let (Some(account), Some(attempt)) = (cx.account_of_subject().await?, cx.waiting()) else {
            return refuse(Refusal::Cancelled);
        };
        if one_time::letters_spent(cx, &account, Purpose::ChangeEmail).await? {
            return refuse(Refusal::RateLimited);
        }
        // Whoever's it is: their own, too, is nothing to change to.
        if cx.accounts.by_address(&self.new_email).await?.is_some() {
            return refuse(Refusal::DuplicateEmail);
        }
        let mut commit = cx.fenced(&account);
        cancel_open(&mut commit, cx, account.id).await?;
        let token = one_time::issue(&mut commit, cx, &account, Purpose::ChangeEmail);
        commit.write(cx.accounts.insert_email_change(&EmailChange {
            token,
            account: account.id,
            address: self.new_email.clone(),
            attempt: Some(attempt),
        }));
        commit.fact(&EmailChangeRequested {
            user_id: account.id,
            token_id: token,
        });
        let until = cx.now() + cx.settings.lifetimes.one_time(Purpose::ChangeEmail);
        wait(until, commit, ())
    }
}

/// Ends the changes of an account that wait.
pub(super) async fn cancel_open(commit: &mut Commit, cx: &Cx, of: UserId) -> Result<(), Fault> {
    for older in cx.accounts.open_email_changes(of).await? {
        cancel(commit, cx, &older).await?;
    }
    Ok(())
}

/// Ends an older change, with its outcome unless its hour is over: then the sweeper has said so, or will.
async fn cancel(commit: &mut Commit, cx: &Cx, older: &EmailChange) -> Result<(), Fault> {
    commit.write(cx.accounts.end_email_change(older.token));
    let token = cx.one_time.by_id(older.token).await?;
    if let Some(attempt) = older.attempt
        && token.is_some_and(|token| token.expires_at > cx.now())
    {
        let failed = Failed {
            user_id: older.account,
            reason: Reason::new("cancelled"),
        };
        commit.conclude(attempt, &failed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{Scene, account, account_of, given};

    fn change(scene: &Scene, to: &str) -> ChangeEmail {
        ChangeEmail {
            by: scene.proven(),
            new_email: Address::parse(to).unwrap(),
        }
    }

    #[tokio::test]
    async fn it_waits_for_the_new_address_and_then_gives_up() {
        let scene = given(account().verified()).by_owner();
        let told = scene.when(change(&scene, "ada@new.example")).await;
        assert!(told.answer.is_ok());
        let kinds = ["user.email_change.attempted", "user.email_change_requested"];
        assert_eq!(told.kinds(), kinds);
        assert_eq!(scene.account().email.typed(), "ada@example.org");

        scene.world.pass(Duration::from_hours(1));
        let recovered = scene.kernel.recover().await.unwrap();
        assert_eq!(recovered.expired, 1);
        let last = scene.world.log().pop().unwrap();
        assert_eq!(last.envelope.kind, "user.email_change.failed");
        let body: serde_json::Value = serde_json::from_slice(&last.body).unwrap();
        assert_eq!(body["reason"], "expired");
        // A newer one does not conclude it again.
        let told = scene.when(change(&scene, "ada@newer.example")).await;
        assert_eq!(told.kinds(), kinds);
    }

    #[tokio::test]
    async fn a_newer_one_cancels_the_older() {
        let scene = given(account().verified()).by_owner();
        scene.when(change(&scene, "ada@new.example")).await;
        let first = scene.token(Purpose::ChangeEmail).unwrap().id;
        let told = scene.when(change(&scene, "ada@newer.example")).await;
        assert_eq!(
            told.kinds(),
            [
                "user.email_change.attempted",
                "user.email_change.failed",
                "user.email_change_requested"
            ]
        );
        assert_eq!(told.open("user.email_change.failed")["reason"], "cancelled");
        let waiting = |s: &crate::testing::State| s.attempts.len();
        assert_eq!(scene.world.see(waiting), 1);
        let ended = |s: &crate::testing::State| s.one_time[&first].0.ended_at.is_some();
        assert!(scene.world.see(ended));
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let scene = given(account_of("eve@example.org").verified());
        let scene = scene.and(account().verified()).by_owner();
        for taken in ["Eve@example.org", "ADA@example.org"] {
            let told = scene.when(change(&scene, taken)).await;
            told.refused(Refusal::DuplicateEmail).raised(&[]);
        }
        for n in 0..3 {
            let told = scene
                .when(change(&scene, &format!("ada{n}@new.example")))
                .await;
            assert!(told.answer.is_ok());
        }
        let told = scene.when(change(&scene, "ada4@new.example")).await;
        told.refused(Refusal::RateLimited).raised(&[]);
        let late = change(&scene, "ada5@new.example");
        let told = scene.after(600).when(late).await;
        told.refused(Refusal::StepUpRequired).raised(&[]);
        scene.world.change(|s| s.accounts.clear());
        let told = scene.when(change(&scene, "ada5@new.example")).await;
        told.refused(Refusal::Cancelled).raised(&[]);
    }
}
