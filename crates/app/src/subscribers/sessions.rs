//! Forgets cached sessions when something was said of them. The security effect itself was in the commit; this only makes it
//! felt at once.

use std::sync::Arc;

use quivive_delivery::subscriber::{Begin, Filter, Subscription};
use quivive_delivery::{BoxFuture, Handler, Outcome, Received};
use quivive_domain::UserId;
use uuid::Uuid;

use crate::access::Access;
use crate::facts::{SessionEvicted, SessionInvalidated, SessionTerminated};

pub fn subscription(access: Arc<Access>) -> Subscription {
    let filter = Filter::Matching(vec![
        "SessionTerminated",
        "SessionInvalidated",
        "SessionEvicted",
        "UserPasswordChangeSucceeded",
        "PasswordResetConfirmSucceeded",
        "AdministratorBootstrapSucceeded",
    ]);
    Subscription {
        // The cache of a process that starts is empty.
        begin: Begin::Head,
        ..Subscription::durable("sessions", filter, Arc::new(Sessions(access)))
    }
}

struct Sessions(Arc<Access>);

impl Handler for Sessions {
    fn handle<'a>(&'a self, event: &'a Received) -> BoxFuture<'a, Outcome> {
        forget(&self.0, event);
        Box::pin(std::future::ready(Outcome::Done))
    }
}

fn forget(access: &Access, event: &Received) {
    if let Ok(ended) = event.decode::<SessionTerminated>() {
        access.forget(ended.session_id);
    } else if let Ok(ended) = event.decode::<SessionInvalidated>() {
        access.forget(ended.session_id);
    } else if let Ok(ended) = event.decode::<SessionEvicted>() {
        access.forget(ended.session_id);
    } else if let Some(account) = event.envelope().subject.as_deref().and_then(|s| Uuid::parse_str(s).ok()) {
        access.forget_account(UserId(account));
    }
}
