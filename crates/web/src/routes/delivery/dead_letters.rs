//! Dead letters: events that could not be delivered, each with what waits behind it.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;
use quivive_app::workflows::delivery::change_subscription::Change;
use quivive_delivery::Time;
use quivive_delivery::subscriber::{Choice, DeadLetter, DeadLetterGroup, ErrorClass};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

use super::chosen::{Asked, Chosen, write_place};
use super::{change, declined};
use crate::Web;
use crate::auth::{AsCaller, SignedIn};
use crate::json::{Shaped, rationale};
use crate::limits::Family;
use crate::problem::{Code, Problem};
use crate::routes::events::EventView;
use crate::routes::events::view::Opener;
use crate::routes::{Authority, Routes};

pub(super) fn router() -> Routes {
    Routes::new()
        .counted(Authority::Admin, Family::Read, || routes!(list))
        .counted(Authority::Admin, Family::Read, || routes!(show))
        .counted(Authority::Admin, Family::Write, || routes!(redrive))
        .counted(Authority::Admin, Family::Write, || routes!(discard))
}

/// An event that could not be delivered to one subscription.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub struct DeadLetterView {
    subscription: String,
    /// The ordering key, behind which later events wait.
    key: String,
    #[schema(value_type = String, format = "uuid")]
    event_id: Uuid,
    #[schema(example = "user.registration.succeeded")]
    event_type: String,
    position: u64,
    attempts: u32,
    /// `transient`, `rate_limited`, `permanent` or `poison`.
    #[schema(required)]
    error_class: Option<&'static str>,
    /// The last error, as the handler told it.
    error: String,
    /// When it failed first.
    #[schema(value_type = String, format = "date-time")]
    failing_since: Time,
    #[schema(value_type = String, format = "date-time")]
    parked_at: Time,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(DeadLetter { subscription, lane }: DeadLetter) -> Self {
        Self {
            subscription,
            key: lane.key.as_str().to_owned(),
            event_id: lane.event_id,
            event_type: lane.event_type,
            position: lane.position,
            attempts: lane.attempts,
            error_class: lane.error_class.map(ErrorClass::code),
            error: lane.error,
            failing_since: lane.since,
            parked_at: lane.due,
        }
    }
}

/// Dead letters that have something in common.
#[derive(Serialize, ToSchema)]
#[schema(as = DeadLetterGroup)]
struct GroupView {
    subscription: String,
    error_class: &'static str,
    event_type: String,
    count: u64,
    /// When the first of them was parked.
    #[schema(value_type = String, format = "date-time")]
    oldest: Time,
}

impl From<DeadLetterGroup> for GroupView {
    fn from(group: DeadLetterGroup) -> Self {
        Self {
            subscription: group.subscription,
            error_class: group.error_class.code(),
            event_type: group.event_type,
            count: group.count,
            oldest: group.oldest,
        }
    }
}

/// A page of dead letters.
#[derive(Serialize, ToSchema)]
struct DeadLetterPage {
    /// In the order of subscription and key.
    data: Vec<DeadLetterView>,
    /// What `after` is for the next page; null where there is none.
    #[schema(required)]
    next_cursor: Option<String>,
    has_more: bool,
    /// How many there are of each kind, on all pages. On the first page only; else null.
    #[schema(required)]
    groups: Option<Vec<GroupView>>,
}

/// Dead letters.
///
/// An event whose handler gave up, or failed as often as it may, waits here for a decision, and so do later events with the
/// same key, for this subscription. The list follows the engine by a moment.
#[utoipa::path(get, path = "/api/v1/admin/dead-letters", tag = "delivery", params(
    ("subscription" = Option<String>, Query, description = "Of this subscription only."),
    ("error_class" = Option<String>, Query, description = "`transient`, `rate_limited`, `permanent` or `poison`."),
    ("type" = Option<String>, Query, description = "A type of event, or any other name it has."),
    ("key" = Option<String>, Query, description = "An ordering key."),
    ("event_id" = Option<String>, Query, description = "A UUID."),
    ("since" = Option<String>, Query, description = "Parked at this time (RFC 3339) or later."),
    ("until" = Option<String>, Query, description = "Parked before this time."),
    ("after" = Option<String>, Query, description = "The `next_cursor` of the page before."),
    ("limit" = Option<u32>, Query, minimum = 1, maximum = 250, description = "50 unless said otherwise."),
), responses(
    (status = 200, description = "Those that fit.", body = DeadLetterPage),
    (status = 400, description = "`invalid_cursor`, `invalid_query`"),
))]
async fn list(
    State(web): State<Arc<Web>>,
    _admin: SignedIn,
    uri: Uri,
) -> Result<axum::Json<DeadLetterPage>, Problem> {
    let asked = Asked::read(&uri, web.kernel.catalogue())?;
    let (name, choice) = (asked.subscription.as_deref(), &asked.choice);
    let letters = web.dead_letters.as_ref();
    let mut found = letters
        .dead_letters(name, choice, asked.after.as_ref(), asked.limit + 1)
        .await?;
    let has_more = found.len() > asked.limit;
    found.truncate(asked.limit);
    let last = found.last().filter(|_| has_more);
    let next_cursor = last.map(|last| write_place(&last.subscription, &last.lane.key));
    let groups = match asked.after {
        None => Some(letters.dead_letter_groups(name, choice).await?),
        Some(_) => None,
    };
    Ok(axum::Json(DeadLetterPage {
        data: found.into_iter().map(Into::into).collect(),
        next_cursor,
        has_more,
        groups: groups.map(|groups| groups.into_iter().map(Into::into).collect()),
    }))
}

