//! The edge: what every request passes on its way in, and every answer on its way out. One layer, so that there is one
//! order of checks and nothing can be mounted beside it.
//!
//! In: a request id and a context, then host, cross-origin questions, the address that a backend states of its user, rate
//! limit, and the authority that the list of routes ([`crate::routes::ROUTES`]) asks for. A path of the API that the list does
//! not name is served to nobody. Out: panics caught, problems written, headers that every answer has.
//!
//! The list is matched here, on the path that the router sees, so that it holds under a prefix, too.

pub(crate) mod idempotency;
mod places;
mod refused;
mod stated;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use metrics::{Unit, describe_counter, describe_histogram};
use quivive_app::admission::Source;
use tokio::time::Instant;

use crate::cors::{self, Cors};
use crate::host::{self, Hosts};
use crate::limits::{Family, Limits, Standing};
use crate::problem::{Code, Problem};
use crate::request::RequestContext;
use crate::routes::{Authority, Route};
use crate::{Web, auth, headers, html};

use idempotency::UnderWay;
pub(crate) use places::Behind;
use places::{Place, Places, page_family};
use refused::Refused;

/// Of all header fields together, in bytes. Proxies allow 8 KiB a line; nothing of ours needs one.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// What the checks work with.
pub(crate) struct Edge {
    web: Arc<Web>,
    hosts: Hosts,
    cors: Cors,
    limits: Option<Limits>,
    places: Places,
    under_way: UnderWay,
}

/// One request, as much of it as its answer needs.
struct Visit {
    context: RequestContext,
    method: Method,
    uri: Uri,
    place: Place,
    wants_html: bool,
}

impl Edge {
    pub(crate) fn new(web: Arc<Web>) -> Self {
        describe_counter!(
            "quivive_requests_rejected_total",
            "Requests that were refused before any workflow heard of them, by the code of the problem."
        );
        describe_counter!(
            "quivive_rate_limited_total",
            "Requests over the limit of their family."
        );
        describe_histogram!(
            "quivive_http_request_seconds",
            Unit::Seconds,
            "From a request's headers to its answer's, by route and class of status."
        );
        Self {
            hosts: Hosts::new(&web.options),
            cors: Cors::new(&web.options.cors_origins),
            limits: web.options.rate_limits.then(|| {
                let operation = Arc::clone(&web.operation);
                Limits::new(move || operation.nodes())
            }),
            places: Places::new(),
            under_way: UnderWay::default(),
            web,
        }
    }

    fn visit(&self, behind: Behind, request: &Request) -> Visit {
        let id = self.web.kernel.families().ids.next();
        let proxies = &self.web.options.proxies;
        Visit {
            context: RequestContext::read(request, proxies, id, Instant::now()),
            method: request.method().clone(),
            uri: request.uri().clone(),
            place: self
                .places
                .place(behind, request.method(), request.uri().path()),
            wants_html: wants_html(request),
        }
    }

    /// The checks, in their order. What passes is counted against the limit; what does not is counted as refused.
    async fn admit(
        &self,
        request: &mut Request,
        visit: &mut Visit,
    ) -> Result<Option<Standing>, Box<Refused>> {
        let headers = request.headers();
        if header_bytes(headers) > MAX_HEADER_BYTES {
            return Err(Problem::new(Code::HeadersTooLarge).into());
        }
        self.check_host(visit, headers)?;
        if self.cors.origin(visit.uri.path(), headers).is_some()
            && let Some(answer) = cors::preflight(&visit.method, headers)
        {
            return Err(Refused::Asked(answer).into());
        }
        if let Some(ip) = self.stated(headers, visit).await? {
            visit.context = visit.context.of_user_at(ip);
        }
        let standing = self.limit(visit)?;
        match visit.place {
            Place::Listed(route) => self.authorise(route.authority, request, visit).await?,
            Place::OtherMethod => {
                return Err(Refused::Method(self.places.allowed(visit.uri.path())).into());
            }
            Place::Unlisted | Place::Nowhere => return Err(Problem::new(Code::NotFound).into()),
            Place::Page => {}
        }
        request.extensions_mut().insert(visit.context.clone());
        Ok(standing)
    }

    fn check_host(&self, visit: &Visit, headers: &HeaderMap) -> Result<(), Problem> {
        match visit.place {
            Place::Listed(Route {
                authority: Authority::Probe,
                ..
            }) => Ok(()),
            // A scraper on this machine does not know the public name.
            Place::Listed(Route {
                authority: Authority::Loopback,
                ..
            }) if host::is_for_loopback(&visit.uri, headers) => Ok(()),
            _ => self
                .hosts
                .check(&visit.uri, headers, visit.context.is_local()),
        }
    }

