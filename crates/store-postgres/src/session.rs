//! One connection, with the statements that were prepared on it, and the place where it is put right when it breaks.
//!
//! **Cast.** A [`Session`] is a connection; a [`Place`] gives the one there is, or makes another where it broke. Who comes
//! while the server is away is told so at once and does not wait in a row: one caller tries, every [`PAUSE`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use quivive_delivery::Fault;
use quivive_delivery::tasks::Tasks;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, Socket, Statement};
use tokio_util::sync::CancellationToken;

use crate::failure;
use crate::servers::{NotIn, Servers};
use crate::way::Stream;

/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a server that takes nothing more may go on talking.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is said to the server first. A commit that was acknowledged survives a crash of the server, whatever its
/// configuration says; a stricter setting, such as one that waits for a standby, stays. What is sent of a commit is sent at
/// once: one that stops half-way, for its server was paused, keeps its locks from others for no longer than this.
const SETTINGS: &str = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local'); \
    SET default_transaction_isolation = 'read committed'; \
    SET idle_in_transaction_session_timeout = '5s'; SET client_min_messages = 'warning'";

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose {
    /// What one statement may take.
    pub(crate) statement_time: Duration,
    /// A lock that it takes and shares with others, and that goes with it.
    pub(crate) shared_lock: Option<i64>,
    /// What else is said to the server first.
    pub(crate) settings: &'static str,
}

/// Which form of a statement was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// As it was written.
    Plain,
    /// So that it fails when it touches another number of rows than its last parameter says.
    Guarded,
}

pub(crate) struct Session {
    pub(crate) client: Client,
    /// Of the server's log: another has taken over from a server with a lower one.
    pub(crate) timeline: u32,
    ended: CancellationToken,
    /// By the address of the text, which is `&'static str`.
    statements: Mutex<HashMap<(usize, usize, Form), Statement>>,
}

impl Session {
    /// Connects. The connection ends when the session is dropped.
    pub(crate) async fn open(
        servers: &Servers,
        purpose: Purpose,
        tasks: &Tasks,
    ) -> Result<Self, NotIn> {
        let connected = servers.connect().await?;
        let (client, connection) = (connected.client, connected.connection);
        let ended = CancellationToken::new();
        let ending = ended.clone();
        tasks.spawn(async move {
            // Whoever waits for an answer is told by its own error.
            if let Some(Err(error)) = ending.run_until_cancelled(to_its_end(connection)).await {
                tracing::debug!(error = failure::describe(&error), "a connection ended");
            }
        });
        client.batch_execute(SETTINGS).await?;
        let limit = purpose.statement_time.as_millis();
        client
            .batch_execute(&format!(
                "SET statement_timeout = {limit}; {}",
                purpose.settings
            ))
            .await?;
        if let Some(number) = purpose.shared_lock {
            let lock = format!("SELECT pg_advisory_lock_shared({number})");
            client.batch_execute(&lock).await?;
        }
        Ok(Self {
            client,
            timeline: connected.timeline,
            ended,
            statements: Mutex::default(),
        })
    }

