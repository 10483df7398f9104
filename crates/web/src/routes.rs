//! The routes of the API, a file a family. Each is declared once, in its family's `router()`: its handler, who may use it
//! and how it is counted. The edge goes by the list that comes of it, and a test asks each route without a token.

mod accounts;
mod api_keys;
mod delivery;
mod discovery;
mod docs;
mod email_changes;
mod events;
mod export;
mod id;
mod me;
mod operation;
mod passwords;
mod query;
mod rotations;
mod schemas;
mod services;
mod sessions;
mod statistics;
mod users;
mod webhooks;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::http::Method;
use quivive_domain::Permission;
use quivive_domain::api_key::Scope;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::limits::Family;
use crate::{Web, openapi};

pub use delivery::DeadLetterView;
pub use events::{EventView, Tree};

#[cfg(test)]
pub(crate) use docs::document;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Everybody; what it needs is in the body.
    Open,
    /// Everybody, under any host name, uncounted: whether the server lives.
    Probe,
    /// Whoever has a good access token.
    Bearer,
    /// Whoever has one and the role admin.
    Admin,
    /// Whoever has one and a role that grants it.
    May(Permission),
    /// Whoever has the role admin, or an API key with that scope.
    AdminOr(Scope),
    /// A service alone: whoever has an API key with that scope.
    Service(Scope),
    /// This machine, through no proxy. To others it does not exist.
    Loopback,
}

impl Authority {
    /// What a role of a person who is known must grant.
    pub(crate) fn permission(self) -> Option<Permission> {
        match self {
            Self::Admin | Self::AdminOr(_) => Some(Permission::Administration),
            Self::May(permission) => Some(permission),
            Self::Open | Self::Probe | Self::Bearer | Self::Service(_) | Self::Loopback => None,
        }
    }

    /// What somebody who is known may lack.
    pub(crate) fn needs(self) -> Option<String> {
        match self {
            Self::Open | Self::Probe | Self::Bearer | Self::Loopback => None,
            Self::Admin => Some("the role admin".to_owned()),
            Self::May(permission) => {
                let roles: Vec<_> = permission
                    .roles()
                    .iter()
                    .map(|role| role.as_str())
                    .collect();
                Some(format!("the role {}", roles.join(" or ")))
            }
            Self::AdminOr(scope) => {
                let scope = scope.as_str();
                Some(format!(
                    "the role admin, or an API key with the scope {scope}"
                ))
            }
            Self::Service(scope) => Some(format!("an API key with the scope {}", scope.as_str())),
        }
    }
}

/// What becomes of a request with an `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    /// The same caller gets the same answer again, for a day. Every POST of which nothing else is declared.
    Answered,
    /// It is answered with a secret, which is kept nowhere, or with what must be asked anew.
    Refused,
    /// Its handler knows repetitions in a way of its own.
    Own,
    /// Done twice it is as if it were done once: whatever is no POST. The key is ignored.
    Harmless,
}

/// One route.
#[derive(Debug, Clone)]
pub struct Route {
    pub method: Method,
    pub path: String,
    pub authority: Authority,
    /// `None`: not counted.
    pub family: Option<Family>,
    pub repetition: Repetition,
}

/// A handler with what describes it.
type Described = UtoipaMethodRouter<Arc<Web>>;

/// Routes, as they were declared. There is no other way to serve a handler of the API, so none is served without an
/// authority and a limit. What describes a route is made when it is asked for: it is large, and a server that nobody asks for
/// the document does without.
pub(crate) struct Routes(Vec<Declared>);

struct Declared {
    authority: Authority,
    /// `None`: not counted.
    family: Option<Family>,
    /// Unless it follows from the method.
    repetition: Option<Repetition>,
    described: fn() -> Described,
}

impl Declared {
    /// The handler, its description made complete, and how it is listed.
    fn open(&self) -> (Described, Vec<Route>) {
        let (schemas, mut paths, handler) = (self.described)();
        let mut listed = Vec::new();
        for (path, item) in &mut paths.paths {
            for (method, operation) in openapi::operations(item) {
                let by_method = if method == Method::POST {
                    Repetition::Answered
                } else {
                    Repetition::Harmless
                };
                let route = Route {
                    method,
                    path: path.clone(),
                    authority: self.authority,
                    family: self.family,
                    repetition: self.repetition.unwrap_or(by_method),
                };
                openapi::complete(operation, &route);
                listed.push(route);
            }
        }
        ((schemas, paths, handler), listed)
    }
}

impl Routes {
    fn new() -> Self {
        Self(Vec::new())
    }

    /// Declares a route: who may use it, and with which others it is counted.
    fn counted(self, authority: Authority, family: Family, handler: fn() -> Described) -> Self {
        self.declare(authority, Some(family), handler)
    }

    /// Declares a route that may be used as often as one likes.
    fn uncounted(self, authority: Authority, handler: fn() -> Described) -> Self {
        self.declare(authority, None, handler)
    }

    fn declare(
        mut self,
        authority: Authority,
        family: Option<Family>,
        described: fn() -> Described,
    ) -> Self {
        self.0.push(Declared {
            authority,
            family,
            repetition: None,
            described,
        });
        self
    }

    /// Says of the route declared last that no answer of it is kept: it is a secret, or must be asked anew.
    fn never_kept(self) -> Self {
        self.repeated(Repetition::Refused)
    }

    /// Says of the route declared last that its handler knows repetitions by itself.
    fn known_by_itself(self) -> Self {
        self.repeated(Repetition::Own)
    }

    fn repeated(mut self, repetition: Repetition) -> Self {
        if let Some(last) = self.0.last_mut() {
            last.repetition = Some(repetition);
        }
        self
    }

    fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(crate) fn handlers(&self) -> Router<Arc<Web>> {
        self.0.iter().fold(Router::new(), |router, declared| {
            let (_, paths, handler) = (declared.described)();
            paths
                .paths
                .keys()
                .fold(router, |router, path| router.route(path, handler.clone()))
        })
    }

    /// What describes them.
    pub(crate) fn document(&self) -> OpenApi {
        let described = OpenApiRouter::with_openapi(openapi::frame());
        let described = self.0.iter().fold(described, |described, declared| {
            described.routes(declared.open().0)
        });
        described.into_openapi()
    }

    fn list(&self) -> Vec<Route> {
        self.0
            .iter()
            .flat_map(|declared| declared.open().1)
            .collect()
    }
}

/// All of them.
pub(crate) fn api() -> Routes {
    Routes::new()
        .merge(accounts::router())
        .merge(sessions::router())
        .merge(me::router())
        .merge(export::router())
        .merge(email_changes::router())
        .merge(passwords::router())
        .merge(rotations::router())
        .merge(events::router())
        .merge(statistics::router())
        .merge(users::router())
        .merge(api_keys::router())
        .merge(schemas::router())
        .merge(webhooks::router())
        .merge(delivery::router())
        .merge(services::router())
        .merge(discovery::router())
        .merge(docs::router())
        .merge(operation::router())
}

/// The list of them, as the edge and the documentation use it.
pub static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| api().list());

#[cfg(test)]
mod tests;
