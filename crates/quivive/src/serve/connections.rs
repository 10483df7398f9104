//! Connections: accepted up to a limit, HTTP/1.1 or h2 by their first bytes, and ended in good order.
//!
//! **Limits.** One more than the limit takes the place of one that asks for nothing or lets an answer lie
//! ([`super::crowd`]). Headers must come
//! within 10 s, and in 64 KiB, or the answer is 431. An HTTP/1.1 connection that idles between requests is closed after the
//! same 10 s, one that speaks h2 after a minute: a proxy in front should keep its connections for less than 10 s, or retry.
//! Some have up to 2 s more, so that who came together is not let go together.
//! Who takes nothing of an answer for two minutes loses it, and so does who leaves no window for one (h2) for as long.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use quivive_delivery::tasks::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::ServiceExt as _;

use super::crowd::{Activity, Crowd};
use super::patience::Patient;

/// For a client to send its headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);

/// One of so many has no more time than that, another so much more, and so on: who comes back at once does not come with all others.
const STEPS: usize = 16;
const STEP: Duration = Duration::from_millis(125);

/// For an h2 connection without a request, beyond which it is ended in good order.
const IDLE: Duration = Duration::from_mins(1);

/// Of all headers of a request.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Fields of a request.
const MAX_HEADERS: usize = 100;

/// For a connection that was ended in good order to be over, where it is not the system's buffer that is full.
const OVER_WITHIN: Duration = Duration::from_mins(2);

/// The same for one whose place another waits for.
const PLACE_WITHIN: Duration = Duration::from_secs(1);

/// Requests at once on one h2 connection.
const MAX_STREAMS: u32 = 128;

/// After a failed accept: what is short (files, memory) may be there again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where many come at once, so many are accepted before others are served.
const IN_A_ROW: u32 = 8;

/// While there is no place, how often it is looked for one.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Files that are not connections: the database, the control socket, letters on their way.
const OTHER_FILES: u64 = 128;

/// Runs h2's tasks where they are joined at shutdown.
#[derive(Clone)]
struct Tracked(Tasks);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.0.spawn(future));
    }
}

/// As many as wanted, or as the system's limit of open files allows. Raises that as far as this process may.
pub(super) fn affordable(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = (wanted as u64).saturating_add(OTHER_FILES);
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < needed) else {
        return wanted;
    };
    let reachable = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
    let raised = Rlimit {
        current: Some(reachable),
        maximum: limit.maximum,
    };
    let files = if setrlimit(Resource::Nofile, raised).is_ok() {
        reachable
    } else {
        current
    };
    let affordable = usize::try_from(files.saturating_sub(OTHER_FILES))
        .unwrap_or(wanted)
        .clamp(1, wanted);
    if affordable < wanted {
        tracing::warn!(
            files,
            affordable,
            wanted,
            "the limit of open files allows fewer connections than configured"
        );
    }
    affordable
}

/// Accepts until `tasks` are told to stop; then every connection ends after the request it is at, within `drain`.
pub(super) fn accept(
    listener: TcpListener,
    router: Router,
    limit: usize,
    drain: Duration,
    tasks: &Tasks,
) {
    let places = Arc::new(Semaphore::new(limit));
    let protocols: Vec<_> = (0..STEPS)
        .map(|step| Arc::new(protocol(tasks, headers_within(step))))
        .collect();
    let connections = tasks.clone();
    drop(tasks.spawn(async move {
        let stopping = connections.stopping();
        let mut crowd = Crowd::default();
        let mut in_a_row = 0;
        for (step, protocol) in protocols.iter().enumerate().cycle() {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopping.cancelled() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let place = tokio::select! {
                place = place(&places, &mut crowd) => place,
                () = stopping.cancelled() => return,
            };
            let activity = Arc::default();
            crowd.join(&activity, limit);
            let connection = serve(
                (stream, peer),
                activity,
                router.clone(),
                (Arc::clone(protocol), headers_within(step)),
                drain,
                connections.clone(),
            );
            drop(connections.spawn(async move {
                connection.await;
                drop(place);
            }));
            in_a_row += 1;
            if in_a_row == IN_A_ROW {
                in_a_row = 0;
                tokio::task::yield_now().await;
            }
        }
    }));
}

