//! Events: the ordered feed, the same as it happens, a search, one event with what became of it, the catalogue of types and their schemas.

mod append;
mod batch;
mod cursor;
mod feed;
mod query;
mod schemas;
mod search;
mod showing;
mod stream;
mod tree;
pub(in crate::routes) mod view;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use quivive_delivery::{Fault, Stored};
use quivive_domain::api_key::Scope;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::id::{Id, Named, absent};
use super::{Authority, Routes};
use crate::Web;
use crate::auth::{Known, SignedIn};
use crate::limits::Family;
use crate::problem::Problem;
use crate::request::RequestContext;
use crate::routes::query::wrong;
use cursor::head_for;
use query::Query;
use showing::Showing;
pub use tree::Tree;
pub use view::EventView;
use view::Opener;

/// Who may read events.
const AUTHORITY: Authority = Authority::AdminOr(Scope::EventsRead);

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(AUTHORITY, Family::Read, || routes!(read_feed))
        .counted(
            Authority::Service(Scope::EventsWrite),
            Family::Write,
            || routes!(append::append_events),
        )
        .known_by_itself()
        .counted(AUTHORITY, Family::Read, || routes!(stream::stream_events))
        .counted(AUTHORITY, Family::Read, || routes!(read_catalogue))
        .counted(AUTHORITY, Family::Read, || routes!(schemas::list_schemas))
        .counted(AUTHORITY, Family::Read, || routes!(schemas::read_schema))
        .counted(AUTHORITY, Family::Read, || routes!(search::search_events))
        .counted(Authority::Admin, Family::Read, || routes!(read_event))
}

/// A page of the feed.
#[derive(Serialize, ToSchema)]
struct EventPage {
    /// Oldest first.
    data: Vec<EventView>,
    /// What `after` is next time: the last position that was looked at. Never null, also at the end.
    next_cursor: u64,
    /// There was more when this was read.
    has_more: bool,
    /// Of the log; a restore raises it, and positions of another epoch mean nothing.
    epoch: u64,
}

/// The feed of all events.
///
/// In order and without gaps: ask again with `next_cursor`, and nothing is missed. With a filter a page may be empty and
/// still say `has_more`: it looks at 5,000 events at most, and `next_cursor` is behind them.
///
/// Personal fields are null, unless they are asked for with `personal=true`; then they are null once the person they were
/// about is erased. Every page that has some is an event of its own, `AuditLogCreated`: who read it, and what.
///
/// A restore of the database raises the `epoch`, and positions are others then. Send the `epoch` along, so that an old
/// cursor is answered with 410 instead of the wrong events.
///
/// With `Accept: application/cloudevents-batch+json` it is an array of CloudEvents, as the AsyncAPI document describes them,
/// and the header `Link` has the next page. That is the page that was asked for when the end is reached.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", params(
    ("after" = Option<u64>, Query, description = "A position, exclusive; 0, the default, is the start. Also with its epoch: `1-345`."),
    ("epoch" = Option<u64>, Query, description = "The `epoch` that the cursor came with: of another one it is refused instead of misread."),
    ("limit" = Option<u32>, Query, minimum = 1, maximum = 250, description = "50 unless said otherwise."),
    ("type" = Option<String>, Query, description = "A type, any other name it has, or a family: `user.*`, `*.failed`."),
    ("workflow_id" = Option<String>, Query, description = "A UUID."),
    ("correlation_id" = Option<String>, Query, description = "A UUID."),
    ("subject" = Option<String>, Query, description = "As the envelope has it: a user's id, or a keyed digest."),
    ("personal" = Option<bool>, Query, description = "`true`: personal fields, too."),
), responses(
    (status = 200, description = "The next events.", content(
        (EventPage = "application/json"),
        (Vec<Object> = "application/cloudevents-batch+json"),
    )),
    (status = 400, description = "`invalid_cursor`, `invalid_query`"),
    (status = 403, description = "`forbidden`: this needs the role admin, or an API key with the scope events.read, and events.read_personal for personal fields"),
    (status = 410, description = "`cursor_expired`: the log was restored, or holds what comes after the cursor no more"),
))]
async fn read_feed(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    caller: Known,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = Query::read(&uri, web.kernel.catalogue())?;
    let showing = Showing::of(&query, &caller, &context)?;
    let batch = batch::is_wanted(&headers);
    if batch && query.personal {
        let message = "CloudEvents are without personal fields.";
        return Err(wrong("personal", "unsupported", message));
    }
    web.log.settled().await;
    let head = head_for(web.log.as_ref(), query.after).await?;
    let after = query.after(head)?.unwrap_or(0);
    let page = feed::page(
        web.log.as_ref(),
        &query.criteria,
        after,
        query.limit(),
        head,
    )
    .await?;
    if batch {
        return Ok(batch::answer(&web, &uri, &page, head.epoch)?);
    }
    let data = showing.show(&web, page.events).await?;
    let page = EventPage {
        data,
        next_cursor: page.next_cursor,
        has_more: page.has_more,
        epoch: head.epoch,
    };
    Ok(axum::Json(page).into_response())
}

