//! Events from Redis Streams: one stream for each shard, read by a consumer group.

use std::fmt;
use std::time::Duration;

use quivive_tls::Tls;
use quivive_tls::redis::RedisServer;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamKey, StreamReadReply};
use redis::{RedisError, Value};

use crate::broker::{Away, Broker, Link, Message};
use crate::cursor::Cursor;
use crate::{BadCertificates, BoxFuture};

/// Entries of one stream that are taken at once.
const AT_ONCE: usize = 100;
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Beyond what a read was to wait for.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The streams of a server, read by one group.
#[derive(Clone)]
pub struct Streams {
    server: RedisServer,
    prefix: String,
    shards: u32,
    group: String,
}

impl fmt::Debug for Streams {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("prefix", &self.prefix)
            .field("shards", &self.shards)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl Streams {
    /// `url` is as `redis://:password@host:6379/0`, in TLS `rediss://`; `group` names the service, and is made when it is not there. Prefix and
    /// shards are the server's defaults, `bus.prefix` and `bus.shards`.
    pub fn new(url: &str, group: &str) -> Result<Self, RedisError> {
        Ok(Self {
            server: RedisServer::new(url)?,
            prefix: "quivive".to_owned(),
            shards: 8,
            group: group.to_owned(),
        })
    }

    /// Trusts certificates in PEM besides the public ones, where the URL says `rediss://`.
    pub fn trusting(self, pem: &[u8]) -> Result<Self, BadCertificates> {
        let server = self.server.trusting(Tls::new(Some(pem))?);
        Ok(Self { server, ..self })
    }

    #[must_use]
    pub fn prefix(self, prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        Self { prefix, ..self }
    }

    #[must_use]
    pub fn shards(self, shards: u32) -> Self {
        Self { shards, ..self }
    }

    fn names(&self) -> Vec<String> {
        let Self { prefix, shards, .. } = self;
        (0..*shards)
            .map(|shard| format!("{prefix}:{shards}:{shard}"))
            .collect()
    }
}

impl Broker for Streams {
    /// Makes the groups that are not there, at the cursor: what is older is in the log.
    fn connect<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Box<dyn Link>, Away>> {
        Box::pin(async move {
            let connecting = self.server.connect(CONNECT_WITHIN, ANSWER_WITHIN);
            let mut connection = connecting
                .await
                .map_err(|error| Away::unconnected(&error))?;
            let streams = self.names();
            let mut groups = redis::pipe();
            groups.ignore_errors();
            for stream in &streams {
                groups
                    .cmd("XGROUP")
                    .arg(&["CREATE", stream, &self.group])
                    .arg(format!("{}-{}", cursor.epoch, cursor.position))
                    .arg("MKSTREAM");
            }
            let made: Vec<Result<Value, RedisError>> = groups
                .query_async(&mut connection)
                .await
                .map_err(Away::of)?;
            for made in made {
                match made {
                    Err(error) if error.code() != Some("BUSYGROUP") => {
                        return Err(Away::of(error));
                    }
                    _ => {}
                }
            }
            Ok(Box::new(Reader {
                connection,
                streams,
                group: self.group.clone(),
                unread: true,
                received: Vec::new(),
            }) as Box<dyn Link>)
        })
    }
}

/// A connection.
struct Reader {
    connection: MultiplexedConnection,
    streams: Vec<String>,
    group: String,
    /// There may be entries that were given to this group and not acknowledged: they come first.
    unread: bool,
    /// What is to be acknowledged, by stream.
    received: Vec<(String, Vec<String>)>,
}

impl Reader {
    async fn read(&mut self, from: &str, wait: Duration) -> Result<StreamReadReply, Away> {
        let mut read = redis::cmd("XREADGROUP");
        // All who read for a group have one name, so that a successor finds what was left.
        read.arg(&["GROUP", &self.group, "reader"])
            .arg("COUNT")
            .arg(AT_ONCE);
        if from == ">" {
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            read.arg("BLOCK").arg(millis.max(1));
        }
        read.arg("STREAMS").arg(&self.streams);
        for _ in &self.streams {
            read.arg(from);
        }
        let reply: Option<StreamReadReply> = read
            .query_async(&mut self.connection)
            .await
            .map_err(Away::of)?;
        Ok(reply.unwrap_or_default())
    }

    fn take(&mut self, reply: StreamReadReply) -> Vec<Message> {
        let mut messages = Vec::new();
        for StreamKey { key, ids } in reply.keys {
            for entry in &ids {
                // One that was trimmed meanwhile has nothing in it; then it is in the log.
                match entry
                    .get::<Vec<u8>>("event")
                    .map(|json| serde_json::from_slice(&json))
                {
                    Some(Ok(json)) => messages.push(Message { json }),
                    Some(Err(error)) => {
                        tracing::warn!(id = entry.id, %error, "an entry of the stream is no event");
                    }
                    None => {}
                }
            }
            if !ids.is_empty() {
                let ids = ids.into_iter().map(|entry| entry.id).collect();
                self.received.push((key, ids));
            }
        }
        messages
    }
}

impl Link for Reader {
    fn receive(&mut self, wait: Duration) -> BoxFuture<'_, Result<Vec<Message>, Away>> {
        Box::pin(async move {
            if self.unread {
                let left = self.read("0", wait).await?;
                let messages = self.take(left);
                if !self.received.is_empty() {
                    return Ok(messages);
                }
            }
            // Until the answer is here: a call that is dropped leaves entries that were given and not seen.
            self.unread = true;
            let new = self.read(">", wait).await?;
            self.unread = false;
            Ok(self.take(new))
        })
    }

    fn acknowledge(&mut self) -> BoxFuture<'_, Result<(), Away>> {
        Box::pin(async move {
            let mut all = redis::pipe();
            for (stream, ids) in &self.received {
                all.cmd("XACK").arg(stream).arg(&self.group).arg(ids);
            }
            let _: Value = all
                .query_async(&mut self.connection)
                .await
                .map_err(Away::of)?;
            self.received.clear();
            Ok(())
        })
    }
}
