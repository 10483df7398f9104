//! `[mail]`: the mail server, in one line or in parts.

use std::path::PathBuf;
use std::time::Duration;

use quivive_outbound::SmtpConfig;
use quivive_outbound::smtp::SmtpTls;
use secrecy::SecretString;
use serde::Deserialize;

use super::report::Report;
use super::secret::Secret;
use super::server::{self, Mode};
use super::trust;

const FROM: &str = "write from = \"Name <no-reply@example.org>\"";

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
    ca_file: Option<PathBuf>,
    timeout_seconds: u64,
}

/// What `mail.url` or the parts say.
struct Server {
    host: String,
    port: Option<u16>,
    tls: SmtpTls,
    user: Option<String>,
    password: Option<SecretString>,
}

impl Mail {
    /// `None` when there is none, or a problem with it.
    pub(super) fn check(
        &self,
        server: Option<&server::Checked>,
        report: &mut Report<'_>,
    ) -> Option<SmtpConfig> {
        let timeout_seconds = report.within("mail.timeout_seconds", self.timeout_seconds, 1..=300);
        let mode = server.map(|server| server.mode);
        let Server {
            host,
            port,
            tls,
            user,
            password,
        } = self.server(mode, report)?;
        if user.is_some() != password.is_some() {
            let (lacking, given) = if user.is_some() {
                ("password", "user")
            } else {
                ("user", "password")
            };
            report.bad(
                &format!("mail.{lacking}"),
                &format!("is missing beside mail.{given}"),
                "write both, or neither",
            );
            return None;
        }
        let local = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1" | "[::1]");
        if tls == SmtpTls::None && !local {
            let remedy = "write starttls or implicit; none is for a relay on localhost";
            report.bad(
                "mail.tls",
                "= \"none\" sends sign-in links in clear over a network",
                remedy,
            );
            return None;
        }
        let default_port = if tls == SmtpTls::Implicit { 465 } else { 587 };
        let (from_name, from) = self.sender(report)?;
        Some(SmtpConfig {
            host,
            port: port.unwrap_or(default_port),
            tls,
            trusted_pem: trust::certificates("mail.ca_file", self.ca_file.as_deref(), report),
            user,
            password,
            from,
            from_name,
            hello: server.map_or_else(|| "localhost".to_owned(), server::Checked::host),
            timeout: Duration::from_secs(timeout_seconds),
        })
    }

    fn server(&self, mode: Option<Mode>, report: &mut Report<'_>) -> Option<Server> {
        match (&self.url, &self.host) {
            (Some(url), None) => self.of_url(url, report),
            (None, Some(host)) => self.of_parts(host, report),
            (Some(_), Some(_)) => {
                report.bad(
                    "mail.host",
                    "and mail.url are both given",
                    "keep one of them",
                );
                None
            }
            (None, None) => {
                if mode == Some(Mode::Production) {
                    let remedy = "write [mail] url = \"smtps://user:password@smtp.example.org:465\" and from = \"Name \
                                  <no-reply@example.org>\"";
                    report.bad(
                        "mail.url",
                        "is missing: in production, letters must reach people",
                        remedy,
                    );
                }
                None
            }
        }
    }

    fn of_parts(&self, host: &str, report: &mut Report<'_>) -> Option<Server> {
        let tls = match self.tls.as_deref() {
            None | Some("starttls") => SmtpTls::StartTls,
            Some("implicit") => SmtpTls::Implicit,
            Some("none") => SmtpTls::None,
            Some(other) => {
                report.bad(
                    "mail.tls",
                    &format!("= {other:?} is not a way to secure it"),
                    "write starttls, implicit or none",
                );
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
        let parts = [
            self.port.is_some(),
            self.tls.is_some(),
            self.user.is_some(),
            self.password.is_some(),
        ];
        if parts.contains(&true) {
            let remedy = "write port, user and password in the URL, or host in place of it";
            report.bad("mail.url", "is given beside its parts", remedy);
            return None;
        }
        let parsed = parse_url(url.expose());
        if parsed.is_none() {
            // Its text may hold a password.
            let remedy = "write smtps://user:password@host:465 or smtp://user:password@host:587; in user and password, %40 for @, \
                          %3A for : and %2F for /";
            report.bad("mail.url", "is not the address of a mail server", remedy);
        }
        parsed
    }

    /// Name, perhaps empty, and address.
    fn sender(&self, report: &mut Report<'_>) -> Option<(String, String)> {
        let Some(from) = &self.from else {
            report.bad("mail.from", "is missing", FROM);
            return None;
        };
        let (name, address) = match from
            .strip_suffix('>')
            .and_then(|from| from.rsplit_once('<'))
        {
            Some((name, address)) => (name.trim().trim_matches('"'), address),
            None => ("", from.as_str()),
        };
        let parts = address.trim().split_once('@');
        if parts.is_none_or(|(local, domain)| local.is_empty() || domain.is_empty()) {
            report.bad("mail.from", &format!("= {from:?} holds no address"), FROM);
            return None;
        }
        Some((name.to_owned(), address.trim().to_owned()))
    }
}

/// `smtp[s]://[user:password@]host[:port]`; user and password may be percent-encoded.
fn parse_url(url: &str) -> Option<Server> {
    let (tls, rest) = match url.split_once("://")? {
        ("smtps", rest) => (SmtpTls::Implicit, rest),
        ("smtp", rest) => (SmtpTls::StartTls, rest),
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
            (
                Some(decoded(user)?),
                Some(SecretString::from(decoded(password)?)),
            )
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
        assert_eq!(
            (server.host.as_str(), server.port),
            ("smtp.example.org", Some(1465))
        );
        assert_eq!(server.tls, SmtpTls::Implicit);
        assert_eq!(server.user.as_deref(), Some("u@x"));
        assert_eq!(server.password.unwrap().expose_secret(), "p:w");
        assert_eq!(parse_url("smtp://[::1]").unwrap().host, "[::1]");
        for bad in [
            "",
            "http://a",
            "smtp://",
            "smtp://u@h",
            "smtp://a:b",
            "smtp://a:b@h/x?y",
        ] {
            assert!(parse_url(bad).is_none(), "{bad}");
        }
    }
}