    /// Breaks the connection, for its server is no use any more: whoever waits for an answer is told.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// The statement, prepared now where it was not. `arity` is how many parameters it takes without a guard's.
    pub(crate) async fn prepared(
        &self,
        sql: &'static str,
        form: Form,
        arity: usize,
    ) -> Result<Statement, Error> {
        let key = (sql.as_ptr().addr(), sql.len(), form);
        if let Some(known) = self.known().get(&key) {
            return Ok(known.clone());
        }
        let statement = match form {
            Form::Plain => self.client.prepare(sql).await?,
            Form::Guarded => self.client.prepare(&guarded(sql, arity + 1)).await?,
        };
        self.known().insert(key, statement.clone());
        Ok(statement)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, usize, Form), Statement>> {
        let statements = self.statements.lock();
        statements.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drives a connection. One that can no longer be written to is read to its end: its server may have said something before it
/// went, such as the number of a commit ([`crate::commit`]), and the driver would leave that where it lies.
async fn to_its_end(mut connection: Connection<Socket, Stream>) -> Result<(), Error> {
    let ended = driven(&mut connection, false).await;
    if let Err(error) = &ended
        && failure::is_io(error)
    {
        let _ = tokio::time::timeout(LAST_WORDS, driven(&mut connection, true)).await;
    }
    ended
}

/// Until it ends. `is_deaf`: that nothing can be written is no end.
async fn driven(connection: &mut Connection<Socket, Stream>, is_deaf: bool) -> Result<(), Error> {
    std::future::poll_fn(|cx| {
        loop {
            return match connection.poll_message(cx) {
                Poll::Ready(Some(Ok(message))) => {
                    if let AsyncMessage::Notice(said) = message {
                        let (severity, message) = (said.severity(), said.message());
                        tracing::info!(severity, "PostgreSQL: {message}");
                    }
                    continue;
                }
                // It has read what there was, and is woken when there is more; not if a notice was the last of it, which is lost.
                Poll::Ready(Some(Err(error))) if is_deaf && failure::is_io(&error) => Poll::Pending,
                Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
                Poll::Ready(None) => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            };
        }
    })
    .await
}

/// The statements of a commit are all sent before the first is answered, its COMMIT among them. So a write that touches too
/// few or too many rows must fail as a statement: here by a division by zero.
fn guarded(sql: &str, expected: usize) -> String {
    format!(
        "WITH touched AS ({sql} RETURNING 1) \
         SELECT 1 / CAST(count(*) = CAST(${expected} AS BIGINT) AS INTEGER) FROM touched"
    )
}

/// Where a connection belongs.
pub(crate) struct Place {
    servers: Arc<Servers>,
    purpose: Purpose,
    tasks: Tasks,
    current: tokio::sync::Mutex<Current>,
    /// How many are at work on it.
    load: AtomicUsize,
}

#[derive(Default)]
struct Current {
    session: Option<Arc<Session>>,
    /// When and why connecting failed last.
    failed: Option<(Instant, Fault)>,
}

impl Place {
    pub(crate) fn new(servers: Arc<Servers>, purpose: Purpose, tasks: Tasks) -> Self {
        Self {
            servers,
            purpose,
            tasks,
            current: tokio::sync::Mutex::default(),
            load: AtomicUsize::new(0),
        }
    }

    /// Connects, and leaves the connection for [`Self::session`].
    pub(crate) async fn connect(&self) -> Result<Arc<Session>, NotIn> {
        let mut current = self.current.lock().await;
        let session = Session::open(&self.servers, self.purpose, &self.tasks).await?;
        let session = Arc::new(session);
        current.session = Some(Arc::clone(&session));
        Ok(session)
    }

    /// The connection there is, or another in its place: where it broke, or another server has taken over from its own.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, Fault> {
        let mut current = self.current.lock().await;
        if let Some(session) = &current.session {
            if !session.client.is_closed() && !self.servers.are_past(session.timeline) {
                return Ok(Arc::clone(session));
            }
            session.end();
            current.session = None;
        }
        if let Some((when, why)) = &current.failed
            && when.elapsed() < PAUSE
        {
            return Err(why.clone());
        }
        match Session::open(&self.servers, self.purpose, &self.tasks).await {
            Ok(session) => {
                let session = Arc::new(session);
                *current = Current {
                    session: Some(Arc::clone(&session)),
                    failed: None,
                };
                Ok(session)
            }
            Err(error) => {
                let why = failure::unreachable(error);
                current.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Counts one that works here until it is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> AtWork {
        self.load.fetch_add(1, Ordering::Relaxed);
        AtWork(Arc::clone(self))
    }

    pub(crate) async fn close(&self) {
        self.current.lock().await.session = None;
    }
}

pub(crate) struct AtWork(Arc<Place>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place with the least to do.
pub(crate) fn idlest(places: &[Arc<Place>]) -> Option<(usize, &Arc<Place>)> {
    places
        .iter()
        .enumerate()
        .min_by_key(|(_, place)| place.load())
}
