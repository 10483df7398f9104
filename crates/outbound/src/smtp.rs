//! Letters to a mail server (RFC 5321), over TLS except to this machine.
//!
//! **Guarantees.** A letter's Message-ID is the same at every try, so that a second copy shows as one. A letter that the
//! server refused for good is [`MailError::Permanent`]; everything that may pass, a refused sign-in included, is
//! [`MailError::Transient`]. No error text holds the recipient's address.
//!
//! **Not guaranteed.** Exactly one delivery: a server may take a letter and die before it says so.

mod connections;
mod letter;
mod redact;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lettre::Address;
use lettre::message::Mailbox;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use quivive_app::ports::{Letter, MailError, Mailer};
use quivive_delivery::{BoxFuture, Clock};
use quivive_tls::is_this_machine;
use secrecy::{ExposeSecret as _, SecretString};

use connections::{Connections, Failure, Protection, Server};
use redact::redact;

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Not at all: to this machine only.
    None,
    /// Plain at first, then upgraded, or no letter is sent (RFC 3207). Port 587.
    StartTls,
    /// TLS from the start (RFC 8314). Port 465.
    Implicit,
}

/// Where letters go and whom they are from.
#[derive(Debug, Clone)]
pub struct SmtpConfig {
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
    /// Certificates in PEM that are trusted besides the public ones.
    pub trusted_pem: Option<Vec<u8>>,
    /// Both or neither.
    pub user: Option<String>,
    pub password: Option<SecretString>,
    /// The sender's address.
    pub from: String,
    /// The sender's name.
    pub from_name: String,
    /// This server's name in EHLO.
    pub hello: String,
    /// For a letter from its first byte to its last.
    pub timeout: Duration,
}

impl SmtpConfig {
    /// How long a letter may take by default.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SmtpConfigError {
    #[error(
        "letters to {0} would travel unprotected: use TLS (starttls or implicit); without it only this machine can be reached"
    )]
    Unprotected(String),
    #[error("the sender's address, {0:?}, is not an e-mail address")]
    From(String),
    #[error("the sender's name may not have line breaks or other control characters")]
    FromName,
    #[error("{0:?} is not a host name to introduce this server with")]
    Hello(String),
    #[error("user and password belong together: give both or neither")]
    HalfSignIn,
    #[error("TLS cannot be set up: {0}")]
    Tls(#[source] Error),
}

/// Sends letters through one server. Needs a Tokio runtime when used; starts no task.
pub struct SmtpMailer {
    from: Mailbox,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    connections: Connections,
}

impl SmtpMailer {
    /// Checks the configuration; connects only when there is a letter. `clock` dates the letters.
    pub fn new(config: &SmtpConfig, clock: Arc<dyn Clock>) -> Result<Self, SmtpConfigError> {
        let from =
            address(&config.from).ok_or_else(|| SmtpConfigError::From(config.from.clone()))?;
        if config.from_name.contains(char::is_control) {
            return Err(SmtpConfigError::FromName);
        }
        let name = Some(config.from_name.clone()).filter(|name| !name.is_empty());
        let credentials = match (&config.user, &config.password) {
            (Some(user), Some(password)) => Some(Credentials::new(
                user.clone(),
                password.expose_secret().to_owned(),
            )),
            (None, None) => None,
            _ => return Err(SmtpConfigError::HalfSignIn),
        };
        Ok(Self {
            from: Mailbox::new(name, from),
            timeout: config.timeout,
            clock,
            connections: Connections::new(Server {
                host: config.host.clone(),
                port: config.port,
                protection: protection(config)?,
                hello: hello(&config.hello)?,
                credentials,
                timeout: config.timeout,
            }),
        })
    }

    /// Connects and signs in without sending anything, to tell whether the configuration serves.
    pub async fn check(&self) -> Result<(), MailError> {
        let tried = tokio::time::timeout(self.timeout, self.connections.check()).await;
        match tried {
            Ok(Ok(())) => Ok(()),
            Ok(Err(failure)) => Err(mail_error(&failure, None)),
            Err(_) => Err(self.too_slow()),
        }
    }

