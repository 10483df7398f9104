//! Which names this server goes by. A request for another name is refused before anything looks at it, and no link is ever
//! made from what a request says: links come from the configuration alone.

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri};

use crate::Options;
use crate::problem::{Code, Problem};

/// Of a name that is shown back, in characters.
const MAX_SHOWN_CHARS: usize = 100;

/// The name and port of the public URL.
#[derive(Debug)]
pub(crate) struct Hosts {
    public_url: String,
    host: String,
    /// The one in the URL, or that of its scheme.
    port: u16,
    /// What a name without a port means.
    scheme_port: u16,
    development: bool,
}

impl Hosts {
    pub(crate) fn new(options: &Options) -> Self {
        let uri = options.public_url.parse::<Uri>().unwrap_or_default();
        let scheme_port = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        Self {
            public_url: options.public_url.clone(),
            host: uri.host().unwrap_or_default().to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(scheme_port),
            scheme_port,
            development: options.development,
        }
    }

    /// Whether the request may be served. `local`: it came from this machine and through no proxy.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap, local: bool) -> Result<(), Problem> {
        let (target, header) = named(uri, headers)?;
        for name in target.iter().chain(&header) {
            if !self.serves(name, local) {
                return Err(self.refusal(name));
            }
        }
        Ok(())
    }

    fn serves(&self, name: &Authority, local: bool) -> bool {
        let known = name.host().eq_ignore_ascii_case(&self.host)
            || (self.development && local && is_loopback(name.host()));
        known && self.port_of(name) == Some(self.port)
    }

    /// `None` for a port that is no number.
    fn port_of(&self, name: &Authority) -> Option<u16> {
        match name.as_str().strip_prefix(name.host()) {
            Some("") => Some(self.scheme_port),
            _ => name.port_u16(),
        }
    }

    fn refusal(&self, name: &Authority) -> Problem {
        if !self.development {
            return Problem::new(Code::MisdirectedRequest);
        }
        let cut = |text: &str| text.chars().take(MAX_SHOWN_CHARS).collect::<String>();
        let detail = format!(
            "You asked for {}, but this server is configured as {}. In development localhost, 127.0.0.1 and [::1] serve \
             too, with its port. To serve under that name, write public_url = \"https://{}\" under [server] in quivive.toml.",
            cut(name.as_str()),
            self.public_url,
            cut(name.host()),
        );
        Problem::with_detail(Code::MisdirectedRequest, detail)
    }
}

/// Whether every name in the request is one of this machine for itself: a page in a browser cannot have made it up.
pub(crate) fn is_for_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    named(uri, headers).is_ok_and(|(target, header)| {
        target
            .iter()
            .chain(&header)
            .all(|name| is_loopback(name.host()))
    })
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]"
}

/// The names that a request goes to: of its target (HTTP/2, and the absolute form of HTTP/1) and of its Host header.
fn named(
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(Option<Authority>, Option<Authority>), Problem> {
    let bad = |detail: &'static str| Problem::with_detail(Code::BadRequest, detail);
    let target = uri.authority().cloned();
    let mut lines = headers.get_all(HOST).iter();
    let header = match lines.next() {
        Some(line) => Some(
            Authority::try_from(line.as_bytes())
                .map_err(|_| bad("The Host header is not a host name."))?,
        ),
        None => None,
    };
    if lines.next().is_some() {
        return Err(bad("The request has two Host headers."));
    }
    if target
        .iter()
        .chain(&header)
        .any(|name| name.as_str().contains('@'))
    {
        return Err(bad("A host name holds no @."));
    }
    if target.is_none() && header.is_none() {
        return Err(bad("The request names no host."));
    }
    Ok((target, header))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    fn hosts(public_url: &str, development: bool) -> Hosts {
        Hosts::new(&Options {
            public_url: public_url.to_owned(),
            development,
            proxies: crate::request::Proxies::default(),
            cors_origins: Vec::new(),
            rate_limits: false,
            mailbox_key: None,
        })
    }

    /// The status of the refusal, or 200.
    fn ask(hosts: &Hosts, uri: &str, lines: &[&str], local: bool) -> u16 {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HOST, line.parse().unwrap());
        }
        let answer = hosts.check(&uri.parse().unwrap(), &headers, local);
        answer
            .map_or_else(|problem| problem.status, |()| StatusCode::OK)
            .as_u16()
    }

    #[test]
    fn in_development_every_name_of_this_machine_serves_with_the_right_port() {
        let hosts = hosts("http://localhost:8080", true);
        for good in [
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "LOCALHOST:8080",
        ] {
            assert_eq!(ask(&hosts, "/", &[good], true), 200, "{good}");
        }
        for bad in [
            "localhost",
            "localhost:80",
            "127.0.0.1:8081",
            "evil.example:8080",
            "localhost.:8080",
            "localhost:",
        ] {
            assert_eq!(ask(&hosts, "/", &[bad], true), 421, "{bad}");
        }
        assert_eq!(
            ask(&hosts, "/", &["127.0.0.1:8080"], false),
            421,
            "through a proxy only the configured name serves"
        );
        let problem = hosts.refusal(&"evil.example:8080".parse().unwrap());
        for said in [
            "evil.example:8080",
            "http://localhost:8080",
            "public_url = \"https://evil.example\"",
        ] {
            assert!(problem.detail.contains(said), "{}", problem.detail);
        }
    }

    #[test]
    fn in_production_the_public_name_alone_serves() {
        let hosts = hosts("https://id.example.org", false);
        for good in ["id.example.org", "ID.example.org", "id.example.org:443"] {
            assert_eq!(ask(&hosts, "/", &[good], true), 200, "{good}");
        }
        for bad in [
            "localhost",
            "127.0.0.1",
            "id.example.org:80",
            "id.example.org.evil.example",
            "example.org",
            "id.example.org:x",
        ] {
            let status = ask(&hosts, "/", &[bad], true);
            assert!(status == 421 || status == 400, "{bad} {status}");
        }
        let problem = hosts.refusal(&"evil.example".parse().unwrap());
        assert!(
            !problem.detail.contains("id.example.org"),
            "a stranger is not told the configuration"
        );
    }

    #[test]
    fn a_request_names_one_host_and_names_it_well() {
        let hosts = hosts("https://id.example.org", false);
        for (uri, lines, want) in [
            ("/", &["id.example.org", "id.example.org"][..], 400),
            ("/", &["id.example.org", "evil.example"], 400),
            ("/", &[], 400),
            ("/", &[""], 400),
            ("/", &["user@id.example.org"], 400),
            ("/", &["id.example.org/x"], 400),
            // The absolute form, and HTTP/2.
            ("https://id.example.org/", &[], 200),
            ("https://id.example.org/", &["id.example.org"], 200),
            ("https://evil.example/", &["id.example.org"], 421),
            ("https://id.example.org/", &["evil.example"], 421),
            ("https://x@id.example.org/", &["id.example.org"], 400),
        ] {
            assert_eq!(ask(&hosts, uri, lines, true), want, "{uri} {lines:?}");
        }
    }
}
