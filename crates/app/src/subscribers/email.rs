//! Tells people by mail what happened to their account. One letter for an event; the provider's idempotency key is the
//! delivery's.
//!
//! A letter goes to the stored address of the account, never to what somebody typed. The secret of a link is derived here,
//! when the letter is written; a token that was used or is too old gets no letter.

use std::sync::Arc;

use quivive_delivery::subscriber::{Effects, Fact, Replay};
use quivive_delivery::{Code, Cx, Fault, Outcome, Received, Subscription, Time, subscriber};
use quivive_domain::one_time::Redeemable;
use quivive_domain::{Account, Address, TokenId, UserId};
use uuid::Uuid;

use crate::facts::{
    DeviceRegistered, EmailChangeRequested, EmailDelivered, EmailDeliveryFailed, TokenReuseDetected,
};
use crate::kernel::Families;
use crate::letters::{By, Letters, Locale, Slots, Template};
use crate::one_time;
use crate::ports::{Letter, MailError, Mailer};
use crate::settings::Links;
use crate::workflows::{accounts, passwords, sessions};

/// "You already have an account": at most one an hour, however often somebody tries.
const ALREADY_REGISTERED_AN_HOUR: u32 = 1;

pub fn subscription(
    families: Arc<Families>,
    mailer: Arc<dyn Mailer>,
    letters: Letters,
) -> Subscription {
    let post = Email {
        families,
        mailer,
        letters,
    };
    // What was told once is not told again because an operator repeats something.
    email(post).replay(Replay::Deny)
}

#[subscriber(name = "email", personal, on = [
    accounts::register_user::Succeeded,
    accounts::register_user::Failed,
    accounts::verify_email::Succeeded,
    accounts::request_email_verification::Succeeded,
    passwords::request_password_reset::Succeeded,
    passwords::confirm_password_reset::Succeeded,
    passwords::change_password::Succeeded,
    accounts::lock_user::Succeeded,
    accounts::deactivate_user::Succeeded,
    accounts::reactivate_user::Succeeded,
    accounts::change_email::Succeeded,
    accounts::confirm_email_change::Succeeded,
    accounts::revert_email_change::Succeeded,
    sessions::revoke_all_sessions::Succeeded,
    EmailChangeRequested,
    TokenReuseDetected,
    DeviceRegistered,
])]
async fn email(post: &Email, event: &Received, _: &mut Cx) -> Result<Outcome, Fault> {
    post.tell(event).await
}

struct Email {
    families: Arc<Families>,
    mailer: Arc<dyn Mailer>,
    letters: Letters,
}

/// A letter to be written.
struct Draft {
    template: Template,
    /// Elsewhere than to the account's address.
    to: Option<Address>,
    link: Option<String>,
    link_minutes: Option<u32>,
    lock_minutes: Option<u32>,
    /// Counted against an hourly limit once it is sent.
    counted: bool,
}

impl Draft {
    fn of(template: Template) -> Self {
        Self {
            template,
            to: None,
            link: None,
            link_minutes: None,
            lock_minutes: None,
            counted: false,
        }
    }
}

impl Email {
    async fn tell(&self, event: &Received) -> Result<Outcome, Fault> {
        let Some(account) = self.account(event).await? else {
            return Ok(Outcome::Done);
        };
        let Some(draft) = self.draft(event, &account).await? else {
            return Ok(Outcome::Done);
        };
        let letter = self.write(event, &account, &draft)?;
        let sent = self.mailer.send(letter, &event.idempotency_key()).await;
        let mut effects = Effects::default();
        let template = Code::new(draft.template.code());
        let user_id = Some(account.id);
        let fact = match sent {
            Ok(message_id) => Fact::of(&EmailDelivered {
                user_id,
                template,
                message_id,
            }),
            Err(MailError::Permanent(error)) => {
                tracing::warn!(
                    template = draft.template.code(),
                    error,
                    "a letter was refused for good"
                );
                Fact::of(&EmailDeliveryFailed {
                    user_id,
                    template,
                    error_class: Code::new("permanent"),
                })
            }
            Err(MailError::Transient(error)) => return Ok(Outcome::Retry(error)),
        };
        effects.facts.push(fact.map_err(Fault::internal)?);
        if draft.counted {
            let kind = draft.template.code();
            let now = self.families.clock.now();
            let count = self.families.one_time.count_letter(
                account.id,
                kind,
                ALREADY_REGISTERED_AN_HOUR,
                now,
            );
            effects.writes.push(count);
        }
        Ok(Outcome::DoneWith(effects))
    }

