//! Searching the index: by one thing that the events have in common, newest first.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use quivive_app::search::{Question, Search, Tags, Unanswerable};
use serde::Serialize;
use utoipa::ToSchema;

use super::cursor::Cursor;
use super::query::unusable;
use super::view::{EventView, Opener};
use crate::Web;
use crate::auth::Known;
use crate::problem::{Code, Problem};
use crate::request::RequestContext;
use crate::routes::query::{self, DEFAULT_LIMIT, pairs, wrong};

/// A page of what was found.
#[derive(Serialize, ToSchema)]
#[schema(as = FoundEvents)]
pub(super) struct FoundPage {
    /// Newest first.
    data: Vec<EventView>,
    /// What `before` is for the next page; null where there is none.
    #[schema(required)]
    next_cursor: Option<u64>,
    has_more: bool,
    /// Events above this position were not looked at: the index follows the log by milliseconds.
    indexed_up_to: u64,
    /// Of the log, as in the feed.
    epoch: u64,
}

/// Search the events.
///
/// By exactly one of `subject`, `workflow_id`, `correlation_id`, `type`, `address` and `ip`, newest first; ask again with
/// `before` = `next_cursor` for what is older. The search reads an index, so it costs the same however long the log is; to
/// follow what happens, read the feed.
///
/// `address` and `ip` are found by equality, as far as the events that hold them can still be read. Asking for either is
/// an event of its own, `AuditLogCreated`.
#[utoipa::path(get, path = "/api/v1/events/search", tag = "events", params(
    ("subject" = Option<String>, Query, description = "As the envelope has it: a user's id, or a keyed digest."),
    ("workflow_id" = Option<String>, Query, description = "A UUID."),
    ("correlation_id" = Option<String>, Query, description = "A UUID."),
    ("type" = Option<String>, Query, description = "A type, or any other name it has."),
    ("address" = Option<String>, Query, description = "An e-mail address among the event's personal fields."),
    ("ip" = Option<String>, Query, description = "Where the request came from."),
    ("before" = Option<u64>, Query, description = "A position, exclusive; also with its epoch: `1-345`."),
    ("limit" = Option<u32>, Query, minimum = 1, maximum = 250, description = "50 unless said otherwise."),
), responses(
    (status = 200, description = "The newest events that fit.", body = FoundPage),
    (status = 400, description = "`invalid_cursor`, `invalid_query`"),
    (status = 403, description = "`forbidden`: this needs the role admin, or an API key with the scope events.read, and events.read_personal for `address` and `ip`"),
    (status = 410, description = "`cursor_expired`: the log was restored"),
))]
pub(super) async fn search_events(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    caller: Known,
    uri: Uri,
) -> Result<axum::Json<FoundPage>, Problem> {
    let asked = Asked::read(&web, &uri)?;
    if asked.question.is_personal() {
        caller.must_see_personal()?;
    }
    web.log.settled().await;
    let head = *web.log.head().borrow();
    let below = match asked.before {
        Some(cursor) => cursor.place(head)?,
        None => u64::MAX,
    };
    let tags = Tags {
        log: Arc::clone(&web.log),
        vault: Arc::clone(&web.vault),
        catalogue: Arc::clone(web.kernel.catalogue()),
        clock: Arc::clone(&web.kernel.families().clock),
    };
    let search = Search::new(&web.kernel, Arc::clone(&web.index), tags);
    let request = context.request(caller.actor());
    let found = search
        .find(&asked.question, below, asked.limit, request)
        .await?;
    let last = found.events.last().map(|event| event.position);
    let data = Opener::new(web.vault.as_ref(), web.kernel.catalogue())
        .all(found.events)
        .await?;
    Ok(axum::Json(FoundPage {
        data,
        next_cursor: last.filter(|_| found.has_more),
        has_more: found.has_more,
        indexed_up_to: found.indexed_up_to,
        epoch: head.epoch,
    }))
}

struct Asked {
    question: Question,
    before: Option<Cursor>,
    limit: u32,
}

impl Asked {
    fn read(web: &Web, uri: &Uri) -> Result<Self, Problem> {
        let pairs = pairs(uri)?;
        let (mut question, mut before, mut limit) = (None, None, None);
        for (name, value) in &pairs {
            match name.as_str() {
                "before" => {
                    let cursor = Cursor::read(value);
                    before = Some(cursor.ok_or_else(|| Problem::new(Code::InvalidCursor))?);
                }
                "limit" => limit = Some(query::limit(name, value)?),
                _ => {
                    let read = Question::read(name, value, web.kernel.catalogue());
                    let read = read.map_err(|error| unanswerable(name, error))?;
                    if question.replace(read).is_some() {
                        return Err(wrong(
                            name,
                            "too_many",
                            "One thing is searched by at a time.",
                        ));
                    }
                }
            }
        }
        Ok(Self {
            question: question.ok_or_else(nothing_to_search_by)?,
            before,
            limit: limit.unwrap_or(DEFAULT_LIMIT),
        })
    }
}

fn unanswerable(name: &str, error: Unanswerable) -> Problem {
    let (code, message) = match error {
        Unanswerable::Unfit(unfit) => return unusable(name, unfit),
        Unanswerable::NoSuchType => (
            "unknown_type",
            "No type in the catalogue has this name. Families are for the feed.",
        ),
        Unanswerable::NoAddress => ("wrong_type", "An e-mail address."),
        Unanswerable::NoIp => ("wrong_type", "An IP address."),
    };
    wrong(name, code, message)
}

fn nothing_to_search_by() -> Problem {
    let message = "One of subject, workflow_id, correlation_id, type, address and ip.";
    wrong("", "missing", message)
}
