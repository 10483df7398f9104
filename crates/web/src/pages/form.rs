//! Forms in: only our own pages may send them, and only as forms.
//!
//! **The origin.** Browsers say in `Sec-Fetch-Site` where a request came from, and no page can forge that. A browser too
//! old for it sends `Origin`, which must then be ours. What says neither is no browser in front of a person: refused. So no
//! other site can sign a person in as somebody else or send a form in their name, and no form needs a hidden token.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use serde::de::DeserializeOwned;

use crate::problem::{Code, Problem};
use crate::{Options, Web, form};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// A form that one of our pages sent. Fields it does not know are ignored; those that are missing are refused, but for
/// those with a default.
pub(super) struct Posted<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Web>> for Posted<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, web: &Arc<Web>) -> Result<Self, Problem> {
        let headers = request.headers();
        if !is_ours(headers, &web.options) {
            let detail = "Only a form on a page of this server may be sent here.";
            return Err(Problem::with_detail(Code::Forbidden, detail));
        }
        form::read(request).await.map(Self)
    }
}

/// Whether one of our own pages sent it.
fn is_ours(headers: &HeaderMap, options: &Options) -> bool {
    if headers.contains_key(SEC_FETCH_SITE) {
        return headers
            .get_all(SEC_FETCH_SITE)
            .iter()
            .all(|site| site == "same-origin");
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    match (origins.next().map(|origin| origin.to_str()), origins.next()) {
        (Some(Ok(origin)), None) => is_our_origin(origin, options),
        _ => false,
    }
}

/// In development this machine has several names; the port must be ours under each.
fn is_our_origin(origin: &str, options: &Options) -> bool {
    if origin.eq_ignore_ascii_case(origin_of(&options.public_url)) {
        return true;
    }
    if !options.development {
        return false;
    }
    let port = |text: &str| {
        let host = text.strip_prefix("http://")?;
        ["localhost", "127.0.0.1", "[::1]"]
            .iter()
            .find_map(|name| Some(host.strip_prefix(name)?.to_owned()))
    };
    let ours = port(origin_of(&options.public_url));
    ours.is_some() && port(origin) == ours
}

/// The URL up to its path.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find('/').map_or(url.len(), |at| host + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn options(public_url: &str, development: bool) -> Options {
        Options {
            public_url: public_url.to_owned(),
            development,
            proxies: crate::request::Proxies::default(),
            cors_origins: Vec::new(),
            rate_limits: false,
            mailbox_key: None,
        }
    }

    fn check(options: &Options, headers: &[(&'static str, &'static str)], want: bool) {
        let map = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            });
        assert_eq!(is_ours(&map, options), want, "{headers:?}");
    }

    /// T39.
    #[test]
    fn a_form_comes_from_our_own_pages_alone() {
        let production = options("https://id.example.org", false);
        let site = "sec-fetch-site";
        for (headers, want) in [
            (&[(site, "same-origin")][..], true),
            // A page that sends no referrer sends no origin either.
            (&[(site, "same-origin"), ("origin", "null")], true),
            (&[(site, "none")], false),
            (&[(site, "same-site")], false),
            (&[(site, "cross-site")], false),
            (&[(site, "Same-Origin")], false),
            (&[(site, "")], false),
            (&[(site, "same-origin"), (site, "cross-site")], false),
            (
                &[(site, "cross-site"), ("origin", "https://id.example.org")],
                false,
            ),
            // Browsers without it.
            (&[("origin", "https://id.example.org")], true),
            (&[("origin", "http://id.example.org")], false),
            (&[("origin", "https://id.example.org:444")], false),
            (&[("origin", "https://id.example.org.evil.example")], false),
            (&[("origin", "https://evil.example")], false),
            (&[("origin", "null")], false),
            (&[("origin", "")], false),
            (
                &[
                    ("origin", "https://id.example.org"),
                    ("origin", "https://evil.example"),
                ],
                false,
            ),
            (&[("referer", "https://id.example.org/reset")], false),
            (&[], false),
        ] {
            check(&production, headers, want);
        }
    }

    #[test]
    fn in_development_this_machine_has_several_names() {
        let development = options("http://localhost:8080", true);
        for (origin, want) in [
            ("http://localhost:8080", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080", true),
            ("http://localhost:8081", false),
            ("http://localhost", false),
            ("https://localhost:8080", false),
            ("http://localhost.evil.example:8080", false),
            ("http://evil.example:8080", false),
        ] {
            check(&development, &[("origin", origin)], want);
        }
        let production = options("http://localhost:8080", false);
        check(&production, &[("origin", "http://127.0.0.1:8080")], false);
    }

    #[test]
    fn an_origin_is_the_url_up_to_its_path() {
        for (url, want) in [
            ("https://id.example.org", "https://id.example.org"),
            ("https://example.org/id", "https://example.org"),
            ("https://example.org:444/id/x", "https://example.org:444"),
        ] {
            assert_eq!(origin_of(url), want);
        }
    }
}
