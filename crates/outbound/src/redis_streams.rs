//! Events out to Redis Streams: one stream for each shard.
//!
//! **Names.** `<prefix>:<shards>:<shard>` are the streams, `<prefix>:head` is the last place that was published. An entry has
//! the id `<epoch>-<position>` and one field, `event`, with the message.
//!
//! **Guarantees.** A batch goes out in pipelines on one connection, one behind the other, and is confirmed when Redis has
//! answered all of them. As ids follow from positions, a message that is there is not added again. Entries go when every
//! consumer group has acknowledged them; of a stream that has no group, the last thousand stay.
//!
//! **Redis that forgets.** Each batch reads the head before it writes: one that is gone or older than what was confirmed is told.
//! Consumers notice by themselves, since what follows is chained to what they do not have.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::maybe_done;
use quivive_delivery::relay::{Broker, Known, Place, Publication};
use quivive_delivery::{BoxFuture, Fault};
use quivive_tls::redis::RedisServer;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamInfoGroupsReply, StreamPendingReply};
use redis::{Pipeline, RedisError, Value, from_redis_value};
use secrecy::ExposeSecret as _;
use tokio::sync::Mutex;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::bus::{BusConfig, unconnected};

/// Entries that stay in a stream that nobody reads.
const UNREAD_BY_NOBODY: u64 = 1_000;
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// What was read is looked for so often while events come.
const TRIM_EVERY: Duration = Duration::from_secs(1);

/// Messages in one pipeline: while Redis adds them, the next are put together.
const PIECE: usize = 100;

/// What Redis answered to each command of a pipeline.
type Answers = Vec<Result<Value, RedisError>>;

/// A connection, and what was done on it.
struct Session {
    connection: MultiplexedConnection,
    /// `None`: not on this connection.
    trimmed: Option<Instant>,
}

/// The adapter.
pub struct RedisStreams {
    server: RedisServer,
    config: BusConfig,
    /// Of each shard.
    streams: Vec<String>,
    /// `None`: to be made by the next batch.
    session: Mutex<Option<Session>>,
}

impl RedisStreams {
    /// Connects when there is something to publish.
    pub fn new(config: BusConfig) -> Result<Self, Fault> {
        let BusConfig { prefix, shards, .. } = &config;
        let stream = |shard| format!("{prefix}:{shards}:{shard}");
        Ok(Self {
            server: RedisServer::new(config.url.expose_secret())
                .map_err(unusable)?
                .trusting(config.tls.clone()),
            streams: (0..*shards).map(stream).collect(),
            config,
            session: Mutex::default(),
        })
    }

    fn head(&self) -> String {
        format!("{}:head", self.config.prefix)
    }

    async fn connect(&self) -> Result<Session, Fault> {
        describe();
        let connection = self
            .server
            .connect(CONNECT_WITHIN, ANSWER_WITHIN)
            .await
            .map_err(|error| Fault::Unreachable(format!("Redis: {}", unconnected(&error))))?;
        Ok(Session {
            connection,
            trimmed: None,
        })
    }

    async fn send(
        &self,
        session: &mut Session,
        known: Known,
        messages: &[Publication],
    ) -> Result<(), Fault> {
        if session.trimmed.is_none_or(|at| at.elapsed() >= TRIM_EVERY) {
            self.trim(&mut session.connection).await?;
            session.trimmed = Some(Instant::now());
        }
        let Some(last) = messages.last() else {
            return Ok(());
        };
        let connection = &session.connection;
        let (mut get, mut set) = (new_pipeline(), new_pipeline());
        get.cmd("GET").arg(self.head());
        set.cmd("SET").arg(self.head()).arg(id(last.place));
        let mut pipelines = vec![sent(get, connection).await];
        for piece in messages.chunks(PIECE) {
            pipelines.push(sent(self.entries(piece), connection).await);
        }
        pipelines.push(sent(set, connection).await);
        let mut answers = Vec::with_capacity(messages.len() + 2);
        for pipeline in pipelines {
            answers.extend(pipeline.await?);
        }
        for answer in &answers {
            match answer {
                Ok(_) => {}
                // It was published before.
                Err(error) if is_there(error) => {}
                Err(error) => return Err(refused(error)),
            }
        }
        let remembered = match answers.into_iter().next() {
            Some(Ok(Value::BulkString(text))) => place(&text),
            _ => None,
        };
        self.compare(session, remembered, known).await
    }