    fn limit(&self, visit: &Visit) -> Result<Option<Standing>, Box<Refused>> {
        let family = match visit.place {
            Place::Listed(route) => route.family,
            Place::OtherMethod | Place::Unlisted | Place::Nowhere => Some(Family::Read),
            Place::Page => Some(page_family(&visit.method, visit.uri.path())),
        };
        let (Some(limits), Some(family)) = (&self.limits, family) else {
            return Ok(None);
        };
        let standing = limits.count(visit.context.ip(), family);
        match standing.refusal() {
            Some(problem) => {
                metrics::counter!("quivive_rate_limited_total", "family" => family.as_str())
                    .increment(1);
                Err(Refused::Limited(problem, standing).into())
            }
            None => Ok(Some(standing)),
        }
    }

    async fn authorise(
        &self,
        authority: Authority,
        request: &mut Request,
        visit: &Visit,
    ) -> Result<(), Problem> {
        match authority {
            Authority::Open | Authority::Probe => Ok(()),
            // Also by name: a proxy on this machine that says nothing of itself asks for the public one.
            Authority::Loopback
                if visit.context.is_local()
                    && host::is_for_loopback(&visit.uri, request.headers()) =>
            {
                Ok(())
            }
            Authority::Loopback => Err(Problem::new(Code::NotFound)),
            Authority::Bearer
            | Authority::Admin
            | Authority::May(_)
            | Authority::AdminOr(_)
            | Authority::Service(_) => {
                let (access, log) = (&self.web.access, self.web.log.as_ref());
                let known = auth::permitted(access, log, request.headers(), authority).await?;
                request.extensions_mut().insert(known);
                Ok(())
            }
        }
    }

    async fn pass(&self, mut request: Request, next: Next, visit: &mut Visit) -> Response {
        match self.admit(&mut request, visit).await {
            Ok(standing) => {
                let mut answer = self.hand_on(request, next, visit).await;
                if let Some(standing) = standing {
                    standing.write(answer.headers_mut());
                }
                let problem = answer.extensions().get::<Problem>();
                let unheard = problem.filter(|problem| problem.code.is_before_admission());
                self.count_rejected(unheard, visit);
                answer
            }
            Err(refused) => {
                let answer = refused.into_response();
                self.count_rejected(answer.extensions().get(), visit);
                answer
            }
        }
    }

    /// No event tells of this request: it is counted.
    fn count_rejected(&self, problem: Option<&Problem>, visit: &Visit) {
        let Some(problem) = problem else { return };
        let code = problem.code.meaning().code;
        metrics::counter!("quivive_requests_rejected_total", "code" => code).increment(1);
        let source = Source::of(visit.context.ip());
        self.web.rejections.count(visit.place.route(), code, source);
    }

    /// Writes the document of a problem, and what every answer has.
    fn finish(&self, mut answer: Response, visit: &Visit, origin: Option<HeaderValue>) -> Response {
        let mut problem = answer.extensions_mut().remove::<Problem>();
        let status = answer.status();
        let bare = !answer.headers().contains_key(CONTENT_TYPE);
        if problem.is_none() && bare && (status.is_client_error() || status.is_server_error()) {
            problem = Some(Problem::of_status(status));
        }
        let id = visit.context.id();
        if let Some(problem) = problem {
            answer = if visit.wants_html && !visit.uri.path().starts_with("/api") {
                html::problem(&problem, answer, &id)
            } else {
                problem.render(answer, &self.web.options.public_url, visit.uri.path(), id)
            };
        }
        headers::complete(answer.headers_mut(), &id);
        if let Some(origin) = origin {
            cors::expose(origin, answer.headers_mut());
        }
        record(visit, &answer);
        answer
    }
}

/// The layer.
pub(crate) async fn edge(
    State((edge, behind)): State<(Arc<Edge>, Behind)>,
    request: Request,
    next: Next,
) -> Response {
    let mut visit = edge.visit(behind, &request);
    let origin = edge.cors.origin(visit.uri.path(), request.headers());
    let passed = AssertUnwindSafe(edge.pass(request, next, &mut visit))
        .catch_unwind()
        .await;
    let answer = passed.unwrap_or_else(|_| {
        tracing::error!(request_id = %visit.context.id(), "a handler panicked");
        Problem::new(Code::Internal).into_response()
    });
    edge.finish(answer, &visit, origin)
}

fn wants_html(request: &Request) -> bool {
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// One line and one figure a request: no query, no address, nothing personal.
fn record(visit: &Visit, answer: &Response) {
    let route = visit.place.route();
    let status = answer.status();
    let took = visit.context.arrived().elapsed();
    let class = match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "1xx",
    };
    metrics::histogram!("quivive_http_request_seconds", "route" => route, "status" => class)
        .record(took.as_secs_f64());
    tracing::debug!(
        method = %visit.method,
        route,
        status = status.as_u16(),
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        request_id = %visit.context.id(),
        "answered"
    );
}

#[cfg(test)]
mod tests;
