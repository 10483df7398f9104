//! Register: an address and a password in, an unverified account and a letter out.
//!
//! Whether the address was taken is not told: the caller gets the same answer in the same time, the owner gets a letter.
//! One commit: the account, its verification token, the event. Source: document 000.

use quivive_domain::one_time::Purpose;

use crate::letters::Locale;
use crate::workflows::prelude::*;
use crate::{one_time, passwords};

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
    const ATTEMPT_FIRST: bool = true;
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    /// The owner of a taken address, else the account that is to be: its id is given here, and its key made. Where it cannot
    /// come to be there is none.
    async fn subject(&self, cx: &Cx) -> Result<Subject, Fault> {
        let Ok(address) = Address::parse(&self.email) else {
            return cx.source().await;
        };
        // For a taken address, too: both take the same time.
        let unfit = self.unfit(cx, &address);
        let subject = match cx.accounts.by_address(&address).await? {
            Some(owner) => Subject::Account(owner.id),
            None if unfit.is_none() => Subject::Account(UserId(cx.ids.next())),
            None => cx.digest_of(&address).await?,
        };
        cx.keep(unfit);
        Ok(subject)
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
        let Ok(address) = Address::parse(&self.email) else {
            return refuse(Refusal::InvalidEmail);
        };
        let unfit = cx.kept().unwrap_or_else(|| self.unfit(cx, &address));
        let id = match (unfit, cx.subject().account()) {
            (Some(refusal), _) => return refuse(refusal),
            (None, Some(id)) => id,
            (None, None) => return Err(Fault::Internal("nobody is to be registered".to_owned())),
        };
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
        let token = one_time::issue(&mut commit, cx, &account, Purpose::VerifyEmail);

        let succeeded = Succeeded {
            user_id: account.id,
            email: Email::from(&account.email),
            verification_token_id: token,
            email_sent: true,
            locale: Reason::new(Locale::best(&account.locale).code()),
            signup_method: Reason::new("password"),
        };
        succeed(commit, succeeded, ())
    }
}

