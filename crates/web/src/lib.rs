//! HTTP: the JSON API under `/api/v1`, the hosted pages, and what operators look at.
//!
//! A route parses, calls [`quivive_app::Kernel::execute`], and maps the reply or the refusal to an answer. Nothing here
//! decides anything about identity.
//!
//! **The way of a request.** `edge` gives it an id and a context ([`request`]), checks its host (`host`), counts it
//! ([`limits`]) and asks for the authority that the route was declared with ([`routes::ROUTES`], `auth`). The handler's
//! extractor lets only a strict body through (`json`). On the way out the edge writes problems ([`problem`]) and the
//! headers that every answer has (`headers`).
//!
//! **Adding a route.** A handler with `#[utoipa::path]` in its family's file under `routes/`, and its line in the family's
//! `router()`: `.counted(Authority::Bearer, Family::Read, || routes!(handler))`. Then `UPDATE_GOLDEN=1 cargo test -p quivive-web openapi` and a look at the diff.

pub mod asyncapi;
mod auth;
mod body;
mod cors;
mod edge;
mod even;
mod form;
mod headers;
mod host;
mod html;
mod json;
pub mod limits;
pub mod openapi;
pub mod pages;
pub mod problem;
pub mod request;
pub mod routes;
mod streams;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use quivive_app::access::Access;
use quivive_app::admission::Rejections;
use quivive_app::ports::EventIndex;
use quivive_app::webhooks::Endpoints;
use quivive_app::{Kernel, Settings};
use quivive_delivery::Log;
use quivive_delivery::seal::Vault;
use quivive_delivery::subscriber::DeadLetters;
use secrecy::SecretString;

pub use asyncapi::asyncapi;
pub use openapi::openapi;
pub use routes::{DeadLetterView, EventView, Tree};
pub use streams::Streams;

use edge::{Behind, Edge};
use problem::{Code, Problem};
use request::Proxies;

/// Everything: the API, the pages, and the edge around them. Serve it with
/// `into_make_service_with_connect_info::<SocketAddr>()`; without that all clients are one source.
pub fn router(web: Arc<Web>) -> Router {
    let api = routes::api().handlers();
    let nothing = Router::new().fallback(async || Problem::new(Code::NotFound));
    let edge = Arc::new(Edge::new(Arc::clone(&web)));
    let behind = |behind| from_fn_with_state((Arc::clone(&edge), behind), edge::edge);
    api.with_state(Arc::clone(&web))
        .layer(behind(Behind::Api))
        .merge(pages::router(web).layer(behind(Behind::Pages)))
        .merge(nothing.layer(behind(Behind::Nothing)))
}

/// What the outside may see of this server.
#[derive(Debug, Clone)]
pub struct Options {
    /// `http://localhost:8080` or what the operator configured; no slash at its end.
    pub public_url: String,
    /// Loopback, no public URL configured: the mailbox and friendly host errors are on.
    pub development: bool,
    pub proxies: Proxies,
    /// Origins that may call the API from a browser.
    pub cors_origins: Vec<String>,
    pub rate_limits: bool,
    /// The key that opens `/dev/mail`; development only.
    pub mailbox_key: Option<SecretString>,
}

/// What the routes work with.
pub struct Web {
    pub options: Options,
    pub settings: Settings,
    pub kernel: Arc<Kernel>,
    pub access: Arc<Access>,
    pub rejections: Arc<Rejections>,
    pub log: Arc<dyn Log>,
    pub index: Arc<dyn EventIndex>,
    pub dead_letters: Arc<dyn DeadLetters>,
    pub vault: Arc<dyn Vault>,
    pub mailbox: Option<Arc<dyn Mailbox>>,
    pub operation: Arc<dyn Operation>,
    pub streams: Arc<Streams>,
    pub setup: Arc<dyn Setup>,
    pub endpoints: Arc<Endpoints>,
}

/// Letters kept in development.
pub trait Mailbox: Send + Sync {
    /// Newest first.
    fn letters(&self) -> Vec<KeptLetter>;
}

/// A letter in the mailbox, in the shape of `GET /dev/mail`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct KeptLetter {
    pub id: String,
    pub to: String,
    pub subject: String,
    pub template: String,
    pub text: String,
    pub html: String,
    pub sent_at: String,
}

/// How the server is doing.
pub trait Operation: Send + Sync {
    /// Whether it serves: the store runs and the subscriptions were started.
    fn ready(&self) -> Result<(), String>;

    /// One line a subscription, for `/readyz?verbose`: JSON objects {name, position, lag, `lag_seconds`, state, stuck, …}.
    fn subscriptions(&self) -> Vec<serde_json::Value>;

    /// The state of one event at each subscription, for `GET /events/{id}`.
    fn deliveries(
        &self,
        event: &quivive_delivery::Stored,
    ) -> quivive_delivery::BoxFuture<'_, Vec<serde_json::Value>>;

    /// How many nodes serve on the database, this one included.
    fn nodes(&self) -> u32 {
        1
    }

    /// Prometheus text.
    fn metrics(&self) -> String;
}

/// The link of the first minute.
pub trait Setup: Send + Sync {
    /// Whether this is the token of the link, in its 30 minutes. Compares in constant time.
    fn admits(&self, token: &str) -> bool;

    /// The link has served.
    fn done(&self);
}