    /// The account the event is about; `None` when there is none, or none any more.
    async fn account(&self, event: &Received) -> Result<Option<Account>, Fault> {
        let subject = event.envelope().subject.as_deref();
        match subject.and_then(|subject| Uuid::parse_str(subject).ok()) {
            Some(id) => self.families.accounts.by_id(UserId(id)).await,
            None => Ok(None),
        }
    }

    /// Which letter an event calls for, if any.
    async fn draft(&self, event: &Received, account: &Account) -> Result<Option<Draft>, Fault> {
        let links = &self.families.settings.links;
        if let Ok(registered) = event.decode::<accounts::register_user::Succeeded>() {
            let token = registered.verification_token_id;
            return self
                .with_token(Template::VerifyEmail, &links.verify, token, account)
                .await;
        }
        if let Ok(requested) = event.decode::<accounts::request_email_verification::Succeeded>() {
            let token = requested.verification_token_id;
            return self
                .with_token(Template::VerifyEmail, &links.verify, token, account)
                .await;
        }
        if let Ok(requested) = event.decode::<passwords::request_password_reset::Succeeded>() {
            let token = requested.reset_token_id;
            return self
                .with_token(Template::ResetPassword, &links.reset, token, account)
                .await;
        }
        if let Ok(requested) = event.decode::<EmailChangeRequested>() {
            let (link, token) = (&links.change_email, requested.token_id);
            return self
                .elsewhere(Template::EmailChangeConfirm, link, token, account)
                .await;
        }
        if let Ok(confirmed) = event.decode::<accounts::confirm_email_change::Succeeded>() {
            let (link, token) = (&links.revert_email, confirmed.revert_token_id);
            return self
                .elsewhere(Template::EmailChanged, link, token, account)
                .await;
        }
        if let Ok(failed) = event.decode::<accounts::register_user::Failed>() {
            return self
                .already_registered(failed.reason.as_str(), account)
                .await;
        }
        if let Ok(locked) = event.decode::<accounts::lock_user::Succeeded>() {
            let lock_minutes = locked
                .locked_until
                .map(|until| minutes_until(until, event.envelope().time));
            return Ok(Some(Draft {
                lock_minutes,
                link: Some(links.forgot.clone()),
                ..Draft::of(Template::AccountLocked)
            }));
        }
        if let Ok(ended) = event.decode::<sessions::revoke_all_sessions::Succeeded>() {
            return Ok((ended.session_count > 0).then(|| Draft {
                link: Some(links.forgot.clone()),
                ..Draft::of(Template::SessionsEnded)
            }));
        }
        if event.is::<DeviceRegistered>() {
            // The first device is the one that registered: nothing new to its owner. After a new password none is the first.
            let devices = self.families.sessions.devices(account.id).await?;
            let news = devices.len() > 1 || account.credential_epoch > 1;
            return Ok(news.then(|| Draft::of(Template::NewDevice)));
        }
        Ok(if event.is::<accounts::verify_email::Succeeded>() {
            Some(Draft::of(Template::Welcome))
        } else if event.is::<accounts::change_email::Succeeded>()
            || event.is::<accounts::revert_email_change::Succeeded>()
        {
            Some(Draft::of(Template::EmailChanged))
        } else if event.is::<accounts::deactivate_user::Succeeded>() {
            Some(Draft::of(Template::AccountDeactivated))
        } else if event.is::<accounts::reactivate_user::Succeeded>() {
            Some(Draft::of(Template::AccountReactivated))
        } else if event.is::<TokenReuseDetected>() {
            Some(Draft::of(Template::TokenReuse))
        } else if event.is::<passwords::change_password::Succeeded>()
            || event.is::<passwords::confirm_password_reset::Succeeded>()
        {
            Some(Draft::of(Template::PasswordChanged))
        } else {
            // One of the types above whose fields cannot be read: they were erased with their key.
            let (id, kind) = (event.envelope().id, &event.envelope().kind);
            tracing::warn!(event_id = %id, kind, "an event cannot be read; no letter is written");
            None
        })
    }

