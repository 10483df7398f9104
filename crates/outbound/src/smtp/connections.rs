//! Connections to the mail server, a few at most, kept open for a while for the next letter.
//!
//! A connection goes back only after a letter was taken. One whose letter failed, or whose sender was cancelled or ran
//! out of time, is closed: nobody knows what its server waits for, and the next letter's commands could end up in the
//! text of this one. (lettre's own pool takes such a connection back, which is why it is not used.)

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lettre::address::Envelope;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::sync::Semaphore;

/// Letters under way at once. A letter takes a tenth of a second, so this is tens of letters a second, and more would
/// be taken for an attack by some servers.
const MAX_CONNECTIONS: usize = 4;
/// Servers hang up after a few minutes; long before that a connection is worth nothing.
const MAX_IDLE: Duration = Duration::from_mins(1);
/// Letters on one connection. Some servers take a hundred.
const MAX_LETTERS: u32 = 50;

pub(super) enum Protection {
    None,
    StartTls(TlsParameters),
    Implicit(TlsParameters),
}

/// Whom to connect to, and how.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) protection: Protection,
    pub(super) hello: ClientId,
    pub(super) credentials: Option<Credentials>,
    /// For the connection alone.
    pub(super) timeout: Duration,
}

impl Server {
    /// Connects, protects the connection, then signs in, in that order or not at all.
    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let from_the_start = match &self.protection {
            Protection::Implicit(parameters) => Some(parameters.clone()),
            Protection::None | Protection::StartTls(_) => None,
        };
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            (self.host.as_str(), self.port),
            Some(self.timeout),
            &self.hello,
            from_the_start,
            None,
        )
        .await?;
        if let Protection::StartTls(parameters) = &self.protection {
            connection.starttls(parameters.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }
}

/// Where it went wrong.
pub(super) enum Failure {
    /// Before the letter: it says nothing about the letter.
    Connecting(Error),
    Sending(Error),
}

/// An open connection that waits for a letter.
struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
    letters: u32,
}

pub(super) struct Connections {
    server: Server,
    places: Semaphore,
    idle: Mutex<Vec<Idle>>,
}

impl Connections {
    pub(super) fn new(server: Server) -> Self {
        Self {
            server,
            places: Semaphore::new(MAX_CONNECTIONS),
            idle: Mutex::default(),
        }
    }

    pub(super) async fn send(&self, envelope: &Envelope, message: &[u8]) -> Result<(), Failure> {
        let _place = self
            .places
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let (mut connection, letters) = match self.reuse().await {
            Some(idle) => (idle.connection, idle.letters),
            None => (self.server.connect().await.map_err(Failure::Connecting)?, 0),
        };
        connection
            .send(envelope, message)
            .await
            .map_err(Failure::Sending)?;
        if letters + 1 < MAX_LETTERS {
            self.idle().push(Idle {
                connection,
                since: Instant::now(),
                letters: letters + 1,
            });
        } else {
            // The letter was taken; how the goodbye goes does not matter.
            let _ = connection.quit().await;
        }
        Ok(())
    }

    pub(super) async fn check(&self) -> Result<(), Failure> {
        let mut connection = self.server.connect().await.map_err(Failure::Connecting)?;
        connection
            .quit()
            .await
            .map(drop)
            .map_err(Failure::Connecting)
    }

    /// The connection used last that still answers; those that do not are closed.
    async fn reuse(&self) -> Option<Idle> {
        loop {
            let mut idle = {
                let mut waiting = self.idle();
                waiting.retain(|idle| idle.since.elapsed() < MAX_IDLE);
                waiting.pop()?
            };
            if idle.connection.test_connected().await {
                return Some(idle);
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field(
                "server",
                &format_args!("{}:{}", self.server.host, self.server.port),
            )
            .field("idle", &self.idle().len())
            .finish_non_exhaustive()
    }
}
