//! Accounts: what people do with their own.

use quivive_app::idempotency;
use quivive_app::kernel::{Actor, Once};
use quivive_app::ports::Accounts as _;
use quivive_app::sessions::Tokens;
use quivive_app::step_up::Proven;
use quivive_app::testing::{password, presented};
use quivive_app::workflows::{accounts, passwords};
use quivive_domain::Address;
use quivive_domain::one_time::Purpose;

use super::driver::{Driver, NAMES, PASSWORDS, Person, shown};

impl Driver {
    pub(super) async fn register(&mut self) {
        let name = self.random.below(NAMES + 1);
        let email = match name {
            NAMES => "no address".to_owned(),
            name => format!("Ada{name}@example.org"),
        };
        let chosen = self.random.below(PASSWORDS.len());
        let mut request = self.request(Actor::Anonymous);
        if self.random.one_in(3) {
            let once = self.once(&email);
            request.once = Some(once);
        }
        let once = request.once;
        let command = accounts::register_user::RegisterUser {
            email: email.clone(),
            password: password(PASSWORDS[chosen]),
            display_name: self.random.one_in(2).then(|| "Ada L.".to_owned()),
            locale: None,
        };
        let done = self.ask(command, request, |()| "made".to_owned()).await;
        if let Some(once) = once {
            let answers = &self.machine.kernel.families().answers;
            let found = answers.find(once.token).await.expect("a read");
            self.tell(format!("known by its key: {found:?}"));
            let kept = idempotency::keep(&self.machine.kernel, &once, b"made".to_vec()).await;
            kept.expect("no fault");
        }
        if done.is_some()
            && let Ok(address) = Address::parse(&email)
        {
            let made = self.machine.db.by_address(&address).await;
            if let Some(account) = made.expect("a read") {
                self.people.push(Person {
                    id: account.id,
                    address: email,
                    password: chosen,
                });
            }
        }
    }

    pub(super) fn once(&mut self, content: &str) -> Once {
        let name = [u8::try_from(self.random.below(4)).expect("small")];
        let families = self.machine.kernel.families();
        idempotency::once(families, b"register", &name, content.as_bytes())
    }

    pub(super) async fn verify(&mut self) {
        let Some(text) = self.link(Purpose::VerifyEmail).await else {
            return;
        };
        let command = accounts::verify_email::VerifyEmail {
            token: presented(&text),
        };
        let show = |r: &accounts::verify_email::Reply| r.user_id.to_string();
        self.run(command, Actor::Anonymous, show).await;
    }

    pub(super) async fn ask_for_letters(&mut self) {
        let (at, _) = self.somebody().await;
        for _ in 0..=self.random.below(4) {
            let email = self.people[at].address.clone();
            let command = accounts::request_email_verification::RequestEmailVerification { email };
            self.run(command, Actor::Anonymous, |()| "sent".to_owned())
                .await;
        }
    }

    pub(super) async fn reset(&mut self) {
        let (at, _) = self.somebody().await;
        let email = self.people[at].address.clone();
        let command = passwords::request_password_reset::RequestPasswordReset { email };
        let show = |r: &passwords::request_password_reset::Reply| r.token.to_string();
        self.run(command, Actor::Anonymous, show).await;
        self.rest().await;
        let Some(text) = self.link(Purpose::ResetPassword).await else {
            return;
        };
        let chosen = self.random.below(PASSWORDS.len());
        let command = passwords::confirm_password_reset::ConfirmPasswordReset {
            token: presented(&text),
            new_password: password(PASSWORDS[chosen]),
        };
        let show = |r: &passwords::confirm_password_reset::Reply| r.user_id.to_string();
        if let Some(reply) = self.run(command, Actor::Anonymous, show).await {
            self.has_password(reply.user_id, chosen);
        }
    }

    /// Asked for, confirmed, or taken back.
    pub(super) async fn change_address(&mut self) {
        let (at, _) = self.somebody().await;
        let user = self.people[at].id;
        let by = Proven {
            user,
            at: self.now(),
        };
        let name = self.random.below(NAMES * 2);
        let new_email = Address::parse(&format!("Ada{name}@example.org")).expect("an address");
        let command = accounts::change_email::ChangeEmail { by, new_email };
        self.run(command, Actor::User(user), |()| "sent".to_owned())
            .await;
        self.rest().await;
        if self.random.one_in(3) {
            return;
        }
        if let Some(text) = self.link(Purpose::ChangeEmail).await {
            let command = accounts::confirm_email_change::ConfirmEmailChange {
                token: presented(&text),
                session: self.held.last().map(|held| held.session),
            };
            let show = |r: &accounts::confirm_email_change::Reply| r.user_id.to_string();
            self.run(command, Actor::Anonymous, show).await;
            self.rest().await;
        }
        if self.random.one_in(2)
            && let Some(text) = self.link(Purpose::RevertEmail).await
        {
            let token = presented(&text);
            let command = accounts::revert_email_change::RevertEmailChange { token };
            self.run(command, Actor::Anonymous, |_| "taken back".to_owned())
                .await;
        }
    }

    pub(super) async fn change_password(&mut self) {
        let Some(at) = self.session() else { return };
        let (user, session) = (self.held[at].user, self.held[at].session);
        let current = self.people.iter().find(|person| person.id == user);
        let current = current.map_or(0, |person| person.password);
        let chosen = self.random.below(PASSWORDS.len());
        let command = passwords::change_password::ChangePassword {
            user,
            change: passwords::change_password::Change::Own {
                session,
                current: password(PASSWORDS[current]),
                new: password(PASSWORDS[chosen]),
            },
        };
        let show = |tokens: &Option<Tokens>| tokens.as_ref().map(shown).unwrap_or_default();
        if let Some(tokens) = self.run(command, Actor::User(user), show).await {
            self.has_password(user, chosen);
            if let Some(tokens) = tokens {
                self.keep(user, &tokens);
            }
        }
    }

    pub(super) async fn erase(&mut self) {
        let at = self.random.below(self.people.len());
        let (user, asked) = (self.people[at].id, self.operator());
        let own = Proven {
            user,
            at: self.now(),
        };
        let by = if self.random.one_in(2) { own } else { asked };
        let command = accounts::erase_account::EraseAccount {
            user,
            cause: accounts::erase_account::Cause::Asked(by),
        };
        self.run(command, Actor::User(by.user), |()| "gone".to_owned())
            .await;
    }
}
