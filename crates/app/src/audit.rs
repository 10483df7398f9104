//! Looking at what is personal in the log is in the log itself: who it was, and what was asked for.

use quivive_delivery::{Code, Fault};
use quivive_domain::UserId;

use crate::facts::AuditLogCreated;
use crate::kernel::{Actor, Kernel, Request};

/// A look at events. Nothing in it is personal.
pub struct Look {
    /// What was done with them.
    pub action: &'static str,
    /// Which of them, where that may be told.
    pub which: Option<String>,
    /// Whom they are about, where that is one account.
    pub about: Option<UserId>,
}

/// Puts it on record; it is durable when this answers, so before anything is shown.
pub async fn record(kernel: &Kernel, look: Look, request: Request) -> Result<(), Fault> {
    let fact = AuditLogCreated {
        audit_id: kernel.families().ids.next(),
        action: Code::new(look.action),
        resource_type: Code::new("event"),
        resource_id: look.which,
        actor_id: match request.actor {
            Actor::User(id) | Actor::Admin(id) => Some(id),
            // Which service, the event itself says.
            Actor::Anonymous | Actor::Service(_) | Actor::System => None,
        },
        user_id: look.about,
    };
    kernel.note(&fact, request).await
}