    async fn with_token(
        &self,
        template: Template,
        link: &str,
        id: TokenId,
        account: &Account,
    ) -> Result<Option<Draft>, Fault> {
        let now = self.families.clock.now();
        let Some(token) = self.families.one_time.by_id(id).await? else {
            return Ok(None);
        };
        if token.redeemable(account.credential_epoch, now) != Redeemable::Yes {
            return Ok(None);
        }
        let secret = one_time::derive(&self.families, &token);
        Ok(secret.map(|secret| Draft {
            link: Some(Links::with_token(link, &secret)),
            link_minutes: Some(minutes_until(token.expires_at, now)),
            ..Draft::of(template)
        }))
    }

    /// To the address that the token is about, not the account's.
    async fn elsewhere(
        &self,
        template: Template,
        link: &str,
        id: TokenId,
        account: &Account,
    ) -> Result<Option<Draft>, Fault> {
        let Some(change) = self.families.accounts.email_change(id).await? else {
            return Ok(None);
        };
        let draft = self.with_token(template, link, id, account).await?;
        Ok(draft.map(|draft| Draft {
            to: Some(change.address),
            ..draft
        }))
    }

    async fn already_registered(
        &self,
        reason: &str,
        account: &Account,
    ) -> Result<Option<Draft>, Fault> {
        let template = Template::AlreadyRegistered;
        let now = self.families.clock.now();
        let sent = self
            .families
            .one_time
            .letters(account.id, template.code(), now)
            .await?;
        if reason != "duplicate_email" || sent >= ALREADY_REGISTERED_AN_HOUR {
            return Ok(None);
        }
        Ok(Some(Draft {
            link: Some(self.families.settings.links.forgot.clone()),
            counted: true,
            ..Draft::of(template)
        }))
    }

    fn write(&self, event: &Received, account: &Account, draft: &Draft) -> Result<Letter, Fault> {
        let settings = &self.families.settings;
        let slots = Slots {
            link: draft.link.clone(),
            link_minutes: draft.link_minutes,
            lock_minutes: draft.lock_minutes,
            by: by(event, account),
            display_name: account.display_name.clone(),
            ip: event.context.ip.clone(),
            agent: event.context.agent.clone(),
            ..Slots::new(
                settings.product.clone(),
                event.envelope().time.as_millisecond(),
            )
        };
        let locale = Locale::best(&account.locale);
        let rendered = self
            .letters
            .render(draft.template, locale, &slots)
            .map_err(Fault::internal)?;
        Ok(Letter {
            to: draft
                .to
                .as_ref()
                .unwrap_or(&account.email)
                .typed()
                .to_owned(),
            template: draft.template.code(),
            subject: rendered.subject,
            text: rendered.text,
            html: rendered.html,
        })
    }
}

/// Who did it, as the owner is told.
fn by(event: &Received, account: &Account) -> By {
    let actor = &event.envelope().actor;
    match actor.kind.as_ref() {
        "admin" if actor.id != Some(account.id.0) => By::Administrator,
        "system" => By::System,
        _ => By::Person,
    }
}