impl RegisterUser {
    /// What stands against it, whoever has the address.
    fn unfit(&self, cx: &Cx, address: &Address) -> Option<Refusal> {
        if !cx.settings.registration_open {
            return Some(Refusal::RegistrationClosed);
        }
        let weak = passwords::is_weak(cx, &self.password, address);
        weak.then_some(Refusal::WeakPassword)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use quivive_delivery::Event as _;

    use super::*;
    use crate::settings::Settings;
    use crate::testing::{PASSWORD, Scene, Told, account, given, nobody, password};
    use crate::workflows::accounts::verify_email::VerifyEmail;

    fn register(email: &str, text: &str) -> RegisterUser {
        RegisterUser {
            email: email.to_owned(),
            password: password(text),
            display_name: Some("Ada".to_owned()),
            locale: Some("pt".to_owned()),
        }
    }

    /// The name of the key that sealed the personal fields of one of its events.
    fn sealed_under(told: &Told<RegisterUser>, index: usize) -> &str {
        &told.events[index].personal.as_ref().expect("sealed").key
    }

    #[tokio::test]
    async fn what_is_said_of_an_account_is_under_its_key_from_its_attempt_on() {
        let scene = nobody();
        let told = scene
            .when(register("ada@example.org", "password1234"))
            .await;
        let told = told.refused(Refusal::WeakPassword);
        assert_eq!(sealed_under(&told, 0), "m:2026-11");
        assert_eq!(sealed_under(&told, 1), "m:2026-11");
        let subject = told.events[0].envelope.subject.as_ref().unwrap();
        assert!(subject.starts_with("address:"), "none is made for nobody");

        let told = scene
            .when(register("ada@example.org", PASSWORD))
            .await
            .succeeded();
        let own = format!("s:{}", registered(&scene).id);
        assert_eq!(
            (sealed_under(&told, 0), sealed_under(&told, 1)),
            (&*own, &*own)
        );

        let told = scene.when(register("ada@example.org", PASSWORD)).await;
        let told = told.refused(Refusal::DuplicateEmail);
        assert_eq!(
            (sealed_under(&told, 0), sealed_under(&told, 1)),
            (&*own, &*own)
        );
    }

    #[tokio::test]
    async fn who_loses_a_race_for_an_address_is_not_who_has_it() {
        let scene = nobody();
        let both = || scene.when(register("ada@example.org", PASSWORD));
        let (one, two) = tokio::join!(both(), both());
        let lost = if one.answer.is_ok() { two } else { one };
        let lost = lost.refused(Refusal::DuplicateEmail);
        assert_eq!(scene.world.missed(), ["account insert"]);
        let winner = format!("s:{}", registered(&scene).id);
        assert_ne!(sealed_under(&lost, 1), winner);
    }

    fn registered(scene: &Scene) -> Account {
        scene
            .world
            .see(|s| s.accounts.values().next().cloned())
            .expect("an account")
    }

    #[tokio::test]
    async fn an_account_its_token_and_its_event_are_one_commit() {
        let scene = nobody();
        let told = scene
            .when(register("Ada@Example.org", PASSWORD))
            .await
            .succeeded()
            .raised(&[]);
        let account = registered(&scene);
        assert_eq!(
            told.events[0].envelope.key.as_str(),
            format!("account:{}", account.id)
        );
        assert_eq!(account.email.canonical(), "ada@example.org");
        assert_eq!((account.verified_at, account.locale.as_str()), (None, "pt"));
        let said = told.event::<Succeeded>().await;
        assert_eq!(
            (said.user_id, said.email.as_str(), said.email_sent),
            (account.id, "Ada@Example.org", true)
        );
        assert!(!format!("{:?}", scene.world.log()).contains(PASSWORD));

        let scene = Scene {
            user: account.id,
            ..scene
        };
        let token = scene.token(Purpose::VerifyEmail);
        assert_eq!(
            token.as_ref().map(|t| t.id),
            Some(said.verification_token_id)
        );
        scene.when(VerifyEmail { token }).await.succeeded();
        scene.signed_in().await;
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        let scene = nobody();
        for email in ["", "ada", "ada@example@org", "аda@example.org"] {
            let told = scene
                .when(register(email, PASSWORD))
                .await
                .refused(Refusal::InvalidEmail)
                .raised(&[]);
            assert!(told.events[0].envelope.key.as_str().starts_with("source:"));
        }
        scene
            .when(register("ada@example.org", "password1234"))
            .await
            .refused(Refusal::WeakPassword);
        assert!(
            scene
                .world
                .see(|s| s.accounts.is_empty() && s.one_time.is_empty())
        );

        let settings = Settings {
            registration_open: false,
            ..Settings::for_url("https://id.example.org")
        };
        let workflows = crate::switchboard::workflows().unwrap();
        let closed = Scene {
            kernel: scene.world.kernel_with(workflows, settings),
            ..scene
        };
        closed
            .when(register("ada@example.org", PASSWORD))
            .await
            .refused(Refusal::RegistrationClosed);
    }

    #[tokio::test]
    async fn a_taken_address_is_about_its_owner_and_costs_a_hash() {
        let scene = given(account());
        let told = scene
            .when(register("ADA@example.org", PASSWORD))
            .await
            .refused(Refusal::DuplicateEmail);
        assert_eq!(
            told.events[0].envelope.subject,
            Some(scene.user.to_string())
        );
        assert_eq!(
            told.event::<Failed>().await.email.as_str(),
            "ADA@example.org"
        );
        assert_eq!(scene.world.hashing(), (1, 0));
        assert_eq!(
            scene.account().display_name,
            None,
            "nothing of the owner's is touched"
        );
    }

    #[tokio::test]
    async fn of_ten_at_once_one_gets_the_address() {
        let scene = nobody();
        let told =
            join_all((0..10).map(|_| scene.when(register("ada@example.org", PASSWORD)))).await;
        let (won, lost): (Vec<_>, Vec<_>) = told.into_iter().partition(|t| t.answer.is_ok());
        assert_eq!(won.len(), 1);
        for told in lost {
            told.refused(Refusal::DuplicateEmail).raised(&[]);
        }
        assert_eq!(
            scene.world.hashing(),
            (10, 0),
            "each hashed once, though it decided twice"
        );
        assert_eq!(
            scene.world.see(|s| (s.accounts.len(), s.one_time.len())),
            (1, 1)
        );
        let succeeded = scene
            .world
            .kinds()
            .iter()
            .filter(|kind| *kind == Succeeded::META.kind)
            .count();
        assert_eq!(succeeded, 1);
    }
}
