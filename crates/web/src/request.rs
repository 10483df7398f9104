//! Where a request came from: the one resolver of client addresses, and what every event of the request will carry.

mod forwarded;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::USER_AGENT;
use axum::http::request::Parts;
use quivive_app::Request;
use quivive_app::kernel::{Actor, Once};
use tokio::time::Instant;
use uuid::Uuid;

use crate::problem::{Code, Problem};

pub use forwarded::{ForwardingHeader, Proxies};

/// Of a user agent, in characters. Browsers stay under it; what is longer is cut.
const MAX_AGENT_CHARS: usize = 300;

/// Headers that proxies add. Where one is present the request did not come straight from a person at this machine.
const FORWARDING: [&str; 9] = [
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "forwarded",
    "x-real-ip",
    "cf-connecting-ip",
    "true-client-ip",
    CLIENT_IP,
];

/// With which a backend states the address of the user that it calls for.
pub(crate) const CLIENT_IP: &str = "quivive-client-ip";

/// Who asks, as far as the network tells. Cheap to clone. Every handler may extract it; the edge made it.
#[derive(Debug, Clone)]
pub struct RequestContext(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    id: Uuid,
    arrived: Instant,
    peer: Option<IpAddr>,
    ip: Option<IpAddr>,
    forwarded: bool,
    agent: Option<String>,
    traceparent: Option<String>,
    correlation_id: Option<Uuid>,
    once: Option<Once>,
}

impl RequestContext {
    /// Reads headers and socket of a request; `id` is a new one of ours, never one from outside.
    pub(crate) fn read(
        request: &axum::extract::Request,
        proxies: &Proxies,
        id: Uuid,
        arrived: Instant,
    ) -> Self {
        let headers = request.headers();
        let peer = request
            .extensions()
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(address)| address.ip().to_canonical());
        Self(Arc::new(Inner {
            id,
            arrived,
            peer,
            ip: peer.map(|peer| proxies.client(peer, headers)),
            forwarded: FORWARDING.iter().any(|name| headers.contains_key(*name)),
            agent: agent(headers),
            traceparent: text(headers, "traceparent")
                .filter(|t| is_traceparent(t))
                .map(str::to_owned),
            correlation_id: text(headers, "x-correlation-id").and_then(|t| Uuid::try_parse(t).ok()),
            once: None,
        }))
    }

    /// The same request, of the user whose address a backend states that may.
    pub(crate) fn of_user_at(&self, ip: IpAddr) -> Self {
        Self(Arc::new(Inner {
            ip: Some(ip.to_canonical()),
            ..Inner::clone(&self.0)
        }))
    }

    /// The same request, which its caller may repeat.
    pub(crate) fn repeatable(&self, once: Once) -> Self {
        Self(Arc::new(Inner {
            once: Some(once),
            ..Inner::clone(&self.0)
        }))
    }

    /// What a workflow is told.
    pub fn request(&self, actor: Actor) -> Request {
        Request {
            actor,
            ip: self.0.ip,
            agent: self.0.agent.clone(),
            request_id: Some(self.0.id.to_string()),
            traceparent: self.0.traceparent.clone(),
            correlation_id: self.0.correlation_id,
            once: self.0.once,
        }
    }

    /// Ours; the answer names it in `X-Request-Id`.
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// When its headers were read.
    pub fn arrived(&self) -> Instant {
        self.0.arrived
    }

    /// The client, from the socket, from a trusted proxy, or from a backend that may state it. `None` only where the server
    /// does not know its peers.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.ip
    }

    /// Some proxy has touched it.
    pub fn is_forwarded(&self) -> bool {
        self.0.forwarded
    }

    /// From this very machine and through no proxy: development and operation trust that.
    pub fn is_local(&self) -> bool {
        !self.0.forwarded && self.0.peer.is_some_and(|peer| peer.is_loopback())
    }
}

impl<S: Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Absent only if somebody mounts a route beside the edge.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::new(Code::Internal))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn agent(headers: &HeaderMap) -> Option<String> {
    let bytes = headers.get(USER_AGENT)?.as_bytes();
    let text = String::from_utf8_lossy(bytes);
    let agent: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_AGENT_CHARS)
        .collect();
    (!agent.is_empty()).then_some(agent)
}

/// The shape of version 00 (W3C Trace Context): `00-<32 hex>-<16 hex>-<2 hex>`, lower case, neither id all zero.
fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |digits: usize| {
        parts.next().is_some_and(|part| {
            part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let shaped = hex(2) && hex(32) && hex(16) && hex(2) && parts.next().is_none();
    shaped
        && text.starts_with("00-")
        && text[3..35].bytes().any(|b| b != b'0')
        && text[36..52].bytes().any(|b| b != b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn read(peer: &str, headers: &[(&str, &str)]) -> RequestContext {
        let mut request = axum::extract::Request::new(Body::empty());
        let peer: IpAddr = peer.parse().unwrap();
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(peer, 4_711)));
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let proxies = Proxies::default();
        RequestContext::read(&request, &proxies, Uuid::from_u128(1), Instant::now())
    }

    #[test]
    fn local_is_this_machine_without_any_proxy() {
        assert!(read("127.0.0.1", &[]).is_local());
        assert!(read("::1", &[]).is_local());
        assert!(!read("192.0.2.1", &[]).is_local());
        for name in FORWARDING {
            assert!(
                !read("127.0.0.1", &[(name, "127.0.0.1")]).is_local(),
                "{name}"
            );
        }
    }

    #[test]
    fn what_events_will_carry_is_cut_and_shaped() {
        let long = "x".repeat(1_000);
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = read(
            "192.0.2.1",
            &[
                ("user-agent", &format!("a\tb{long}")),
                ("traceparent", good),
                ("x-correlation-id", "00000000-0000-0000-0000-0000000000ff"),
                ("x-request-id", "mine"),
            ],
        );
        let request = context.request(Actor::Anonymous);
        assert_eq!(request.agent, Some(format!("ab{}", "x".repeat(298))));
        assert_eq!(request.traceparent.as_deref(), Some(good));
        assert_eq!(request.correlation_id, Some(Uuid::from_u128(255)));
        assert_eq!(request.request_id, Some(Uuid::from_u128(1).to_string()));
        for bad in [
            "",
            "00",
            &good[1..],
            &good.to_uppercase(),
            &good.replace("00-4", "01-4"),
            &format!("{good}-x"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            let context = read(
                "192.0.2.1",
                &[("traceparent", bad), ("x-correlation-id", "one")],
            );
            let request = context.request(Actor::Anonymous);
            assert_eq!(
                (request.traceparent, request.correlation_id),
                (None, None),
                "{bad:?}"
            );
        }
    }
}