    fn entries(&self, messages: &[Publication]) -> Pipeline {
        let mut pipeline = new_pipeline();
        for message in messages {
            pipeline
                .cmd("XADD")
                .arg(&self.streams[message.shard as usize])
                .arg(id(message.place))
                .arg("event")
                .arg(&message.json);
        }
        pipeline
    }

    /// Compares what Redis remembered before this batch with what is known.
    async fn compare(
        &self,
        session: &mut Session,
        remembered: Option<Place>,
        known: Known,
    ) -> Result<(), Fault> {
        if let Some(place) = remembered.filter(|place| *place > known.head) {
            tracing::error!(
                remembered = id(place),
                head = id(known.head),
                prefix = self.config.prefix,
                "the streams in Redis are of another log, and go: give each server a prefix of its own"
            );
            let mut forget = redis::cmd("DEL");
            forget.arg(self.head());
            forget.arg(&self.streams);
            let gone: Result<Value, _> = forget.query_async(&mut session.connection).await;
            gone.map_err(away)?;
            return Err(Fault::Internal(
                "Redis had the streams of another log".to_owned(),
            ));
        }
        // After a restore it remembers another epoch, which is no loss.
        let forgot = |place: Place| {
            place.epoch == known.confirmed.epoch && place.position < known.confirmed.position
        };
        if known.confirmed.position > 0 && remembered.is_none_or(forgot) {
            metrics::counter!("quivive_bus_losses_total").increment(1);
            tracing::warn!(
                remembered = remembered.map(id),
                confirmed = id(known.confirmed),
                "Redis has forgotten what it confirmed; consumers read it from the log"
            );
        }
        Ok(())
    }

    /// Removes what every group has acknowledged. A stream that is still too long holds everything back, or loses what
    /// is oldest.
    async fn trim(&self, connection: &mut MultiplexedConnection) -> Result<(), Fault> {
        let mut pipeline = new_pipeline();
        for stream in &self.streams {
            pipeline.cmd("XINFO").arg("GROUPS").arg(stream);
        }
        let answers = ask(&pipeline, connection).await?;
        let mut lengths = new_pipeline();
        for (stream, answer) in self.streams.iter().zip(answers) {
            // There is no such stream yet.
            let Ok(groups) = answer else {
                lengths.cmd("XLEN").arg(stream);
                continue;
            };
            let groups: StreamInfoGroupsReply = from_redis_value(groups).map_err(unusable)?;
            match self.acknowledged(connection, stream, groups).await? {
                Some(floor) => lengths
                    .cmd("XTRIM")
                    .arg(stream)
                    .arg(&["MINID", "~", &floor])
                    .ignore(),
                None => lengths
                    .cmd("XTRIM")
                    .arg(stream)
                    .arg(&["MAXLEN", "~"])
                    .arg(UNREAD_BY_NOBODY)
                    .ignore(),
            };
            lengths.cmd("XLEN").arg(stream);
        }
        let mut longest = 0;
        for answer in ask(&lengths, connection).await? {
            let length: u64 = answer
                .and_then(|length| from_redis_value(length).map_err(Into::into))
                .map_err(|error| refused(&error))?;
            longest = longest.max(length);
        }
        metrics::gauge!("quivive_bus_unread").set(as_float(longest));
        if longest > self.config.max_unread {
            return self.overflow(connection, longest).await;
        }
        Ok(())
    }

    /// The first entry that some group still needs. `None`: there are no groups.
    async fn acknowledged(
        &self,
        connection: &mut MultiplexedConnection,
        stream: &str,
        groups: StreamInfoGroupsReply,
    ) -> Result<Option<String>, Fault> {
        let mut floor: Option<Place> = None;
        for group in groups.groups {
            let mut needed = place(group.last_delivered_id.as_bytes());
            if group.pending > 0 {
                let pending: StreamPendingReply = redis::cmd("XPENDING")
                    .arg(stream)
                    .arg(&group.name)
                    .query_async(connection)
                    .await
                    .map_err(away)?;
                if let StreamPendingReply::Data(pending) = pending {
                    needed = needed.min(place(pending.start_id.as_bytes()));
                }
            }
            let needed = needed.unwrap_or(Place {
                epoch: 0,
                position: 0,
            });
            floor = Some(floor.map_or(needed, |floor| floor.min(needed)));
        }
        Ok(floor.map(id))
    }