/// A dead letter with its event.
#[derive(Serialize, ToSchema)]
struct DeadLetterDetail {
    #[serde(flatten)]
    letter: DeadLetterView,
    /// As in the feed, personal fields null. Null when the log holds it no more.
    #[schema(required)]
    event: Option<EventView>,
    /// Events behind it that the subscription wants, of the 100,000 positions after it and 1,000 of its key at most.
    behind: usize,
    /// There may be more of them: not all was looked at.
    behind_is_cut: bool,
}

/// One dead letter: its event, how it failed, and how many events wait behind it.
#[utoipa::path(get, path = "/api/v1/admin/dead-letters/{subscription}/{event_id}", tag = "delivery", params(
    ("subscription" = String, Path, description = "The subscription's name."),
    ("event_id" = String, Path, description = "A UUID."),
), responses(
    (status = 200, description = "It is parked.", body = DeadLetterDetail),
    (status = 404, description = "`not_found`: no such event is parked for this subscription"),
))]
async fn show(
    State(web): State<Arc<Web>>,
    _admin: SignedIn,
    Path((subscription, event_id)): Path<(String, String)>,
) -> Result<axum::Json<DeadLetterDetail>, Problem> {
    let absent = || {
        let detail = "No such event is parked for a subscription of this name.";
        Problem::with_detail(Code::NotFound, detail)
    };
    let event_id = Uuid::try_parse(&event_id).map_err(|_| absent())?;
    let choice = Choice {
        event_id: Some(event_id),
        ..Choice::default()
    };
    let found = web
        .dead_letters
        .dead_letters(Some(&subscription), &choice, None, 1);
    let letter = found.await?.pop().ok_or_else(absent)?;
    let deliveries = &web.kernel.families().deliveries;
    let behind = deliveries.behind(&subscription, &letter.lane).await;
    let behind = behind.map_err(declined)?.unwrap_or_default();
    let at = letter.lane.position.saturating_sub(1);
    let event = web.log.read(at, 1).await?.pop();
    let event = match event.filter(|event| event.envelope.id == event_id) {
        Some(event) => {
            let mut opener = Opener::new(web.vault.as_ref(), web.kernel.catalogue());
            Some(opener.view(event).await?)
        }
        None => None,
    };
    Ok(axum::Json(DeadLetterDetail {
        letter: letter.into(),
        event,
        behind: behind.count,
        behind_is_cut: behind.more,
    }))
}

/// Dead letters that are to be delivered again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterRedrive)]
struct Redrive {
    /// The subscription's name.
    subscription: String,
    choice: Chosen,
    /// So many in a second at most. Without it, as fast as the subscription goes.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1)]
    rate: Option<NonZeroU32>,
    /// Only count them.
    #[serde(default)]
    dry_run: bool,
}

/// Dead letters that are to be passed over.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterDiscard)]
struct Discard {
    /// The subscription's name.
    subscription: String,
    choice: Chosen,
    /// Why; told in the event, so nothing personal. Not empty.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
    /// Only count them.
    #[serde(default)]
    dry_run: bool,
}

/// How many dead letters are meant.
#[derive(Serialize, ToSchema)]
struct Decided {
    count: u64,
    /// Nothing was changed.
    dry_run: bool,
}

/// Deliver dead letters again.
///
/// Each has all its attempts again, and after it comes what waits behind it, in order. The answer comes when the first of
/// them are in the database; the others follow, each part with an event `DeadLettersRedriven`. What a stop of the server
/// leaves is redriven by asking again.
#[utoipa::path(post, path = "/api/v1/admin/dead-letters/redrive", tag = "delivery", request_body = Redrive, responses(
    (status = 200, description = "So many are meant.", body = Decided),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`wrong_state`: none of them is parked"),
    (status = 503, description = "`busy`: many others are being redriven; also as for every route"),
))]
async fn redrive(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Shaped(body): Shaped<Redrive>,
) -> Result<axum::Json<Decided>, Problem> {
    let (subscription, per_second) = (body.subscription, body.rate);
    decide(
        &web,
        asked,
        subscription,
        body.choice,
        body.dry_run,
        |choice| Change::Redrive { choice, per_second },
    )
    .await
}

/// Pass over dead letters.
///
/// For good: the event is not delivered to this subscription any more, and what waits behind it is next. Told by an event
/// `DeadLettersDiscarded` with the reason.
#[utoipa::path(post, path = "/api/v1/admin/dead-letters/discard", tag = "delivery", request_body = Discard, responses(
    (status = 200, description = "So many are meant.", body = Decided),
    (status = 403, description = "`step_up_required`"),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`wrong_state`: none of them is parked"),
    (status = 503, description = "`busy`: many others are being decided about; also as for every route"),
))]
async fn discard(
    State(web): State<Arc<Web>>,
    asked: AsCaller,
    Shaped(body): Shaped<Discard>,
) -> Result<axum::Json<Decided>, Problem> {
    let reason = rationale(&body.reason)?;
    decide(
        &web,
        asked,
        body.subscription,
        body.choice,
        body.dry_run,
        |choice| Change::Discard { choice, reason },
    )
    .await
}

/// Decides about dead letters, or counts them.
async fn decide(
    web: &Web,
    asked: AsCaller,
    subscription: String,
    choice: Chosen,
    dry_run: bool,
    decision: impl FnOnce(Choice) -> Change,
) -> Result<axum::Json<Decided>, Problem> {
    let choice = choice.into_choice(web.kernel.catalogue());
    let count = if dry_run {
        let deliveries = &web.kernel.families().deliveries;
        let count = deliveries.count(&subscription, &choice).await;
        count.map_err(declined)?
    } else {
        change(web, asked, subscription, decision(choice)).await?
    };
    Ok(axum::Json(Decided { count, dry_run }))
}