/// Rounded up, so that a letter never promises less than there is.
fn minutes_until(until: Time, from: Time) -> u32 {
    let seconds = (until.as_second() - from.as_second()).max(0);
    u32::try_from((seconds + 59) / 60).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use quivive_domain::Role;
    use quivive_domain::one_time::Purpose;
    use quivive_domain::refresh::Presented;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::kernel::{Actor, Workflow};
    use crate::testing::{NEW_PASSWORD, PASSWORD, Scene, account, given, nobody, password};
    use crate::workflows::accounts::change_email::ChangeEmail;
    use crate::workflows::accounts::confirm_email_change::ConfirmEmailChange;
    use crate::workflows::accounts::deactivate_user::DeactivateUser;
    use crate::workflows::accounts::lock_user::LockUser;
    use crate::workflows::accounts::reactivate_user::ReactivateUser;
    use crate::workflows::accounts::register_user::RegisterUser;
    use crate::workflows::accounts::request_email_verification::RequestEmailVerification;
    use crate::workflows::accounts::unlock_user::UnlockUser;
    use crate::workflows::accounts::verify_email::VerifyEmail;
    use crate::workflows::passwords::confirm_password_reset::ConfirmPasswordReset;
    use crate::workflows::passwords::request_password_reset::RequestPasswordReset;
    use crate::workflows::sessions::log_in::LogIn;
    use crate::workflows::sessions::refresh_tokens::RefreshTokens;
    use crate::workflows::sessions::revoke_all_sessions::RevokeAllSessions;

    const ADA: &str = "ada@example.org";

    fn mail(scene: &Scene) -> Subscription {
        let letters = Letters::new(None).expect("built in");
        subscription(
            Arc::clone(scene.kernel.families()),
            Arc::new(scene.world.clone()),
            letters,
        )
    }

    async fn delivered(scene: &Scene) -> Vec<Outcome> {
        scene.deliver(&mail(scene)).await
    }

    /// The templates of all letters, oldest first.
    fn templates(scene: &Scene) -> Vec<&'static str> {
        scene
            .world
            .sent()
            .iter()
            .map(|(letter, _)| letter.template)
            .collect()
    }

    fn facts(outcomes: &[Outcome]) -> Vec<&'static str> {
        let effects = outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::DoneWith(effects) => Some(effects),
            _ => None,
        });
        effects
            .flat_map(|effects| &effects.facts)
            .map(|fact| fact.meta.name)
            .collect()
    }

    fn register(email: &str) -> RegisterUser {
        RegisterUser {
            email: email.to_owned(),
            password: password(PASSWORD),
            display_name: None,
            locale: None,
        }
    }

    fn log_in(text: &str) -> LogIn {
        LogIn {
            email: ADA.to_owned(),
            password: password(text),
            device_token: None,
        }
    }

    fn request_reset() -> RequestPasswordReset {
        RequestPasswordReset {
            email: ADA.to_owned(),
        }
    }

    async fn asked<W: Workflow>(scene: &Scene, workflow: W) -> Vec<Outcome> {
        let _ = scene.when(workflow).await;
        delivered(scene).await
    }

    #[tokio::test]
    async fn each_letter_has_its_event() {
        let scene = nobody();
        let outcomes = asked(&scene, register("Ada@Example.ORG")).await;
        assert_eq!(
            (templates(&scene), facts(&outcomes)),
            (vec!["verify_email"], vec!["EmailDelivered"])
        );

        let scene = given(account());
        let email = ADA.to_owned();
        asked(&scene, RequestEmailVerification { email }).await;
        assert_eq!(templates(&scene), ["verify_email"]);

        let scene = given(account().with_verification_token());
        let token = scene.token(Purpose::VerifyEmail);
        asked(&scene, VerifyEmail { token }).await;
        assert_eq!(templates(&scene), ["welcome"]);

        let scene = given(account());
        asked(&scene, request_reset()).await;
        assert_eq!(templates(&scene), ["reset_password"]);

        let scene = given(account().with_reset_token());
        let (token, new_password) = (scene.token(Purpose::ResetPassword), password(NEW_PASSWORD));
        asked(
            &scene,
            ConfirmPasswordReset {
                token,
                new_password,
            },
        )
        .await;
        assert_eq!(templates(&scene), ["password_changed"]);

        let scene = given(account().verified());
        for _ in 0..5 {
            let _ = scene.when(log_in("wrong")).await;
        }
        delivered(&scene).await;
        assert_eq!(templates(&scene), ["account_locked"]);
        assert!(scene.world.sent()[0].0.text.contains("15 minutes"));

        let scene = given(account().verified());
        let tokens = scene.signed_in().await;
        let again = || RefreshTokens {
            token: Presented::parse(tokens.refresh_token.expose_secret()),
            device_token: None,
        };
        let _ = scene.when(again()).await;
        asked(&scene.from([198, 51, 100, 9], "curl/8"), again()).await;
        assert_eq!(templates(&scene), ["token_reuse"]);
    }

    #[tokio::test]
    async fn who_ended_all_sessions_is_told() {
        let scene = given(account().verified().with_sessions(2));
        let revoke = || RevokeAllSessions {
            user: scene.user,
            except: None,
        };
        asked(&scene.by_owner(), revoke()).await;
        assert_eq!(templates(&scene), ["sessions_ended"]);
        assert!(scene.world.sent()[0].0.text.contains("As you asked"));
        asked(&scene.by_owner(), revoke()).await;
        assert_eq!(templates(&scene).len(), 2, "the first, again: none ended");

        let mut scene = given(account().verified().with_sessions(2));
        scene.request.actor = Actor::Admin(UserId(Uuid::nil()));
        let user = scene.user;
        asked(&scene, RevokeAllSessions { user, except: None }).await;
        assert!(scene.world.sent()[0].0.text.contains("An administrator"));
    }

    #[tokio::test]
    async fn both_addresses_are_told_of_a_change() {
        let scene = given(account().verified()).by_owner();
        let change = ChangeEmail {
            user: scene.user,
            new_email: Address::parse("ada@new.example").unwrap(),
        };
        asked(&scene, change).await;
        let sent = |scene: &Scene| {
            let sent = scene.world.sent().into_iter();
            sent.map(|(letter, _)| (letter.template, letter.to))
                .collect::<Vec<_>>()
        };
        let new = || "ada@new.example".to_owned();
        assert_eq!(sent(&scene), [("email_change_confirm", new())]);
        let confirm = ConfirmEmailChange {
            token: scene.token(Purpose::ChangeEmail),
            session: None,
        };
        asked(&scene, confirm).await;
        let (outcome, mut rest) = (("email_changed", new()), sent(&scene));
        rest.drain(..1);
        assert_eq!(rest, [("email_changed", ADA.to_owned()), outcome]);
        let old = &scene.world.sent()[1].0;
        assert!(
            old.text
                .contains("https://id.example.org/email-revert?token=")
        );
        assert!(!scene.world.sent()[2].0.text.contains("email-revert"));
    }

    #[tokio::test]
    async fn what_an_administrator_did_is_told() {
        let mut scene = given(account().verified());
        scene.request.actor = Actor::Admin(UserId(Uuid::nil()));
        let user = scene.user;
        let reason = || "a reason that is none of the letter's business".to_owned();
        scene.when(LockUser { user }).await.succeeded();
        scene.when(UnlockUser { user }).await.succeeded();
        let reason_given = reason();
        let deactivate = DeactivateUser {
            user,
            reason: reason_given,
        };
        scene.when(deactivate).await.succeeded();
        let reactivate = ReactivateUser {
            user,
            reason: reason(),
        };
        scene.when(reactivate).await.succeeded();
        delivered(&scene).await;
        let expected = [
            "account_locked",
            "account_deactivated",
            "account_reactivated",
        ];
        assert_eq!(templates(&scene), expected);
        for (letter, _) in scene.world.sent() {
            assert!(letter.text.contains("An administrator"), "{}", letter.text);
            assert!(!letter.text.contains(&reason()));
        }
    }

    #[tokio::test]
    async fn a_letter_goes_to_the_stored_address_with_the_derived_link() {
        let scene = given(account());
        let typed = "  ADA@EXAMPLE.org".to_owned();
        asked(&scene, RequestPasswordReset { email: typed }).await;
        let (letter, key) = scene.world.sent().remove(0);
        assert_eq!(letter.to, ADA);
        let token = scene.token(Purpose::ResetPassword).expect("issued");
        let link = letter
            .text
            .lines()
            .find_map(|line| line.strip_prefix("https://id.example.org/reset?token="));
        assert_eq!(
            crate::testing::presented(link.expect("its link")),
            Some(token)
        );
        let event = scene.world.log().pop().expect("its event").envelope.id;
        assert_eq!(key, format!("email:{event}"));
    }

    #[tokio::test]
    async fn a_token_that_is_used_too_old_or_of_a_lost_key_gets_no_letter() {
        let used = given(account());
        used.when(request_reset()).await.succeeded();
        let (token, new_password) = (used.token(Purpose::ResetPassword), password(NEW_PASSWORD));
        used.when(ConfirmPasswordReset {
            token,
            new_password,
        })
        .await
        .succeeded();
        delivered(&used).await;
        assert_eq!(
            templates(&used),
            ["password_changed"],
            "and no link to what was used"
        );

        let late = given(account());
        late.when(request_reset()).await.succeeded();
        late.world.pass(std::time::Duration::from_mins(15));
        delivered(&late).await;
        assert!(templates(&late).is_empty());

        let lost = given(account());
        lost.when(request_reset()).await.succeeded();
        lost.world.change(|s| {
            s.one_time
                .values_mut()
                .for_each(|(token, _)| token.key = "gone".to_owned());
        });
        delivered(&lost).await;
        assert!(templates(&lost).is_empty());
    }

    #[tokio::test]
    async fn who_has_an_account_already_is_told_once_an_hour() {
        let scene = given(account());
        for _ in 0..3 {
            asked(&scene, register(ADA)).await;
        }
        assert_eq!(templates(&scene), ["already_registered"]);
        scene.world.pass(std::time::Duration::from_hours(1));
        delivered(&scene).await;
        assert_eq!(templates(&scene).len(), 2);

        let weak = RegisterUser {
            password: password("password1234"),
            ..register(ADA)
        };
        let scene = given(account());
        asked(&scene, weak).await;
        assert!(templates(&scene).is_empty(), "nothing was registered twice");
    }

    #[tokio::test]
    async fn the_first_device_is_no_news_and_the_second_is() {
        let scene = given(account().verified());
        scene.signed_in().await;
        delivered(&scene).await;
        assert!(templates(&scene).is_empty());
        scene.signed_in().await;
        delivered(&scene).await;
        assert!(templates(&scene).contains(&"new_device"));
    }

    #[tokio::test]
    async fn after_a_new_password_no_device_is_the_first() {
        let scene = given(account().verified().with_reset_token());
        let (token, new_password) = (scene.token(Purpose::ResetPassword), password(NEW_PASSWORD));
        let reset = ConfirmPasswordReset {
            token,
            new_password,
        };
        scene.when(reset).await.succeeded();
        scene.when(log_in(NEW_PASSWORD)).await.succeeded();
        delivered(&scene).await;
        assert_eq!(templates(&scene), ["password_changed", "new_device"]);
    }

    #[tokio::test]
    async fn nobody_gets_no_letter() {
        let scene = nobody();
        let outcomes = asked(&scene, request_reset()).await;
        assert!(outcomes.is_empty() && templates(&scene).is_empty());
    }

    #[tokio::test]
    async fn what_the_mail_server_says_decides_what_is_left_behind() {
        let scene = given(account());
        scene
            .world
            .mail_error(Some(MailError::Transient("try later".to_owned())));
        let outcomes = asked(&scene, register(ADA)).await;
        assert!(matches!(outcomes.as_slice(), [Outcome::Retry(_)]));
        assert!(
            scene.world.see(|s| s.letters.is_empty()),
            "what was not sent is not counted"
        );

        scene
            .world
            .mail_error(Some(MailError::Permanent("no such mailbox".to_owned())));
        assert_eq!(facts(&delivered(&scene).await), ["EmailDeliveryFailed"]);
    }

    /// The keys of a person can be gone while their events are read: then nothing is told, rather than something else.
    #[tokio::test]
    async fn an_event_that_cannot_be_read_gets_no_other_letter() {
        let scene = given(account().role(Role::Support));
        scene.when(request_reset()).await.succeeded();
        scene.world.erase(&format!("s:{}", scene.user));
        delivered(&scene).await;
        assert!(templates(&scene).is_empty(), "{:?}", templates(&scene));
    }
}
