//! What proxies say of where a request came from: one header, that the operator names, read from its right end.
//!
//! Each proxy adds the address that it was called from at the right. What the nearest trusted one wrote is true; what stands
//! left of the first address that is no trusted proxy was written by strangers, and so is all of the other header.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Who is believed, and by which header.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    pub networks: Vec<IpNet>,
    pub header: ForwardingHeader,
}

/// The header that the proxies write. The other one is passed on by them as strangers wrote it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardingHeader {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

impl ForwardingHeader {
    pub const ALL: [Self; 2] = [Self::XForwardedFor, Self::Forwarded];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// The hops of one line, the nearest first; `None` for one that is no address.
    fn hops(self, line: &str) -> Vec<Option<IpAddr>> {
        match self {
            Self::XForwardedFor => line.rsplit(',').map(|hop| address(hop.trim())).collect(),
            Self::Forwarded => match elements(line) {
                Some(elements) => elements.into_iter().rev().map(forwarded_for).collect(),
                None => vec![None],
            },
        }
    }
}

impl Proxies {
    /// The address of the client: the peer, unless that is a trusted proxy; then the rightmost address that is none. What
    /// cannot be read ends it: the nearest that was read counts.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusts = |ip: &IpAddr| self.networks.iter().any(|net| net.contains(ip));
        let mut nearest = peer;
        if !trusts(&nearest) {
            return nearest;
        }
        let name = HeaderName::from_static(self.header.as_str());
        let lines: Vec<_> = headers.get_all(name).iter().collect();
        for line in lines.iter().rev() {
            for hop in self.header.hops(line.to_str().unwrap_or("?")) {
                let Some(ip) = hop else {
                    return nearest;
                };
                nearest = ip;
                if !trusts(&nearest) {
                    return nearest;
                }
            }
        }
        nearest
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    let ip = bare
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()?;
    Some(ip.to_canonical())
}

/// The elements of a `Forwarded` line, each with its pairs; `None` where quotes do not close. A comma or a semicolon within
/// quotes separates nothing.
fn elements(line: &str) -> Option<Vec<Vec<&str>>> {
    let (mut elements, mut pairs) = (Vec::new(), Vec::new());
    let (mut from, mut quoted, mut escaped) = (0, false, false);
    for (at, byte) in line.bytes().enumerate() {
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b';' if !quoted => {
                pairs.push(line[from..at].trim());
                from = at + 1;
                if byte == b',' {
                    elements.push(std::mem::take(&mut pairs));
                }
            }
            _ => {}
        }
    }
    pairs.push(line[from..].trim());
    elements.push(pairs);
    (!quoted).then_some(elements)
}

/// The address of the one `for` of an element. `unknown` and names that a proxy made up are none.
fn forwarded_for(pairs: Vec<&str>) -> Option<IpAddr> {
    let mut named = pairs.into_iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    let (value, more) = (named.next()?, named.next());
    let text = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    more.is_none().then(|| address(text))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: ForwardingHeader, peer: &str, lines: &[(&str, &str)]) -> IpAddr {
        let proxies = Proxies {
            networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            header,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        proxies.client(peer.parse().unwrap(), &headers)
    }

    fn cases(header: ForwardingHeader, cases: &[(&str, &[&str], &str)]) {
        for (peer, lines, want) in cases {
            let named: Vec<_> = lines.iter().map(|line| (header.as_str(), *line)).collect();
            let want: IpAddr = want.parse().unwrap();
            assert_eq!(client(header, peer, &named), want, "{peer} {lines:?}");
        }
    }

    #[test]
    fn x_forwarded_for_is_read_from_the_right_as_far_as_it_is_proxies() {
        cases(
            ForwardingHeader::XForwardedFor,
            &[
                // T12: whatever a stranger writes, the socket counts.
                ("192.0.2.1", &["203.0.113.9"], "192.0.2.1"),
                ("10.0.0.1", &[], "10.0.0.1"),
                ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
                (
                    "10.0.0.1",
                    &["1.1.1.1, 203.0.113.9, 10.0.0.2"],
                    "203.0.113.9",
                ),
                ("10.0.0.1", &["1.1.1.1", "203.0.113.9"], "203.0.113.9"),
                ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
                ("fd00::1", &["[2001:db8::9]:443"], "2001:db8::9"),
                ("fd00::1", &["[2001:db8::9]"], "2001:db8::9"),
                ("10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
                ("10.0.0.1", &["10.9.9.9, 10.0.0.2"], "10.9.9.9"),
                // What cannot be read ends it: nothing left of it is believed.
                ("10.0.0.1", &["203.0.113.9, a"], "10.0.0.1"),
                ("10.0.0.1", &["203.0.113.9, a, 10.0.0.2"], "10.0.0.2"),
                ("10.0.0.1", &[""], "10.0.0.1"),
            ],
        );
    }

    #[test]
    fn forwarded_is_read_so_too_and_its_quotes_hide_nothing() {
        cases(
            ForwardingHeader::Forwarded,
            &[
                ("192.0.2.1", &["for=203.0.113.9"], "192.0.2.1"),
                ("10.0.0.1", &["for=203.0.113.9"], "203.0.113.9"),
                (
                    "10.0.0.1",
                    &["For=\"203.0.113.9:4711\";proto=https;by=10.0.0.1"],
                    "203.0.113.9",
                ),
                (
                    "fd00::1",
                    &["proto=https; for=\"[2001:db8::9]:443\""],
                    "2001:db8::9",
                ),
                (
                    "10.0.0.1",
                    &["for=1.1.1.1, for=203.0.113.9 , for=10.0.0.2"],
                    "203.0.113.9",
                ),
                (
                    "10.0.0.1",
                    &["for=1.1.1.1", "for=203.0.113.9"],
                    "203.0.113.9",
                ),
                // Not what stands within quotes.
                (
                    "10.0.0.1",
                    &["for=203.0.113.9;host=\"a, for=1.1.1.1\""],
                    "203.0.113.9",
                ),
                (
                    "10.0.0.1",
                    &["host=\"\\\", for=1.1.1.1\";for=203.0.113.9"],
                    "203.0.113.9",
                ),
                // Nor what is no address, twice, or does not close.
                ("10.0.0.1", &["for=203.0.113.9, for=unknown"], "10.0.0.1"),
                (
                    "10.0.0.1",
                    &["for=203.0.113.9, for=_hidden, for=10.0.0.2"],
                    "10.0.0.2",
                ),
                ("10.0.0.1", &["for=203.0.113.9;for=1.1.1.1"], "10.0.0.1"),
                ("10.0.0.1", &["for=203.0.113.9, for=\"10.0.0.2"], "10.0.0.1"),
                ("10.0.0.1", &["proto=https"], "10.0.0.1"),
                ("10.0.0.1", &[""], "10.0.0.1"),
            ],
        );
    }

    #[test]
    fn only_the_named_header_counts() {
        for (header, others) in [
            (
                ForwardingHeader::XForwardedFor,
                [
                    ("forwarded", "for=203.0.113.9"),
                    ("x-real-ip", "203.0.113.9"),
                ],
            ),
            (
                ForwardingHeader::Forwarded,
                [
                    ("x-forwarded-for", "203.0.113.9"),
                    ("true-client-ip", "203.0.113.9"),
                ],
            ),
        ] {
            let peer: IpAddr = "10.0.0.1".parse().unwrap();
            assert_eq!(client(header, "10.0.0.1", &others), peer, "{header:?}");
        }
    }
}
