//! Redis in TLS, over a connection of ours: the driver's own TLS would bring the machine's certificates along, and has a switch
//! for trusting everybody.

use std::io;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, RedisError};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::{Tls, TlsError, Unconnected};

const ENCRYPTED: &str = "rediss://";

/// A server by its URL: `redis://` in clear, `rediss://` in TLS.
#[derive(Clone)]
pub struct RedisServer {
    client: Client,
    /// `None`: in clear.
    tls: Option<Tls>,
}

impl RedisServer {
    /// Trusts the public certificates where the URL asks for TLS.
    pub fn new(url: &str) -> Result<Self, RedisError> {
        Ok(match url.split_at_checked(ENCRYPTED.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(ENCRYPTED) => Self {
                client: Client::open(format!("redis://{rest}"))?,
                tls: Some(Tls::default()),
            },
            _ => Self {
                client: Client::open(url)?,
                tls: None,
            },
        })
    }

    /// What is trusted where the URL asks for TLS.
    #[must_use]
    pub fn trusting(self, tls: Tls) -> Self {
        Self {
            tls: self.tls.map(|_| tls),
            ..self
        }
    }

    /// Connects `within` a time, for answers that take no longer than `answer`. The connection ends when its last handle is dropped.
    pub async fn connect(
        &self,
        within: Duration,
        answer: Duration,
    ) -> Result<MultiplexedConnection, Unconnected<RedisError>> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(within))
            .set_response_timeout(Some(answer));
        let info = self.client.get_connection_info();
        let Some(tls) = &self.tls else {
            let connected = self
                .client
                .get_multiplexed_async_connection_with_config(&config);
            return connected.await.map_err(Unconnected::Driver);
        };
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(Unconnected::Url);
        };
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let until = Instant::now() + within;
        let stream = timeout_at(until, TcpStream::connect((host.as_str(), *port)));
        let stream = stream.await.map_err(late)??;
        stream.set_nodelay(true)?;
        // A server without TLS waits for the end of a line.
        let stream = timeout_at(until, tls.connect(host, stream)).await;
        let stream = stream.unwrap_or(Err(TlsError::Silent));
        let stream = stream.map_err(Unconnected::Tls)?;
        let settings = info.redis_settings();
        let made = MultiplexedConnection::new_with_config(settings, stream, config);
        let made = timeout_at(until, made).await.map_err(late)?;
        let (connection, driver) = made.map_err(Unconnected::Driver)?;
        #[expect(
            clippy::disallowed_methods,
            reason = "it ends with the connection, as the driver's own task does"
        )]
        drop(tokio::spawn(driver));
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_whether_it_is_tls() {
        let encrypted = |url| RedisServer::new(url).map(|server| server.tls.is_some());
        for (url, wanted) in [
            ("redis://:geheim@h", false),
            ("rediss://:geheim@h", true),
            ("REDISS://h:1/2", true),
            ("rediss://[::1]/#insecure", true),
        ] {
            assert_eq!(encrypted(url).ok(), Some(wanted), "{url}");
        }
        // The driver's own TLS, which is not built in.
        assert!(encrypted("valkeys://h").is_err());
    }
}
