//! The feed as it happens: Server-Sent Events.
//!
//! **Cast.** A `Follower`, a task for each stream, reads the log in pages and hands over one event at a time; the answer's
//! body takes it when the reader has room for it. A `Pass`, the caller's token, is judged beside it.
//!
//! **Guarantees.** What a stream says after a position is what the log has after it that meets the criteria, without a gap.
//! Every event has its cursor as `id`, and so has what was skipped, a little later: a reader that comes back with its
//! `Last-Event-ID` misses nothing and has nothing twice. A slow reader is read for slowly: nobody waits for it, and a page
//! is all that is kept for it; one that takes nothing for two minutes is let go. A stream ends within seconds when the caller might not open it any more, and when the
//! server stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::poll_fn;
use quivive_delivery::{Criteria, Fault, Head, Stored};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::cursor::{Cursor, Unread, head_for, held};
use super::feed;
use super::query::Query;
use super::showing::Showing;
use crate::Web;
use crate::auth::{Known, Pass};
use crate::problem::{Code, Problem};
use crate::request::RequestContext;
use crate::routes::query::MAX_LIMIT;

/// A reader that went away is noticed by writing to it; proxies end what is silent for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a stream may outlive the right to it. What is known of a session is a second old at most.
const JUDGED_EVERY: Duration = Duration::from_secs(3);

/// How often a reader is told of events that were skipped.
const MARKED_EVERY: Duration = Duration::from_secs(5);

/// For a reader to take the next event. Who is behind may be slow, not asleep: its place is for others then.
const TAKEN_WITHIN: Duration = Duration::from_mins(2);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Proxies that gather answers before they pass them on are asked not to.
const UNBUFFERED: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// The feed as it happens.
///
/// Server-Sent Events: `id` is the cursor, an epoch and a position (`1-345`), `event` the type, `data` the event as the feed
/// has it. Begins with what comes next, or after `after`; with the header `Last-Event-ID`, which browsers send when
/// they come back, it goes on after that event, and nothing is missed. An `id` alone says how far events were skipped.
///
/// It ends when the access token does or its session, and when the server stops: come back with a new token and the last
/// `id`. It ends, too, when nothing of it was taken for two minutes. There are 64 places, 8 of them for one caller.
#[utoipa::path(get, path = "/api/v1/events/stream", tag = "events", params(
    ("after" = Option<u64>, Query, description = "A position, exclusive; without it the stream begins with what is to come. Also with its epoch: `1-345`."),
    ("epoch" = Option<u64>, Query, description = "The `epoch` that the cursor came with: of another one it is refused instead of misread."),
    ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that was read. It counts instead of `after`."),
    ("type" = Option<String>, Query, description = "A type, any other name it has, or a family: `user.*`, `*.failed`."),
    ("workflow_id" = Option<String>, Query, description = "A UUID."),
    ("correlation_id" = Option<String>, Query, description = "A UUID."),
    ("subject" = Option<String>, Query, description = "As the envelope has it: a user's id, or a keyed digest."),
    ("personal" = Option<bool>, Query, description = "`true`: personal fields, too."),
), responses(
    (status = 200, description = "Events until one of the two goes away.", body = String, content_type = "text/event-stream"),
    (status = 400, description = "`invalid_cursor`, `invalid_query`"),
    (status = 403, description = "`forbidden`: this needs the role admin, or an API key with the scope events.read, and events.read_personal for personal fields"),
    (status = 410, description = "`cursor_expired`: the log was restored, or holds what comes after the cursor no more"),
))]
pub(super) async fn stream_events(
    State(web): State<Arc<Web>>,
    context: RequestContext,
    caller: Known,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = Query::read(&uri, web.kernel.catalogue())?.without_limit()?;
    let showing = Showing::of(&query, &caller, &context)?;
    let pass = Pass::of(&headers, super::AUTHORITY)?;
    let resumed = resumed(&headers)?;
    let now = head_for(web.log.as_ref(), resumed.or(query.after)).await?;
    let head = web.log.head();
    let after = match resumed {
        Some(cursor) => cursor.place(now)?,
        None => query.after(now)?.unwrap_or(now.position),
    };
    held(web.log.as_ref(), after, now).await?;

    // One: what waits for the reader waits in the follower's page.
    let (events, mut taken) = mpsc::channel(1);
    let follower = Follower {
        web: Arc::clone(&web),
        pass,
        showing,
        criteria: query.criteria,
        epoch: now.epoch,
        at: after,
        said: (after, Instant::now()),
        head,
        events,
    };
    web.streams.open(caller.id(), follower.follow())?;
    let body = poll_fn(move |cx| {
        taken
            .poll_recv(cx)
            .map(|event| event.map(Ok::<_, Infallible>))
    });
    let body = Sse::new(body).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    Ok(([UNBUFFERED], body).into_response())
}

