//! Where an endpoint may be: its URL, and the addresses behind it.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use url::{Host, Url};

use super::address::is_public;

/// In bytes.
const MAX_URL_BYTES: usize = 2_048;

/// On the public Internet, besides those that the operator adds.
const PORTS: [u16; 3] = [80, 443, 8443];

/// A URL that messages are posted to. It was read once, and what is connected to is what was read then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    authority: String,
    path_and_query: String,
}

/// Why a text is no URL of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("it is not an absolute URL of at most 2048 bytes")]
    NoUrl,
    #[error("only https is called, and http within networks that the configuration allows")]
    Scheme,
    #[error("it must not hold a user or a password")]
    User,
    #[error(
        "the host must be a name without a dot at its end, or an address as it is usually written"
    )]
    Host,
    #[error("it must not have a fragment")]
    Fragment,
}

/// Why an address behind a URL is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("an address of it is not on the public Internet")]
    Private,
    #[error("its port is not allowed")]
    Port,
    #[error("http is not encrypted: use https")]
    Plain,
}

/// What may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Networks that are the operator's own: there any port, http too.
    pub networks: Vec<IpNet>,
    /// Ports of the public Internet besides 443, 8443 and 80.
    pub ports: Vec<u16>,
}

impl Reach {
    /// Everything, for what the operator alone decides on.
    pub fn anywhere() -> Self {
        let all = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
        let networks = all.into_iter().filter_map(|ip| IpNet::new(ip, 0).ok());
        Self {
            networks: networks.collect(),
            ports: Vec::new(),
        }
    }

    /// Whether this address may be connected to for a target.
    pub fn admits(&self, target: &Target, ip: IpAddr) -> Result<(), Refused> {
        if self.networks.iter().any(|network| network.contains(&ip)) {
            return Ok(());
        }
        if !is_public(ip) {
            return Err(Refused::Private);
        }
        if !target.is_encrypted() {
            return Err(Refused::Plain);
        }
        let port = target.port();
        if PORTS.contains(&port) || self.ports.contains(&port) {
            Ok(())
        } else {
            Err(Refused::Port)
        }
    }
}

impl Target {
    /// Reads a URL as browsers do, but for what they would mend: other people's parsers mend it otherwise.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '\\';
        if text.len() > MAX_URL_BYTES || text.contains(odd) {
            return Err(Unfit::NoUrl);
        }
        let (scheme, rest) = text.split_once("://").ok_or(Unfit::NoUrl)?;
        if !["https", "http"]
            .iter()
            .any(|known| scheme.eq_ignore_ascii_case(known))
        {
            return Err(Unfit::Scheme);
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(Unfit::User);
        }
        if rest.contains('#') {
            return Err(Unfit::Fragment);
        }
        if authority.is_empty() {
            return Err(Unfit::Host);
        }
        let url = Url::parse(text).map_err(|_| Unfit::Host)?;
        let usual = match url.host() {
            Some(Host::Domain(name)) => !name.ends_with('.'),
            // Not 0x7f.1, nor 2130706433.
            Some(Host::Ipv4(ip)) => host_of(authority).parse() == Ok::<Ipv4Addr, _>(ip),
            Some(Host::Ipv6(_)) => true,
            None => false,
        };
        if usual && url.port() != Some(0) {
            Ok(Self::of(url))
        } else {
            Err(Unfit::Host)
        }
    }

    fn of(url: Url) -> Self {
        let host = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let path = url.path();
        let path_and_query = match url.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        Self {
            url,
            authority,
            path_and_query,
        }
    }

    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    pub fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }

    /// The address, where the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        match self.url.host()? {
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
            Host::Domain(_) => None,
        }
    }

    /// The host as a URL has it: an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// For the `Host` header: with the port, unless it is the scheme's own.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What is asked for of the host.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }
}

