//! The way to the server: by which hosts, and in TLS or in clear.
//!
//! **The rule.** With `sslmode=require` there is TLS, with a certificate that is verified, or no connection. `sslmode=disable` is in
//! clear. Without either it is in clear on this machine, and over a network it is refused: what libpq does there, TLS if the
//! server offers it, gives in to whoever lies between.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use quivive_tls::{BadCertificates, Tls, TlsError, TlsStream, is_this_machine, server_end_point};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Connection, Error, Socket};

/// Why nobody can connect by this URL.
#[derive(Debug, thiserror::Error)]
pub enum BadWay {
    #[error(
        "the database's URL does not say whether {0} is reached in TLS: add sslmode=require, or sslmode=disable where the network is yours alone. \
         What libpq does without, TLS only if the server offers it, protects from nobody"
    )]
    Undecided(String),
    #[error(
        "the database's URL asks for TLS by a Unix socket, where there is none: take sslmode=require out"
    )]
    Socket,
    #[error(
        "the database's URL asks for TLS and names no host beside hostaddr: the certificate is for a name"
    )]
    Unnamed,
    #[error(
        "certificates are given to trust, and the database's URL does not say sslmode=require: add it"
    )]
    TrustUnused,
    #[error("the certificates to trust will not do: {0}")]
    Trust(#[source] BadCertificates),
}

/// What the URL says: of one server, or of several.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) config: Config,
    /// `None`: in clear.
    tls: Option<Tls>,
}

impl Way {
    pub(crate) fn new(mut config: Config, trusted_pem: Option<&[u8]>) -> Result<Self, BadWay> {
        let tls = match config.get_ssl_mode() {
            SslMode::Require => Some(encrypted(&config, trusted_pem)?),
            _ if trusted_pem.is_some() => return Err(BadWay::TrustUnused),
            SslMode::Disable => None,
            _ => {
                if let Some(host) = beyond_this_machine(&config) {
                    return Err(BadWay::Undecided(host));
                }
                config.ssl_mode(SslMode::Disable);
                None
            }
        };
        Ok(Self { config, tls })
    }

    /// To other servers in the same way.
    pub(crate) fn to(&self, config: Config) -> Self {
        let tls = self.tls.clone();
        Self { config, tls }
    }

    pub(crate) async fn connect(&self) -> Result<(Client, Connection<Socket, Stream>), Error> {
        self.config.connect(Maker(self.tls.clone())).await
    }
}

fn encrypted(config: &Config, trusted_pem: Option<&[u8]>) -> Result<Tls, BadWay> {
    if config.get_hosts().is_empty() {
        return Err(BadWay::Unnamed);
    }
    if config
        .get_hosts()
        .iter()
        .any(|host| matches!(host, Host::Unix(_)))
    {
        return Err(BadWay::Socket);
    }
    let tls = Tls::new(trusted_pem).map_err(BadWay::Trust)?;
    Ok(match config.get_ssl_negotiation() {
        SslNegotiation::Direct => tls.for_protocol(b"postgresql"),
        _ => tls,
    })
}

/// A host that is not on this machine. Addresses count more than the names beside them.
fn beyond_this_machine(config: &Config) -> Option<String> {
    let addresses = config.get_hostaddrs();
    if let Some(there) = addresses.iter().find(|address| !address.is_loopback()) {
        return Some(there.to_string());
    }
    let mut hosts = config.get_hosts().iter().filter(|_| addresses.is_empty());
    hosts.find_map(|host| match host {
        Host::Tcp(name) => (!is_this_machine(name)).then(|| name.clone()),
        Host::Unix(_) => None,
    })
}

/// Why there was no TLS; `None`: it failed elsewhere.
pub(crate) enum Unprotected<'a> {
    Handshake(&'a TlsError),
    /// The server has said that it has none.
    NotOffered,
}

pub(crate) fn unprotected(error: &Error) -> Option<Unprotected<'_>> {
    let source = error.source()?;
    if let Some(error) = source.downcast_ref() {
        return Some(Unprotected::Handshake(error));
    }
    // The driver's own words; a test holds them.
    (source.to_string() == "server does not support TLS").then_some(Unprotected::NotOffered)
}

struct Maker(Option<Tls>);

impl MakeTlsConnect<Socket> for Maker {
    type Stream = Stream;
    type TlsConnect = Handshake;
    type Error = std::convert::Infallible;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, Self::Error> {
        Ok(Handshake {
            tls: self.0.clone(),
            host: host.to_owned(),
        })
    }
}

struct Handshake {
    tls: Option<Tls>,
    host: String,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Stream;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let tls = self.tls.ok_or("this connection is in clear")?;
            Ok(Stream(tls.connect(&self.host, socket).await?))
        })
    }
}

/// A connection in TLS.
pub(crate) struct Stream(TlsStream<Socket>);

impl tokio_postgres::tls::TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.0.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        match certificate.and_then(|certificate| server_end_point(certificate)) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> Option<String> {
        let way = Way::new(url.parse().expect("a URL"), None);
        way.err().map(|error| error.to_string())
    }

    #[test]
    fn over_a_network_it_is_said_whether_in_tls_or_in_clear() {
        for good in [
            "postgres:///d?host=/run/postgresql",
            "postgres://u@localhost/d",
            "postgres://u@127.0.0.1,[::1]/d?sslmode=prefer",
            "postgres://u@db.example.org/d?hostaddr=127.0.0.1",
            "postgres://u@db.example.org/d?sslmode=disable",
            "postgres://u@db.example.org/d?sslmode=require",
            "postgres://u@db.example.org/d?sslmode=require&hostaddr=10.0.0.1&sslnegotiation=direct",
        ] {
            assert_eq!(refused(good), None, "{good}");
        }
        for (bad, why) in [
            ("postgres://u@db.example.org/d", "db.example.org"),
            ("postgres://u@10.0.0.1/d?sslmode=prefer", "sslmode=require"),
            ("postgres://u@localhost,db/d", "whether db is"),
            ("postgres://u@localhost/d?hostaddr=10.0.0.1", "10.0.0.1"),
            ("postgres:///d?host=/run/postgresql&sslmode=require", "Unix"),
            ("postgres:///d?hostaddr=10.0.0.1&sslmode=require", "name"),
        ] {
            let said = refused(bad).expect(bad);
            assert!(said.contains(why), "{said}");
        }
    }
}