/// Where a reader that comes back goes on.
fn resumed(headers: &HeaderMap) -> Result<Option<Cursor>, Problem> {
    let Some(last) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let cursor = last.to_str().ok().and_then(Cursor::read);
    cursor
        .map(Some)
        .ok_or_else(|| Problem::new(Code::InvalidCursor))
}

/// Reads the log for one stream.
struct Follower {
    web: Arc<Web>,
    pass: Pass,
    showing: Showing,
    criteria: Criteria,
    epoch: u64,
    /// Everything up to here was looked at.
    at: u64,
    /// The last cursor that the reader was given, and when.
    said: (u64, Instant),
    head: watch::Receiver<Head>,
    events: mpsc::Sender<Event>,
}

/// The end of a stream: the reader went away, may not read any more, or the log cannot be read.
struct Over;

impl Follower {
    async fn follow(mut self) {
        let (web, pass, events) = (
            Arc::clone(&self.web),
            self.pass.clone(),
            self.events.clone(),
        );
        // Beside the reading, which stands still while the reader takes nothing.
        let lapsed = async {
            while pass.holds(&web.access, web.log.as_ref()).await {
                sleep(JUDGED_EVERY).await;
            }
        };
        tokio::select! {
            Err(Over) = self.read() => {}
            () = lapsed => {}
            () = events.closed() => {}
        }
    }

    /// Says all there is, and goes on with what comes.
    async fn read(&mut self) -> Result<Infallible, Over> {
        // At once: who comes back before the first event must know from where.
        self.say(Event::default(), self.at).await?;
        loop {
            if !self
                .pass
                .holds(&self.web.access, self.web.log.as_ref())
                .await
            {
                return Err(Over);
            }
            let has_more = self.page().await?;
            let (told, when) = self.said;
            if self.at > told && when.elapsed() >= MARKED_EVERY {
                self.say(Event::default(), self.at).await?;
            }
            if has_more {
                continue;
            }
            tokio::select! {
                moved = self.head.changed() => moved.map_err(|_| Over)?,
                () = sleep(MARKED_EVERY), if self.at > self.said.0 => {}
            }
        }
    }

    /// Says the next page. Answers whether there is another one by now.
    async fn page(&mut self) -> Result<bool, Over> {
        let head = *self.head.borrow_and_update();
        let log = self.web.log.as_ref();
        let page = feed::page(log, &self.criteria, self.at, MAX_LIMIT as usize, head).await;
        let page = page.map_err(|unread| over(&unread))?;
        let events = self
            .shown(page.events)
            .await
            .map_err(|fault| over(&fault.into()))?;
        for (position, event) in events {
            self.say(event, position).await?;
        }
        self.at = page.next_cursor;
        Ok(page.has_more)
    }

    async fn shown(&self, events: Vec<Stored>) -> Result<Vec<(u64, Event)>, Fault> {
        let views = self.showing.show(&self.web, events).await?;
        let shown = views.into_iter().map(|view| {
            let event = Event::default().event(&view.kind).json_data(&view);
            Ok((view.position, event.map_err(Fault::internal)?))
        });
        shown.collect()
    }

    /// Gives the reader an event with its cursor, or a cursor alone, as soon as there is room.
    async fn say(&mut self, event: Event, position: u64) -> Result<(), Over> {
        let cursor = Cursor {
            epoch: Some(self.epoch),
            position,
        };
        let sent = self.events.send(event.id(cursor.to_string()));
        let sent = timeout(TAKEN_WITHIN, sent).await;
        self.said = (position, Instant::now());
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Over),
        }
    }
}

/// Readers come back and are told then; what went wrong here is for the operators.
fn over(unread: &Unread) -> Over {
    if let Unread::Fault(fault) = unread {
        tracing::warn!(%fault, "a stream of events ended");
    }
    Over
}
