//! What a caller sees of events: personal fields are null, unless it asked for them and may. That it got some is in the log
//! before it gets them.

use quivive_app::Request;
use quivive_app::audit::{self, Look};
use quivive_delivery::{Criteria, Fault, Stored};
use quivive_domain::UserId;
use uuid::Uuid;

use super::query::Query;
use super::view::{EventView, Opener};
use crate::Web;
use crate::auth::Known;
use crate::problem::Problem;
use crate::request::RequestContext;

/// For one answer, or for one that goes on.
pub(super) enum Showing {
    Open,
    Personal(Box<Asked>),
}

/// Who asked for personal fields, and of which events.
pub(super) struct Asked {
    request: Request,
    criteria: Criteria,
}

impl Showing {
    pub(super) fn of(
        query: &Query,
        caller: &Known,
        context: &RequestContext,
    ) -> Result<Self, Problem> {
        if !query.personal {
            return Ok(Self::Open);
        }
        caller.must_see_personal()?;
        Ok(Self::Personal(Box::new(Asked {
            request: context.request(caller.actor()),
            criteria: query.criteria.clone(),
        })))
    }

    /// The events as the caller sees them.
    pub(super) async fn show(
        &self,
        web: &Web,
        events: Vec<Stored>,
    ) -> Result<Vec<EventView>, Fault> {
        let opener = Opener::new(web.vault.as_ref(), web.kernel.catalogue());
        match self {
            Self::Open => opener.all(events).await,
            Self::Personal(asked) => {
                record(web, asked, &events).await?;
                opener.with_personal_fields().all(events).await
            }
        }
    }
}

/// Says what was asked for, and from which position to which there was something personal. Where there is nothing personal
/// nothing is recorded: who follows the log would otherwise be given its own record with every page, and so cause the next.
async fn record(web: &Web, asked: &Asked, events: &[Stored]) -> Result<(), Fault> {
    let Asked { request, criteria } = asked;
    let mut personal = events.iter().filter(|event| event.personal.is_some());
    let Some(first) = personal.next() else {
        return Ok(());
    };
    let last = personal.next_back().unwrap_or(first);
    let mut which = format!("positions={}-{}", first.position, last.position);
    if !criteria.is_empty() {
        // A subject that an event of the log has: an id or a digest, as it stands there.
        which = format!("{criteria}&{which}");
    }
    let subject = criteria.subject().and_then(|it| Uuid::try_parse(it).ok());
    let about = match subject {
        Some(id) => web.kernel.families().accounts.by_id(UserId(id)).await?,
        None => None,
    };
    let look = Look {
        action: "personal_fields_read",
        which: Some(which),
        about: about.map(|account| account.id),
    };
    audit::record(&web.kernel, look, request.clone()).await
}