/// The host of `host`, `host:port`.
fn host_of(authority: &str) -> &str {
    authority.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_in_its_parts() {
        for (text, encrypted, host, authority, port, asked) in [
            (
                "https://hooks.example.org/in?k=v",
                true,
                "hooks.example.org",
                "hooks.example.org",
                443,
                "/in?k=v",
            ),
            (
                "HTTPS://Hooks.Example.org:8443",
                true,
                "hooks.example.org",
                "hooks.example.org:8443",
                8443,
                "/",
            ),
            (
                "http://10.0.0.5:9000/a",
                false,
                "10.0.0.5",
                "10.0.0.5:9000",
                9000,
                "/a",
            ),
            (
                "https://[2606:4700::1111]/",
                true,
                "[2606:4700::1111]",
                "[2606:4700::1111]",
                443,
                "/",
            ),
            (
                "https://bücher.example/ä",
                true,
                "xn--bcher-kva.example",
                "xn--bcher-kva.example",
                443,
                "/%C3%A4",
            ),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(
                (
                    target.is_encrypted(),
                    target.host(),
                    target.authority(),
                    target.port(),
                    target.path_and_query()
                ),
                (encrypted, host, authority, port, asked),
                "{text}"
            );
            assert_eq!(Target::parse(target.as_str()), Ok(target.clone()), "{text}");
        }
        assert_eq!(
            Target::parse("https://10.1.2.3").unwrap().address(),
            Some([10, 1, 2, 3].into())
        );
        assert_eq!(Target::parse("https://a.example").unwrap().address(), None);
    }

    #[test]
    fn what_is_no_url_of_an_endpoint() {
        let long = format!("https://a.example/{}", "x".repeat(2_048));
        for (text, why) in [
            ("", Unfit::NoUrl),
            ("hooks.example.org", Unfit::NoUrl),
            ("https:hooks.example.org", Unfit::NoUrl),
            ("https:\\\\a.example", Unfit::NoUrl),
            ("https://a.example/\nx", Unfit::NoUrl),
            (" https://a.example", Unfit::NoUrl),
            (&long, Unfit::NoUrl),
            ("ftp://a.example/", Unfit::Scheme),
            ("file:///etc/passwd", Unfit::Scheme),
            ("gopher://a.example", Unfit::Scheme),
            ("javascript://a", Unfit::Scheme),
            ("https://user:pw@a.example", Unfit::User),
            ("https://@a.example", Unfit::User),
            ("https://a.example@127.0.0.1/", Unfit::User),
            ("https://a.example/#x", Unfit::Fragment),
            ("https:///a.example", Unfit::Host),
            ("https://", Unfit::Host),
            ("https://localhost./", Unfit::Host),
            ("https://2130706433/", Unfit::Host),
            ("https://0x7f000001/", Unfit::Host),
            ("https://0177.0.0.1/", Unfit::Host),
            ("https://127.1/", Unfit::Host),
            ("https://0x08.8.8.8/", Unfit::Host),
            ("https://127.0.0.1./", Unfit::Host),
            ("https://a.example:0/", Unfit::Host),
            ("https://a.example:99999/", Unfit::Host),
            ("https://a b.example/", Unfit::NoUrl),
        ] {
            assert_eq!(Target::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn what_may_be_connected_to() {
        let own = Reach {
            networks: vec!["10.1.0.0/16".parse().unwrap()],
            ports: vec![9443],
        };
        let public = "93.184.216.34";
        for (text, ip, want) in [
            ("https://a.example", public, Ok(())),
            ("https://a.example:8443", public, Ok(())),
            ("https://a.example:80", public, Ok(())),
            ("https://a.example:9443", public, Ok(())),
            ("https://a.example:22", public, Err(Refused::Port)),
            ("http://a.example", public, Err(Refused::Plain)),
            ("https://a.example", "10.2.0.1", Err(Refused::Private)),
            (
                "https://a.example",
                "::ffff:10.1.0.1",
                Err(Refused::Private),
            ),
            ("http://a.example:22", "10.1.2.3", Ok(())),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(
                own.admits(&target, ip.parse().unwrap()),
                want,
                "{text} {ip}"
            );
        }
        let target = Target::parse("https://a.example:9443").unwrap();
        assert_eq!(
            Reach::default().admits(&target, public.parse().unwrap()),
            Err(Refused::Port)
        );
    }
}
