//! Where a request goes: the list of routes, by path and method.

use std::collections::HashMap;

use axum::http::{HeaderValue, Method};

use crate::limits::Family;
use crate::routes::{ROUTES, Route};

/// What stands behind the edge: the layer is put around each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// Only what the list names.
    Api,
    Pages,
    /// The end of all routes.
    Nothing,
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Listed(&'static Route),
    /// A path of the list, with another method.
    OtherMethod,
    /// A route of the API that the list does not name.
    Unlisted,
    Page,
    Nowhere,
}

impl Place {
    /// The pattern that it met: one of few, whatever a request says.
    pub(super) fn route(&self) -> &'static str {
        match self {
            Self::Listed(route) => route.path.as_str(),
            Self::OtherMethod | Self::Unlisted | Self::Nowhere => "none",
            Self::Page => "page",
        }
    }
}

/// The list, to be looked up.
pub(super) struct Places {
    /// By path, but for those with a parameter.
    exact: HashMap<&'static str, Vec<&'static Route>>,
    patterns: Vec<&'static Route>,
}

impl Places {
    pub(super) fn new() -> Self {
        let (patterns, plain): (Vec<_>, Vec<_>) =
            ROUTES.iter().partition(|route| route.path.contains('{'));
        let mut exact: HashMap<_, Vec<_>> = HashMap::new();
        for route in plain {
            exact.entry(route.path.as_str()).or_default().push(route);
        }
        Self { exact, patterns }
    }

    pub(super) fn place(&self, behind: Behind, method: &Method, path: &str) -> Place {
        match behind {
            Behind::Api => self.listed(method, path),
            Behind::Pages => Place::Page,
            Behind::Nothing => Place::Nowhere,
        }
    }

    fn listed(&self, method: &Method, path: &str) -> Place {
        let method = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let mut known = false;
        for route in self.routes_of(path) {
            if route.method == *method {
                return Place::Listed(route);
            }
            known = true;
        }
        if known {
            Place::OtherMethod
        } else {
            Place::Unlisted
        }
    }

    /// The routes of a path. One without a parameter wins, as it does in the router.
    fn routes_of<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'static Route> + 'a {
        let exact = self.exact.get(path).map_or(&[][..], Vec::as_slice);
        let patterns: &[&'static Route] = if exact.is_empty() {
            &self.patterns
        } else {
            &[]
        };
        exact
            .iter()
            .chain(patterns.iter().filter(|route| fits(&route.path, path)))
            .copied()
    }

    /// For the header `Allow`.
    pub(super) fn allowed(&self, path: &str) -> HeaderValue {
        let mut methods: Vec<&str> = Vec::new();
        for route in self.routes_of(path) {
            methods.push(route.method.as_str());
            if route.method == Method::GET {
                methods.push("HEAD");
            }
        }
        HeaderValue::try_from(methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Whether a path is one of a pattern's: as many segments, each the same or a parameter's.
fn fits(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given => {}
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {}
            _ => return false,
        }
    }
}

/// How pages are counted: with the routes of the API that do the same.
pub(super) fn page_family(method: &Method, path: &str) -> Family {
    match (method, path) {
        (&Method::GET | &Method::HEAD | &Method::OPTIONS, _) => Family::Read,
        (_, "/verify" | "/reset" | "/forgot") => Family::Recovery,
        (_, "/setup") => Family::Login,
        _ => Family::Write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_one_segment_that_is_there() {
        for (pattern, path, want) in [
            ("/a/{id}", "/a/b", true),
            ("/a/{id}", "/a/b%2Fc", true),
            ("/a/{id}", "/a/", false),
            ("/a/{id}", "/a", false),
            ("/a/{id}", "/a/b/c", false),
            ("/a/{id}", "/A/b", false),
            ("/a/{id}/c", "/a/b/c", true),
        ] {
            assert_eq!(fits(pattern, path), want, "{pattern} {path}");
        }
    }
}
