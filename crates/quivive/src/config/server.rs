//! `[server]` and `[management]`: where it listens, how it is reached, where its data lie.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use ipnet::IpNet;
use quivive_web::request::{ForwardingHeader, Proxies};
use serde::Deserialize;

use super::report::Report;

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    listen: String,
    public_url: Option<String>,
    pub data_dir: Option<PathBuf>,
    trusted_proxies: Vec<String>,
    forwarding_header: String,
    max_connections: usize,
    drain_seconds: u64,
}

/// Whether the server serves its developer alone, or people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Loopback, no public URL.
    Development,
    Production,
}

/// `[server]`, checked.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub listen: SocketAddr,
    pub mode: Mode,
    /// No slash at its end.
    pub public_url: String,
    pub proxies: Proxies,
    pub max_connections: usize,
    pub drain: Duration,
}

impl Checked {
    /// The host name of the public URL.
    pub(super) fn host(&self) -> String {
        let uri = self.public_url.parse::<Uri>().ok();
        uri.as_ref()
            .and_then(Uri::host)
            .unwrap_or("localhost")
            .to_owned()
    }
}

impl Server {
    pub(super) fn check(&self, report: &mut Report<'_>) -> Option<Checked> {
        let listen = self.address(report);
        let proxies = self.proxies(report);
        let max_connections =
            report.within("server.max_connections", self.max_connections, 1..=65_536);
        let drain_seconds = report.within("server.drain_seconds", self.drain_seconds, 0..=30);
        let (mode, public_url) = self.mode(listen?, report)?;
        Some(Checked {
            listen: listen?,
            mode,
            public_url,
            proxies,
            max_connections,
            drain: Duration::from_secs(drain_seconds),
        })
    }

    pub(super) fn address(&self, report: &mut Report<'_>) -> Option<SocketAddr> {
        let remedy = "write an address and a port, like 127.0.0.1:8080 or [::1]:8080";
        report.parse(
            "server.listen",
            &self.listen,
            "an address with a port",
            remedy,
        )
    }

    fn proxies(&self, report: &mut Report<'_>) -> Proxies {
        let networks = self.trusted_proxies.iter();
        let networks = networks.filter_map(|text| network(text, report)).collect();
        let named = |header: &ForwardingHeader| {
            header
                .as_str()
                .eq_ignore_ascii_case(&self.forwarding_header)
        };
        let header = ForwardingHeader::ALL.into_iter().find(named);
        if header.is_none() {
            report.bad(
                "server.forwarding_header",
                &format!("= {:?} is not read", self.forwarding_header),
                "write the one that your proxies set: x-forwarded-for or forwarded",
            );
        }
        Proxies {
            networks,
            header: header.unwrap_or_default(),
        }
    }

    fn mode(&self, listen: SocketAddr, report: &mut Report<'_>) -> Option<(Mode, String)> {
        match &self.public_url {
            Some(url) => public_url(url, listen, report).map(|url| (Mode::Production, url)),
            None if listen.ip().is_loopback() => Some((Mode::Development, local_url(listen))),
            None => {
                let remedy = "write where people reach it, public_url = \"https://id.example.org\", or listen on 127.0.0.1 for \
                              development mode";
                report.bad(
                    "server.public_url",
                    &format!("is missing, and {listen} is not a loopback address"),
                    remedy,
                );
                None
            }
        }
    }
}

/// What a browser on this machine calls it.
fn local_url(listen: SocketAddr) -> String {
    let port = listen.port();
    match listen.ip() {
        IpAddr::V4(ip) if ip.octets() != [127, 0, 0, 1] => format!("http://{ip}:{port}"),
        _ => format!("http://localhost:{port}"),
    }
}

/// https, a host, perhaps a port, and nothing else.
fn public_url(text: &str, listen: SocketAddr, report: &mut Report<'_>) -> Option<String> {
    let uri = text.parse::<Uri>().ok();
    let whole = uri.as_ref().is_some_and(|uri| {
        let bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let host = uri.host().is_some_and(|host| !host.is_empty());
        let user = uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        bare && host && !user && uri.scheme().is_some() && !text.contains('#')
    });
    if !whole {
        let what = format!("= {text:?} is not the address of a host");
        report.bad(
            "server.public_url",
            &what,
            "write https, the host, and nothing after it: https://id.example.org",
        );
        return None;
    }
    if uri.as_ref().and_then(Uri::scheme_str) != Some("https") {
        let remedy = if listen.ip().is_loopback() {
            "write https://…, or remove it: on a loopback address the server then runs in development mode"
        } else {
            "write https://…: browsers give the cookies of a sign-in to nothing less"
        };
        report.bad(
            "server.public_url",
            &format!("= {text:?} is not https"),
            remedy,
        );
        return None;
    }
    Some(text.trim_end_matches('/').to_ascii_lowercase())
}

fn network(text: &str, report: &mut Report<'_>) -> Option<IpNet> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(IpNet::from(ip));
    }
    let remedy = "write addresses or networks: 10.0.0.5 or 10.0.0.0/8";
    report.parse(
        "server.trusted_proxies",
        text,
        "an address or a network",
        remedy,
    )
}

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Management {
    listen: Option<String>,
}

impl Management {
    pub(super) fn check(&self, report: &mut Report<'_>) -> Option<SocketAddr> {
        let remedy = "write an address and a port, like 127.0.0.1:9090";
        report.parse(
            "management.listen",
            self.listen.as_ref()?,
            "an address with a port",
            remedy,
        )
    }
}