    async fn deliver(&self, letter: Letter, idempotency_key: String) -> Result<String, MailError> {
        let to = address(&letter.to)
            .ok_or_else(|| MailError::Permanent("the recipient's address is not one".to_owned()))?;
        let id = letter::message_id(&idempotency_key, self.from.email.domain());
        let typed = letter.to.clone();
        let message = letter::compose(letter, &self.from, &to, &id, self.clock.now())?;
        let bytes = message.formatted();
        let sent = self.connections.send(message.envelope(), &bytes);
        match tokio::time::timeout(self.timeout, sent).await {
            Ok(Ok(())) => Ok(id),
            Ok(Err(failure)) => Err(mail_error(&failure, Some((&typed, &to)))),
            Err(_) => Err(self.too_slow()),
        }
    }

    fn too_slow(&self) -> MailError {
        MailError::Transient(format!(
            "the mail server took longer than {:?}",
            self.timeout
        ))
    }
}

impl Mailer for SmtpMailer {
    fn send(
        &self,
        letter: Letter,
        idempotency_key: &str,
    ) -> BoxFuture<'_, Result<String, MailError>> {
        Box::pin(self.deliver(letter, idempotency_key.to_owned()))
    }
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpMailer")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// An address for the envelope, its domain in ASCII (RFC 5891), so that only a local part beyond ASCII needs a server
/// that takes it (SMTPUTF8, RFC 6531).
fn address(text: &str) -> Option<Address> {
    if text.contains(char::is_control) {
        return None;
    }
    let (local, domain) = text.trim().rsplit_once('@')?;
    let domain = if domain.is_ascii() {
        domain.to_owned()
    } else {
        idna::domain_to_ascii(domain).ok()?
    };
    Address::new(local, domain).ok()
}

fn protection(config: &SmtpConfig) -> Result<Protection, SmtpConfigError> {
    if config.tls == SmtpTls::None {
        return if is_this_machine(&config.host) {
            Ok(Protection::None)
        } else {
            Err(SmtpConfigError::Unprotected(config.host.clone()))
        };
    }
    let mut parameters = TlsParameters::builder(config.host.clone());
    if let Some(pem) = &config.trusted_pem {
        let trusted = Certificate::from_pem(pem).map_err(SmtpConfigError::Tls)?;
        parameters = parameters.add_root_certificate(trusted);
    }
    let parameters = parameters.build().map_err(SmtpConfigError::Tls)?;
    Ok(if config.tls == SmtpTls::Implicit {
        Protection::Implicit(parameters)
    } else {
        Protection::StartTls(parameters)
    })
}

fn hello(name: &str) -> Result<ClientId, SmtpConfigError> {
    let is_name = !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
    match name.parse() {
        Ok(IpAddr::V4(ip)) => Ok(ClientId::Ipv4(ip)),
        Ok(IpAddr::V6(ip)) => Ok(ClientId::Ipv6(ip)),
        Err(_) if is_name => Ok(ClientId::Domain(name.to_owned())),
        Err(_) => Err(SmtpConfigError::Hello(name.to_owned())),
    }
}

/// Replies that refuse us and not the letter, also when they come to a letter (RFC 4954, 6).
const SIGN_IN_REPLIES: [u16; 4] = [530, 534, 535, 538];

fn mail_error(failure: &Failure, to: Option<(&str, &Address)>) -> MailError {
    let known: Vec<&str> = to
        .iter()
        .flat_map(|(typed, to)| [*typed, to.as_ref()])
        .collect();
    match failure {
        Failure::Connecting(error) => {
            MailError::Transient(format!("connecting: {}", redact(&chain(error), &known)))
        }
        Failure::Sending(error) => {
            let text = redact(&chain(error), &known);
            let refuses_us = error
                .status()
                .is_some_and(|code| SIGN_IN_REPLIES.contains(&code.into()));
            // What the client itself refuses to send is a letter that this server cannot take.
            if (error.is_permanent() && !refuses_us) || error.is_client() {
                MailError::Permanent(text)
            } else {
                MailError::Transient(text)
            }
        }
    }
}

/// The error with those causes that its own text does not have already.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests;
