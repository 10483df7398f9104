//! `[mail]`: the mail server, in one line or in parts.

use secrecy::SecretString;
use serde::Deserialize;

use super::report::Report;
use super::secret::Secret;
use super::server::Mode;

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Mail {
    url: Option<Secret>,
    host: Option<String>,
    port: Option<u16>,
    tls: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
    from: Option<String>,
}

/// How the connection to the mail server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Begins in clear and must become TLS before anything is said.
    StartTls,
    Implicit,
    /// Only for a relay on this machine.
    None,
}

/// A mail server, checked.
#[derive(Debug, Clone)]
pub struct Smtp {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub credentials: Option<(String, SecretString)>,
    pub from: String,
}

/// What `mail.url` or the parts say.
struct Server {
    host: String,
    port: Option<u16>,
    tls: Tls,
    user: Option<String>,
    password: Option<SecretString>,
}

impl Mail {
    /// `None` when there is none, or a problem with it.
    pub(super) fn check(&self, mode: Option<Mode>, report: &mut Report<'_>) -> Option<Smtp> {
        let server = match (&self.url, &self.host) {
            (Some(url), None) => self.of_url(url, report)?,
            (None, Some(host)) => self.of_parts(host, report)?,
            (Some(_), Some(_)) => {
                report.bad("mail.host", "and mail.url are both given", "keep one of them");
                return None;
            }
            (None, None) => {
                if mode == Some(Mode::Production) {
                    let remedy = "write [mail] url = \"smtps://user:password@smtp.example.org:465\" and from = \"Name <no-reply@example.org>\"";
                    report.bad("mail.url", "is missing: in production, letters must reach people", remedy);
                }
                return None;
            }
        };
        let credentials = match (server.user, server.password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => {
                report.bad("mail.password", "is missing, and a user is given", "write it, or name its file with password_file");
                return None;
            }
            (None, Some(_)) => {
                report.bad("mail.user", "is missing, and a password is given", "write it");
                return None;
            }
        };
        self.may_be_open(&server.host, server.tls, report)?;
        let default_port = if server.tls == Tls::Implicit { 465 } else { 587 };
        Some(Smtp {
            host: server.host,
            port: server.port.unwrap_or(default_port),
            tls: server.tls,
            credentials,
            from: self.sender(report)?,
        })
    }

    fn of_parts(&self, host: &str, report: &mut Report<'_>) -> Option<Server> {
        let tls = match self.tls.as_deref() {
            None | Some("starttls") => Tls::StartTls,
            Some("implicit") => Tls::Implicit,
            Some("none") => Tls::None,
            Some(other) => {
                report.bad("mail.tls", &format!("= {other:?} is not a way to secure it"), "write starttls, implicit or none");
                return None;
            }
        };
        Some(Server {
            host: host.to_owned(),
            port: self.port,
            tls,
            user: self.user.clone(),
            password: self.password.clone().map(|secret| secret.0),
        })
    }

    fn of_url(&self, url: &Secret, report: &mut Report<'_>) -> Option<Server> {
        let alone = self.port.is_none() && self.tls.is_none() && self.user.is_none() && self.password.is_none();
        if !alone {
            report.bad("mail.url", "is given beside its parts", "write port, tls, user and password in the URL, or host in place of it");
            return None;
        }
        let parsed = parse_url(url.expose());
        if parsed.is_none() {
            // Its text may hold a password.
            report.bad("mail.url", "is not the address of a mail server", "write smtps://user:password@host:465 or smtp://user:password@host:587; in user and password, %40 for @, %3A for : and %2F for /");
        }
        parsed
    }

    fn may_be_open(&self, host: &str, tls: Tls, report: &mut Report<'_>) -> Option<()> {
        let local = matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]");
        if tls == Tls::None && !local {
            report.bad("mail.tls", "= \"none\" sends sign-in links in clear over a network", "write starttls or implicit; none is for a relay on localhost");
            return None;
        }
        Some(())
    }

    fn sender(&self, report: &mut Report<'_>) -> Option<String> {
        let remedy = "write from = \"Name <no-reply@example.org>\"";
        let Some(from) = &self.from else {
            report.bad("mail.from", "is missing", remedy);
            return None;
        };
        let address = from.rsplit_once('<').map_or(from.as_str(), |(_, rest)| rest.trim_end_matches('>'));
        if !address.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty()) {
            report.bad("mail.from", &format!("= {from:?} holds no address"), remedy);
            return None;
        }
        Some(from.clone())
    }
}

/// `smtp[s]://[user:password@]host[:port]`; user and password may be percent-encoded.
fn parse_url(url: &str) -> Option<Server> {
    let (tls, rest) = match url.split_once("://")? {
        ("smtps", rest) => (Tls::Implicit, rest),
        ("smtp", rest) => (Tls::StartTls, rest),
        _ => return None,
    };
    let rest = rest.trim_end_matches('/');
    let (user, address) = match rest.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, rest),
    };
    let (user, password) = match user {
        None => (None, None),
        Some(text) => {
            let (user, password) = text.split_once(':')?;
            (Some(decoded(user)?), Some(SecretString::from(decoded(password)?)))
        }
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (address, None),
    };
    let plain = !host.is_empty() && !host.contains(['/', '?', '#', '@']);
    plain.then(|| Server {
        host: host.to_owned(),
        port,
        tls,
        user,
        password,
    })
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let code = digit(rest.next())? * 16 + digit(rest.next())?;
        bytes.push(u8::try_from(code).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_mail_url_gives_its_parts() {
        let server = parse_url("smtps://u%40x:p%3aw@smtp.example.org:1465/").unwrap();
        assert_eq!((server.host.as_str(), server.port), ("smtp.example.org", Some(1465)));
        assert_eq!(server.tls, Tls::Implicit);
        assert_eq!(server.user.as_deref(), Some("u@x"));
        assert_eq!(server.password.unwrap().expose_secret(), "p:w");
        assert_eq!(parse_url("smtp://[::1]").unwrap().host, "[::1]");
        for bad in ["", "http://a", "smtp://", "smtp://u@h", "smtp://a:b", "smtp://a:b@h/x?y"] {
            assert!(parse_url(bad).is_none(), "{bad}");
        }
    }
}