/// An event and what became of it.
#[derive(Serialize, ToSchema)]
struct EventDetail {
    #[serde(flatten)]
    event: EventView,
    /// Its state at each subscription, with the attempts begun and the last error. Of what went well nothing is kept but
    /// `latency_seconds`, from the event's commit to the end of its handler, of the last 1,024 deliveries of each
    /// subscription since the server started; else it is null.
    #[schema(value_type = Vec<Object>)]
    deliveries: Vec<serde_json::Value>,
    /// The event that caused it.
    #[schema(value_type = Option<String>, format = "uuid", required)]
    cause: Option<Uuid>,
    /// The events that it caused, as far as they lie close behind it.
    #[schema(value_type = Vec<String>)]
    effects: Vec<Uuid>,
    #[serde(flatten)]
    tree: Tree,
}

struct EventId(Uuid);

impl Named for EventId {
    const ABSENT: &'static str = "There is no event with this id.";

    fn of(id: Uuid) -> Self {
        Self(id)
    }
}

/// One event, with its delivery to each subscription, its cause and its effects.
#[utoipa::path(get, path = "/api/v1/events/{id}", tag = "events", params(
    ("id" = String, Path, description = "The event's id, a UUID."),
), responses(
    (status = 200, description = "The event.", body = EventDetail),
    (status = 404, description = "`not_found`"),
))]
async fn read_event(
    State(web): State<Arc<Web>>,
    _admin: SignedIn,
    Id(EventId(id)): Id<EventId>,
) -> Result<axum::Json<EventDetail>, Problem> {
    let absent = absent::<EventId>;
    web.log.settled().await;
    let position = web.index.position_of(id).await?;
    let after = position.ok_or_else(absent)?.saturating_sub(1);
    let found = web.log.read(after, 1).await?;
    // Retention may have cut it since.
    let event = found.into_iter().find(|event| event.envelope.id == id);
    let event = event.ok_or_else(absent)?;
    let detail = detail(&web, event).await?;
    Ok(axum::Json(detail))
}

async fn detail(web: &Web, event: Stored) -> Result<EventDetail, Fault> {
    let effects = feed::effects(web.log.as_ref(), &event).await?;
    let deliveries = web.operation.deliveries(&event).await;
    let cause = event.envelope.causation_id;
    let tree = Tree::around(web.index.as_ref(), &event).await?;
    let event = Opener::new(web.vault.as_ref(), web.kernel.catalogue())
        .view(event)
        .await?;
    Ok(EventDetail {
        event,
        deliveries,
        cause,
        effects,
        tree,
    })
}

/// Every type of event.
///
/// With its fields, its JSON Schema, its other names and its class; the same as `quivive events catalogue --output json`, and
/// behind them the types that were registered.
#[utoipa::path(get, path = "/api/v1/events/catalogue", tag = "events", responses(
    (status = 200, description = "In reading order.", body = Vec<Object>),
))]
async fn read_catalogue(
    State(web): State<Arc<Web>>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let catalogue = web.kernel.catalogue();
    let all = catalogue.all().iter().chain(catalogue.registered());
    let all = serde_json::to_value(all.collect::<Vec<_>>());
    Ok(axum::Json(all.map_err(Fault::internal)?))
}

#[cfg(test)]
mod tests;