    async fn overflow(
        &self,
        connection: &mut MultiplexedConnection,
        unread: u64,
    ) -> Result<(), Fault> {
        let most = self.config.max_unread;
        if !self.config.drops_unread {
            tracing::error!(
                unread,
                most,
                "nothing more goes to Redis before some is read: start the consumers, or remove the groups of those that are \
                 gone (XGROUP DESTROY)"
            );
            return Err(Fault::Internal(format!(
                "a stream has {unread} messages that were not read, of {most} at most"
            )));
        }
        tracing::error!(
            unread,
            most,
            "the oldest messages that were not read go from Redis; consumers that come to them read the log"
        );
        metrics::counter!("quivive_bus_losses_total").increment(1);
        let mut pipeline = new_pipeline();
        for stream in &self.streams {
            pipeline
                .cmd("XTRIM")
                .arg(stream)
                .arg(&["MAXLEN", "~"])
                .arg(most / 2);
        }
        ask(&pipeline, connection).await?;
        Ok(())
    }
}

impl Broker for RedisStreams {
    fn publish<'a>(
        &'a self,
        known: Known,
        messages: &'a [Publication],
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let mut kept = self.session.lock().await;
            // Taken: a call that is dropped in the middle leaves no connection with half an answer.
            let mut session = match kept.take() {
                Some(session) => session,
                None => self.connect().await?,
            };
            self.send(&mut session, known, messages).await?;
            *kept = Some(session);
            Ok(())
        })
    }
}

fn new_pipeline() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    pipeline
}

async fn ask(
    pipeline: &Pipeline,
    connection: &mut MultiplexedConnection,
) -> Result<Answers, Fault> {
    pipeline.query_async(connection).await.map_err(away)
}

/// Puts a pipeline on its way, behind those that were before, and gives what waits for its answers.
async fn sent(
    pipeline: Pipeline,
    connection: &MultiplexedConnection,
) -> impl Future<Output = Result<Answers, Fault>> + Send + use<> {
    let mut connection = connection.clone();
    let mut asked = Box::pin(maybe_done(
        async move { ask(&pipeline, &mut connection).await },
    ));
    // The connection has it when it was polled once, and writes it when it has its turn.
    poll_fn(|cx| {
        let _ = asked.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
    yield_now().await;
    async move {
        asked.as_mut().await;
        let answers = asked.as_mut().take_output();
        answers.unwrap_or_else(|| Err(Fault::Internal("Redis: asked twice".to_owned())))
    }
}

fn id(place: Place) -> String {
    format!("{}-{}", place.epoch, place.position)
}

fn place(id: &[u8]) -> Option<Place> {
    let (epoch, position) = std::str::from_utf8(id).ok()?.split_once('-')?;
    Some(Place {
        epoch: epoch.parse().ok()?,
        position: position.parse().ok()?,
    })
}

/// Whether an entry was refused because the stream has it, or has had it.
fn is_there(error: &RedisError) -> bool {
    error
        .detail()
        .is_some_and(|text| text.contains("equal or smaller than the target stream top item"))
}

/// Errors name hosts, never passwords.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn away(error: RedisError) -> Fault {
    Fault::Unreachable(format!("Redis: {error}"))
}

fn refused(error: &RedisError) -> Fault {
    Fault::Internal(format!("Redis refused: {error}"))
}

fn unusable(error: impl std::fmt::Display) -> Fault {
    Fault::Internal(format!("Redis: {error}"))
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn as_float(count: u64) -> f64 {
    count as f64
}

fn describe() {
    metrics::describe_gauge!(
        "quivive_bus_unread",
        "Messages in the longest stream of the broker that were not read by all"
    );
    metrics::describe_counter!(
        "quivive_bus_losses_total",
        "Times the broker had lost messages that it had confirmed, or that were not read"
    );
    metrics::counter!("quivive_bus_losses_total").increment(0);
}
