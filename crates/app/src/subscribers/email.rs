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
async fn email(post: &Email, event: &Received, _: &mut Cx) -> Result<Outcome, Outcome> {
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
    /// An error is what became of the event, too.
    async fn tell(&self, event: &Received) -> Result<Outcome, Outcome> {
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
    async fn draft(&self, event: &Received, account: &Account) -> Result<Option<Draft>, Outcome> {
        let links = &self.families.settings.links;
        if let Some(registered) = event.decode_if::<accounts::register_user::Succeeded>()? {
            let token = registered.verification_token_id;
            return Ok(self
                .with_token(Template::VerifyEmail, &links.verify, token, account)
                .await?);
        }
        if let Some(requested) =
            event.decode_if::<accounts::request_email_verification::Succeeded>()?
        {
            let token = requested.verification_token_id;
            return Ok(self
                .with_token(Template::VerifyEmail, &links.verify, token, account)
                .await?);
        }
        if let Some(requested) =
            event.decode_if::<passwords::request_password_reset::Succeeded>()?
        {
            let token = requested.reset_token_id;
            return Ok(self
                .with_token(Template::ResetPassword, &links.reset, token, account)
                .await?);
        }
        if let Some(requested) = event.decode_if::<EmailChangeRequested>()? {
            let (link, token) = (&links.change_email, requested.token_id);
            return Ok(self
                .elsewhere(Template::EmailChangeConfirm, link, token, account)
                .await?);
        }
        if let Some(confirmed) = event.decode_if::<accounts::confirm_email_change::Succeeded>()? {
            let (link, token) = (&links.revert_email, confirmed.revert_token_id);
            return Ok(self
                .elsewhere(Template::EmailChanged, link, token, account)
                .await?);
        }
        if let Some(failed) = event.decode_if::<accounts::register_user::Failed>()? {
            return Ok(self
                .already_registered(failed.reason.as_str(), account)
                .await?);
        }
        if let Some(locked) = event.decode_if::<accounts::lock_user::Succeeded>()? {
            let lock_minutes = locked
                .locked_until
                .map(|until| minutes_until(until, event.envelope().time));
            return Ok(Some(Draft {
                lock_minutes,
                link: Some(links.forgot.clone()),
                ..Draft::of(Template::AccountLocked)
            }));
        }
        if let Some(ended) = event.decode_if::<sessions::revoke_all_sessions::Succeeded>()? {
            return Ok((ended.session_count > 0).then(|| Draft {
                link: Some(links.forgot.clone()),
                ..Draft::of(Template::SessionsEnded)
            }));
        }
        if let Some(changed) = event.decode_if::<passwords::change_password::Succeeded>()? {
            // What an administrator demanded comes with the letter of the reset.
            let own = changed.initiated_by.as_str() == "user";
            return Ok(own.then(|| Draft::of(Template::PasswordChanged)));
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
        } else if event.is::<passwords::confirm_password_reset::Succeeded>() {
            Some(Draft::of(Template::PasswordChanged))
        } else {
            return Err(Outcome::Poison("no letter is for this type".to_owned()));
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
mod tests;