/// A place for one more, of somebody who goes for it if there is none.
async fn place(
    places: &Arc<Semaphore>,
    crowd: &mut Crowd,
) -> Result<OwnedSemaphorePermit, AcquireError> {
    if let Ok(place) = Arc::clone(places).try_acquire_owned() {
        return Ok(place);
    }
    loop {
        if crowd.make_room() {
            metrics::counter!("quivive_connections_sent_away_total").increment(1);
        }
        // Who is sent away needs a moment; where all are busy, one of them will not be.
        let place = Arc::clone(places).acquire_owned();
        if let Ok(place) = tokio::time::timeout(LOOK_AGAIN, place).await {
            return place;
        }
    }
}

/// For one that came as the so manieth.
fn headers_within(step: usize) -> Duration {
    // Neighbours come at the same time: they are far apart.
    let step = step * 7 % STEPS;
    HEADERS_WITHIN + STEP * u32::try_from(step).unwrap_or_default()
}

fn protocol(tasks: &Tasks, headers_within: Duration) -> auto::Builder<Tracked> {
    let mut builder = auto::Builder::new(Tracked(tasks.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(headers_within)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(HEADERS_WITHIN)
        .keep_alive_timeout(HEADERS_WITHIN);
    builder
}

async fn serve(
    (stream, peer): (TcpStream, SocketAddr),
    activity: Arc<Activity>,
    router: Router,
    (protocol, headers_within): (Arc<auto::Builder<Tracked>>, Duration),
    drain: Duration,
    tasks: Tasks,
) {
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let seen = Arc::clone(&activity);
    let service =
        service_fn(move |request| answer(request, peer, router.clone(), Arc::clone(&seen)));
    let patient = Patient::new(stream, Arc::clone(&activity));
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(patient), service));
    let mut silence = pin!(activity.silence(headers_within, IDLE));
    let mut over = pin!(tokio::time::sleep(OVER_WITHIN));
    // Within which it should be over, once it was ended in good order: what is being answered may end first.
    let mut leaving = None;
    let ended = loop {
        let patience = tokio::select! {
            ended = connection.as_mut() => break ended,
            () = tasks.stopping().cancelled_owned() => {
                connection.as_mut().graceful_shutdown();
                break tokio::time::timeout(drain, connection).await.unwrap_or(Ok(()));
            }
            () = silence.as_mut(), if leaving.is_none() => {
                if !activity.has_asked() {
                    return;
                }
                OVER_WITHIN
            }
            () = activity.sent_away() => {
                if activity.owes_nothing() {
                    return;
                }
                PLACE_WITHIN
            }
            () = over.as_mut(), if leaving.is_some() => {
                let is_wanted = leaving == Some(PLACE_WITHIN);
                if !activity.is_busy() && (is_wanted || !activity.waits_to_be_taken()) {
                    return;
                }
                leaving.unwrap_or(OVER_WITHIN)
            }
        };
        connection.as_mut().graceful_shutdown();
        over.as_mut().reset(Instant::now() + patience);
        leaving = Some(patience);
    };
    if let Err(error) = ended {
        // Clients that go away, headers that do not come: ordinary, and nobody's to look into.
        tracing::debug!(error, "a connection ended early");
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    router: Router,
    activity: Arc<Activity>,
) -> Result<Response, Infallible> {
    let running = activity.begin();
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = router.oneshot(request).await?;
    if response.body().size_hint().exact().is_some() {
        return Ok(response);
    }
    // Nobody knows where a live stream ends: until it does, it is under way.
    let held = move |frame| {
        let _ = &running;
        frame
    };
    Ok(response.map(|body| Body::new(body.map_frame(held))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_together_is_let_go_over_two_seconds() {
        let mut times: Vec<_> = (0..STEPS).map(headers_within).collect();
        for pair in times.windows(2) {
            assert!(pair[0].abs_diff(pair[1]) >= STEP * 7, "{pair:?}");
        }
        times.sort();
        let evenly = (0..16).map(|step| HEADERS_WITHIN + STEP * step);
        assert!(times.into_iter().eq(evenly));
    }
}
