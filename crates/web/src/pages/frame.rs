//! Around every page: the headers that bind the browser, and a page for people where a program would get a document.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::Next;
use axum::response::Response;

use super::texts::{self, Texts};
use super::views;
use super::visit::{Visit, wants_json};
use crate::Web;
use crate::problem::{Code, Problem};
use crate::request::RequestContext;

/// No script at all, nothing from elsewhere, forms to us alone, in nobody's frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Wraps a page.
pub(super) async fn around(State(web): State<Arc<Web>>, request: Request, next: Next) -> Response {
    let visit = Visit::of(&web, request.headers());
    let id = request
        .extensions()
        .get::<RequestContext>()
        .map(|context| context.id().to_string());
    // The edge writes the document of a problem that stays in the answer.
    let for_a_program = wants_json(request.headers());
    let mut answer = next.run(request).await;
    if !for_a_program && let Some(problem) = take_problem(&mut answer) {
        answer = explain(&visit, &problem, id.as_deref(), answer);
    }
    protect(answer)
}

/// What is wrong, also where a library answered without a word.
fn take_problem(answer: &mut Response) -> Option<Problem> {
    let status = answer.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_bare = is_error && !answer.headers().contains_key(CONTENT_TYPE);
    let problem = answer.extensions_mut().remove::<Problem>();
    problem.or_else(|| is_bare.then(|| Problem::of_status(status)))
}

/// The problem as a page, keeping its status and headers such as `Retry-After`.
fn explain(
    visit: &Visit,
    problem: &Problem,
    request_id: Option<&str>,
    answer: Response,
) -> Response {
    let (title, detail) = words(visit.t, problem);
    let ours = problem.code == Code::Internal;
    let view = views::Problem {
        t: visit.t,
        product: visit.product(),
        title,
        detail,
        back: None,
        back_text: None,
        request_id: request_id.filter(|_| ours),
    };
    let page = visit.show(problem.status, &view);
    let (page_parts, body) = page.into_parts();
    let (mut parts, _) = answer.into_parts();
    parts.status = problem.status;
    parts.headers.remove(WWW_AUTHENTICATE);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.extend(page_parts.headers);
    Response::from_parts(parts, body)
}

/// What people read for what programs read.
fn words<'a>(t: &'a Texts, problem: &'a Problem) -> (&'a str, &'a str) {
    let texts::Problem { title, detail } = match problem.code {
        Code::InvalidToken => &t.problems.link,
        Code::NotFound | Code::MethodNotAllowed => &t.problems.not_found,
        Code::RateLimited => &t.problems.too_many,
        Code::Busy | Code::Unavailable | Code::Conflict => &t.problems.busy,
        Code::Vetoed => &t.problems.vetoed,
        Code::Internal => &t.problems.internal,
        Code::BadRequest
        | Code::Forbidden
        | Code::UnsupportedMediaType
        | Code::PayloadTooLarge
        | Code::RequestTimeout
        | Code::InvalidFields => &t.problems.bad_request,
        // No page answers these; the API's words are better than none.
        _ => return (problem.code.meaning().title, &problem.detail),
    };
    (title, detail)
}

/// Pages hold forms, tokens or what they led to, so nothing keeps a copy, unless the answer says otherwise.
fn protect(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Some addresses hold a token, which no other site may see. Not `no-referrer`: then forms would come without an origin.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    answer
}
