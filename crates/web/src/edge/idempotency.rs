//! Requests with an `Idempotency-Key`: the first is carried out, in a task that outlives its caller, and those that repeat it
//! get its answer again. See [`quivive_app::idempotency`] for what holds.
//!
//! A refusal changed nothing, so it is not kept: the same key may be tried again, with another body, too. Nobody learns
//! anything from a key but who gave it: it belongs to the account or the API key that asks, else to the source.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, ETAG, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use quivive_app::admission::Source;
use quivive_app::idempotency::{self, once};
use quivive_app::kernel::Once;
use serde::{Deserialize, Serialize};

use super::{Edge, Place, Visit};
use crate::auth::Known;
use crate::problem::{Code, Problem};
use crate::routes::Repetition;
use crate::{Web, body};

/// The header (`draft-ietf-httpapi-idempotency-key-header`).
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Of the header, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 255;

/// Of an answer that is kept. Those of routes that change something are small.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// On an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What is kept of an answer's head.
const KEPT_HEADERS: [HeaderName; 3] = [CONTENT_TYPE, ETAG, LOCATION];

/// An answer, as it is kept.
#[derive(Serialize, Deserialize)]
struct KeptAnswer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// What is being carried out now, of which there is as much as there are requests.
#[derive(Default)]
pub(super) struct UnderWay(Arc<Mutex<HashSet<[u8; 32]>>>);

impl UnderWay {
    /// `None` while another is at the same.
    fn begin(&self, token: [u8; 32]) -> Option<Carrying> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Not `then_some`: one that is dropped takes the lock.
        all.insert(token).then(|| Carrying {
            all: Arc::clone(&self.0),
            token,
        })
    }
}

/// One of them.
struct Carrying {
    all: Arc<Mutex<HashSet<[u8; 32]>>>,
    token: [u8; 32],
}

impl Drop for Carrying {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.token);
    }
}

/// The key of a request, if it has one.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut lines = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    // A header may have tabs, too.
    let is_visible = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    let fits = |text: &&str| {
        lines.next().is_none() && (1..=MAX_KEY_BYTES).contains(&text.len()) && is_visible(text)
    };
    let text = line.to_str().ok().filter(fits);
    text.map(Some).ok_or_else(|| {
        Problem::with_detail(
            Code::BadRequest,
            "`Idempotency-Key` must be there once, with up to 255 visible characters.",
        )
    })
}

impl Edge {
    /// Hands an admitted request on, or answers it as one before.
    pub(super) async fn hand_on(&self, request: Request, next: Next, visit: &Visit) -> Response {
        let repetition = match visit.place {
            Place::Listed(route) => route.repetition,
            _ => Repetition::Harmless,
        };
        let handed_on = match (repetition, request.headers().contains_key(IDEMPOTENCY_KEY)) {
            (Repetition::Refused, true) => Err(Problem::new(Code::IdempotencyKeyRefused)),
            (Repetition::Answered, true) => self.once(request, next, visit).await,
            _ => return next.run(request).await,
        };
        handed_on.unwrap_or_else(IntoResponse::into_response)
    }

    async fn once(&self, request: Request, next: Next, visit: &Visit) -> Result<Response, Problem> {
        let (mut parts, body) = request.into_parts();
        let name = key(&parts.headers)?.unwrap_or_default().to_owned();
        let bytes = body::read(&parts.headers, body).await?;
        let caller = match parts.extensions.get::<Known>() {
            Some(known) => known.id().to_string(),
            None => format!("{:?}", Source::of(visit.context.ip())),
        };
        let target = visit.uri.path_and_query().map_or("/", |it| it.as_str());
        let scope = format!("{caller} {} {target}", visit.method);
        let families = self.web.kernel.families();
        let once = once(families, scope.as_bytes(), name.as_bytes(), &bytes);
        let Some(carrying) = self.under_way.begin(once.token) else {
            return Err(Problem::new(Code::IdempotencyInProgress).and_retry_after(1));
        };
        if let Some(before) = families.answers.find(once.token).await? {
            if before.content != once.content {
                return Err(Problem::new(Code::IdempotencyMismatch));
            }
            let kept = before.answer.and_then(|answer| replayed(&answer));
            return kept.ok_or_else(|| Problem::new(Code::IdempotencyAnswerLost));
        }
        parts.extensions.insert(visit.context.repeatable(once));
        let request = Request::from_parts(parts, Body::from(bytes));
        let web = Arc::clone(&self.web);
        let work = async move {
            let answer = keep(&web, &once, next.run(request).await).await;
            drop(carrying);
            answer
        };
        Ok(self.web.kernel.outliving(work).await?)
    }
}

/// Keeps an answer that says that something was done. One that refuses may be another the next time.
async fn keep(web: &Web, once: &Once, answer: Response) -> Response {
    if !answer.status().is_success() {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_ANSWER_BYTES).await else {
        return Problem::new(Code::Internal).into_response();
    };
    let kept = written(parts.status, &parts.headers, &bytes);
    if let Err(error) = idempotency::keep(&web.kernel, once, kept).await {
        tracing::warn!(%error, "an answer was not kept for those who repeat their request");
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn written(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let text = |name: &HeaderName| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    };
    let kept = KeptAnswer {
        status: status.as_u16(),
        headers: KEPT_HEADERS.iter().filter_map(text).collect(),
        body: String::from_utf8_lossy(body).into_owned(),
    };
    // Numbers and texts always serialise.
    serde_json::to_vec(&kept).unwrap_or_default()
}

fn replayed(kept: &[u8]) -> Option<Response> {
    let kept: KeptAnswer = serde_json::from_slice(kept).ok()?;
    let mut answer = Response::new(Body::from(kept.body));
    *answer.status_mut() = StatusCode::from_u16(kept.status).ok()?;
    for (name, value) in kept.headers {
        let name = HeaderName::try_from(name).ok()?;
        let value = HeaderValue::try_from(value).ok()?;
        answer.headers_mut().insert(name, value);
    }
    answer
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    Some(answer)
}
