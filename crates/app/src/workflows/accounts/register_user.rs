//! Register: an address and a password in, an unverified account and a letter out.
//!
//! Whether the address was taken is not told: the caller gets the same answer in the same time, the owner gets a letter.
//! One commit: the account, its verification token, the event. Source: document 000.

use quivive_domain::one_time::Purpose;

use crate::one_time;
use crate::workflows::prelude::*;

pub struct RegisterUser {
    pub email: String,
    pub password: Password,
    pub display_name: Option<String>,
    pub locale: Option<String>,
}

#[derive(Event)]
#[event(
    type = "user.registration.attempted",
    version = 1,
    name = "UserRegistrationAttempted",
    audit = "USER_REGISTRATION_ATTEMPTED"
)]
pub struct Attempted {
    #[event(personal)]
    pub email: Email,
}

#[derive(Event)]
#[event(
    type = "user.registration.succeeded",
    version = 1,
    name = "UserRegistrationSucceeded",
    audit = "USER_REGISTERED",
    also = ["user_registered", "UserRegistered"]
)]
pub struct Succeeded {
    pub user_id: UserId,
    #[event(personal)]
    pub email: Email,
    pub verification_token_id: TokenId,
    /// A letter was committed with the user.
    pub email_sent: bool,
    pub locale: Reason,
    pub signup_method: Reason,
}

#[derive(Event)]
#[event(
    type = "user.registration.failed",
    version = 1,
    name = "UserRegistrationFailed",
    audit = "USER_REGISTRATION_FAILED"
)]
pub struct Failed {
    #[event(personal)]
    pub email: Email,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    InvalidEmail,
    WeakPassword,
    DuplicateEmail,
    RegistrationClosed,
}

impl Workflow for RegisterUser {
    const NAME: &'static str = "user_registration";
    const HASHES: bool = true;
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    /// The owner of a taken address, else the account that is to be: its id is given here.
    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        let Ok(address) = Address::parse(&self.email) else {
            return cx.source().await;
        };
        let owner = cx.accounts.by_address(&address).await?;
        Ok(Subject::Account(match owner {
            Some(owner) => owner.id,
            None => UserId(cx.ids.next()),
        }))
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
        let (Ok(address), Some(id)) = (Address::parse(&self.email), cx.subject().account()) else {
            return refuse(Refusal::InvalidEmail);
        };
        if !cx.settings.registration_open {
            return refuse(Refusal::RegistrationClosed);
        }
        if cx.settings.passwords.check(&self.password, Some(&address)).is_err() {
            return refuse(Refusal::WeakPassword);
        }
        // Hashed before the address is looked up, so that a taken one takes the same time.
        let hash = cx.passwords.hash(&self.password).await?;
        if cx.accounts.by_address(&address).await?.is_some() {
            return refuse(Refusal::DuplicateEmail);
        }

        let mut account = Account::new(id, address, hash, cx.now());
        account.display_name.clone_from(&self.display_name);
        if let Some(locale) = &self.locale {
            account.locale.clone_from(locale);
        }
        let mut commit = Commit::default();
        commit.write_all(cx.accounts.insert(&account));
        let lifetime = cx.settings.lifetimes.email_verification;
        let token = one_time::issue(&mut commit, cx, &account, Purpose::VerifyEmail, lifetime);
        commit.write(one_time::count_letter(cx, &account, Purpose::VerifyEmail));

        let succeeded = Succeeded {
            user_id: account.id,
            email: Email::from(&account.email),
            verification_token_id: token,
            email_sent: true,
            locale: Reason::owned(&account.locale),
            signup_method: Reason::new("password"),
        };
        succeed(commit, succeeded, ())
    }
}
