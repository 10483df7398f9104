//! Account provisioning: who has verified an address gets a profile, and the operator's customer relations get a contact.
//!
//! It begins with the verification, not with the registration: an address that nobody has confirmed is nobody's business
//! elsewhere. When the customer relations give up, or a day has passed, what was done is undone in reverse: the contact, the
//! profile. The account itself stays; it works without either. Source: document 004.

use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::process::{For, Process, Step};
use quivive_delivery::subscriber::{Cx, Outcome, Retry};
use quivive_delivery::{BoxFuture, Code};
use quivive_domain::UserId;
use uuid::Uuid;

use crate::kernel::Families;
use crate::ports::{Contact, Crm, CrmError, Profiles};
use crate::workflows::accounts::verify_email;

/// What is not done by then is undone.
const WITHIN: Duration = Duration::from_hours(24);

/// What the names of its subscriptions begin with.
pub const FAMILY: &str = "provisioning.";

/// Its steps, by the names of their subscriptions.
pub const STEPS: [&str; 2] = ["provisioning.profile", "provisioning.crm"];

/// With eight tries over some hours, the waits never longer than one.
const RETRY: Retry = Retry {
    base: Duration::from_secs(10),
    cap: Duration::from_hours(1),
    max_attempts: 8,
    ..Retry::DEFAULT
};

pub fn process(
    families: &Arc<Families>,
    profiles: &Arc<dyn Profiles>,
    crm: Arc<dyn Crm>,
) -> Process {
    let [profile, contact] = STEPS;
    let began = Process::beginning_with::<verify_email::Succeeded>("account_provisioning", WITHIN);
    let began = began.retry(RETRY).step(
        profile,
        Profile {
            families: Arc::clone(families),
            profiles: Arc::clone(profiles),
        },
    );
    began.step(
        contact,
        CrmContact {
            families: Arc::clone(families),
            crm,
        },
    )
}

/// Whom it is about: the events of a verification have an account as their subject.
fn user(asked: &For) -> Result<UserId, Outcome> {
    let id = asked.subject.as_deref().map(Uuid::parse_str);
    match id {
        Some(Ok(id)) => Ok(UserId(id)),
        _ => Err(Outcome::Poison("it is about no account".to_owned())),
    }
}

struct Profile {
    families: Arc<Families>,
    profiles: Arc<dyn Profiles>,
}

impl Step for Profile {
    fn perform<'a>(&'a self, asked: &'a For, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        let now = self.families.clock.now();
        let said = user(asked).map(|user| {
            cx.write(self.profiles.create(user, asked.process, now));
        });
        Box::pin(std::future::ready(said.into()))
    }

    fn undo<'a>(&'a self, asked: &'a For, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        let said = user(asked).map(|user| {
            cx.write(self.profiles.remove(user, asked.process));
        });
        Box::pin(std::future::ready(said.into()))
    }
}

struct CrmContact {
    families: Arc<Families>,
    crm: Arc<dyn Crm>,
}

impl Step for CrmContact {
    fn perform<'a>(&'a self, asked: &'a For, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let contact = match self.contact(asked).await {
                Ok(contact) => contact,
                Err(outcome) => return outcome,
            };
            let key = &asked.idempotency_key;
            self.crm.add(&contact, key).await.into()
        })
    }

    fn undo<'a>(&'a self, asked: &'a For, _: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match user(asked) {
                Ok(user) => self.crm.remove(user, &asked.idempotency_key).await.into(),
                Err(outcome) => outcome,
            }
        })
    }
}

impl CrmContact {
    async fn contact(&self, asked: &For) -> Result<Contact, Outcome> {
        let user_id = user(asked)?;
        let account = self.families.accounts.by_id(user_id).await?;
        let account = account.ok_or_else(|| Outcome::Undo(Code::new("user_not_found")))?;
        Ok(Contact {
            user_id,
            email: account.email,
            display_name: account.display_name,
            locale: account.locale,
        })
    }
}

impl From<CrmError> for Outcome {
    fn from(error: CrmError) -> Self {
        match error {
            CrmError::Transient {
                retry_after: Some(wait),
                why,
            } => Self::RetryAfter(wait, why),
            CrmError::Transient {
                retry_after: None,
                why,
            } => Self::Retry(why),
            CrmError::Permanent(why) => Self::GiveUp(why),
        }
    }
}
