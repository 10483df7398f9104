//! Opening: the server and what it must be, the schema, the lock, the head of the log; then the tasks.

use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::{Clock, Fault, Head};
use tokio_postgres::config::{Host, TargetSessionAttrs};
use tokio_postgres::{Config, Error};
use uuid::Uuid;

use quivive_store::{Migrated, Migration};

use crate::migrate;
use crate::partitions;
use crate::sequencer;
use crate::servers::NotIn;
use crate::session::{Place, Session};
use crate::way::{BadWay, Unprotected, Way, unprotected};
use crate::{failure, sole::Sole};

/// How long one host may take to let us in.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Connections that commit. More would only wait for the same disk; fewer for each other's locks.
pub const LANES: usize = 8;

/// Connections that read. One long read does not hold up the short ones.
pub const READERS: usize = 4;

/// How to open the database.
pub struct PostgresOptions {
    /// By a URL like `postgres://user:password@host/database`, with the parameters that the driver knows. Of several hosts the
    /// one that takes writes is used, now and after a fail-over.
    pub(crate) way: Way,
    /// Connections that commit; at least 1.
    pub lanes: usize,
    /// Connections that read; at least 1.
    pub readers: usize,
    /// Positions of one partition of the log, from the next one on; at least 1.
    pub partition: u64,
    /// Gives each event its `recorded_at`.
    pub clock: Arc<dyn Clock>,
    /// Where the server runs: one at a time. Nil, as it is at first, is a place too.
    pub place: Uuid,
}

/// Whether this can be a database's URL, with these certificates. The error never repeats it: it may hold a password.
pub fn check_url(url: &str, trusted_pem: Option<&[u8]>) -> Result<(), OpenError> {
    read(url, trusted_pem).map(|_| ())
}

fn read(url: &str, trusted_pem: Option<&[u8]>) -> Result<Way, OpenError> {
    let mut config: Config = url.parse().map_err(OpenError::Url)?;
    config.connect_timeout(CONNECT_TIME);
    config.application_name("quivive");
    if config.get_dbname().is_none() {
        return Err(OpenError::NoDatabase);
    }
    if config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
        return Err(OpenError::Target);
    }
    let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
    let of_all = |count: usize| count <= 1 || count == hosts;
    if !of_all(config.get_hosts().len()) || !of_all(config.get_ports().len()) {
        return Err(OpenError::Hosts);
    }
    Ok(Way::new(config, trusted_pem)?)
}

impl PostgresOptions {
    /// `trusted_pem`: certificates that are trusted besides the public ones, where the URL says `sslmode=require`. Errors are
    /// those of [`check_url`].
    pub fn new(
        url: &str,
        trusted_pem: Option<&[u8]>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        Ok(Self {
            way: read(url, trusted_pem)?,
            lanes: LANES,
            readers: READERS,
            partition: partitions::POSITIONS,
            clock,
            place: Uuid::nil(),
        })
    }

    /// Where the server is, for people: no password.
    pub(crate) fn shown(&self) -> String {
        let config = &self.way.config;
        let ports = config.get_ports();
        let hosts = config.get_hosts().iter().enumerate();
        let hosts = hosts.map(|(at, host)| {
            let host = match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            };
            match ports.get(at).or_else(|| ports.first()) {
                None | Some(5432) => host,
                Some(port) => format!("{host}:{port}"),
            }
        });
        let hosts: Vec<_> = hosts.collect();
        let database = config.get_dbname().unwrap_or_default();
        format!("{}/{database}", hosts.join(","))
    }
}

/// Why the database could not be opened. Nothing was changed, except for migrations that were already complete.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database's URL cannot be read")]
    Url(#[source] Error),
    #[error("the database's URL names no database: postgres://user@host/name")]
    NoDatabase,
    #[error(
        "the database's URL asks for a server that takes no writes: write target_session_attrs=read-write, or leave it out"
    )]
    Target,
    #[error(
        "the database's URL names other numbers of hosts and ports: give each host its own, host:port,host:port, or all of them one"
    )]
    Hosts,
    #[error("the PostgreSQL server at {at} accepts connections and does not answer")]
    Silent { at: String },
    #[error(transparent)]
    Way(#[from] BadWay),
    #[error("no TLS with the PostgreSQL server at {at}: {why}")]
    Tls {
        at: String,
        why: String,
        remedy: String,
    },
    #[error("cannot reach the PostgreSQL server at {at}")]
    Unreachable {
        at: String,
        #[source]
        source: Error,
    },
    #[error("PostgreSQL at {at} lets nobody in: {why}")]
    Refused { at: String, why: String },
    #[error("PostgreSQL at {at} is version {found}; this program needs 15 or newer")]
    Old { at: String, found: String },
    #[error(
        "the database {at} is encoded in {found}, and names of people need UTF8: create another with \
         CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding { at: String, found: String },
    #[error(
        "PostgreSQL at {at} is a standby, which takes no writes: name the primary, or all servers of which one is: \
         postgres://user@one,two/database?target_session_attrs=read-write&sslmode=require"
    )]
    Standby { at: String },
    #[error("another quivive server with the same data directory uses the database {at}")]
    InUse { at: String },
    #[error(
        "the database has schema version {found} and this program knows {known}: it was used by a newer version. Start \
         that one, or restore a backup from before the upgrade"
    )]
    Newer { found: u32, known: u32 },
    #[error("migration {version} failed and was undone")]
    Migration {
        version: u32,
        #[source]
        source: Error,
    },
    #[error(
        "the log and its head disagree at position {position}: the database was changed by something other than this program"
    )]
    Head { position: u64 },
    #[error("the database did not answer as it should")]
    Database(#[from] Error),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What the tasks start from.
pub(crate) struct Opened {
    pub(crate) migrated: Migrated,
    pub(crate) head: Head,
}

/// Leaves the session open in its place, with the lock on it.
pub(crate) async fn open(
    options: &PostgresOptions,
    place: &Place,
    sole: &mut Sole,
    migrations: &[Migration],
) -> Result<Opened, OpenError> {
    let session = connect(options, place).await?;
    match sole.begin(&session).await {
        Err(Fault::Busy { .. }) => {
            return Err(OpenError::InUse {
                at: options.shown(),
            });
        }
        held => held?,
    }
    let migrated = migrate::run(&session.client, migrations).await?;
    let head = head(&session).await?;
    Ok(Opened { migrated, head })
}

/// For a database that is only read: nothing is migrated, no lock taken, and where its log ends is for the reader to prove.
pub(crate) async fn found(options: &PostgresOptions, place: &Place) -> Result<Opened, OpenError> {
    let session = connect(options, place).await?;
    Ok(Opened {
        migrated: migrate::untouched(&session.client).await?,
        head: sequencer::read_head(&session).await?,
    })
}

async fn connect(options: &PostgresOptions, place: &Place) -> Result<Arc<Session>, OpenError> {
    let connected = place.connect().await;
    connected.map_err(|why| refused(options.shown(), why))
}

/// What the server says is for people, and holds no password.
fn refused(at: String, why: NotIn) -> OpenError {
    match why {
        NotIn::Unreachable(source) => unreachable(at, source),
        NotIn::Silent => OpenError::Silent { at },
        NotIn::Past | NotIn::Standby => OpenError::Standby { at },
        NotIn::Refused(error) => OpenError::Refused {
            at,
            why: failure::describe(&error),
        },
        NotIn::Encoding(found) => OpenError::Encoding { at, found },
        NotIn::Old(found) => OpenError::Old { at, found },
    }
}

fn unreachable(at: String, source: Error) -> OpenError {
    let (why, remedy) = match unprotected(&source) {
        Some(Unprotected::Handshake(error)) => (
            error.to_string(),
            error.remedy("database.url", "database.ca_file"),
        ),
        Some(Unprotected::NotOffered) => {
            let remedy = "switch it on there (ssl = on), or take sslmode=require out of database.url where the network is yours \
                alone: sslmode=disable";
            ("it has none".to_owned(), remedy.to_owned())
        }
        None => return OpenError::Unreachable { at, source },
    };
    OpenError::Tls { at, why, remedy }
}

/// The head. The last event must be the one it names; a log cut to nothing by retention has none.
async fn head(session: &Session) -> Result<Head, OpenError> {
    let sql = "SELECT log_head.next_pos, log_head.epoch, log_head.chain, last.pos, last.chain FROM log_head \
        LEFT JOIN (SELECT pos, chain FROM event ORDER BY pos DESC LIMIT 1) AS last ON TRUE WHERE log_head.one = 1";
    let row = session.client.query_one(sql, &[]).await?;
    let head = sequencer::head(&row)?;
    let Some(position) = row.try_get::<_, Option<i64>>(3)? else {
        return Ok(head);
    };
    let (position, chain) = (position.cast_unsigned(), row.try_get::<_, Vec<u8>>(4)?);
    if (position, chain.as_slice()) == (head.position, &head.chain[..]) {
        return Ok(head);
    }
    Err(OpenError::Head {
        position: position.min(head.position) + 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        let options = PostgresOptions::new(url, None, Arc::new(Still));
        options.unwrap().shown()
    }

    struct Still;

    impl Clock for Still {
        fn now(&self) -> quivive_delivery::Time {
            quivive_delivery::Time::UNIX_EPOCH
        }
    }

    #[test]
    fn every_server_is_shown_and_no_password() {
        let two =
            "postgres://u:hunter2@one:5433,two/d?target_session_attrs=read-write&sslmode=require";
        assert_eq!(shown(two), "one:5433,two/d");
        let two = "postgres://u@one,two:5433/d?sslmode=disable";
        assert_eq!(shown(two), "one,two:5433/d");
        assert_eq!(
            shown("postgres:///d?host=/run/p&port=5433"),
            "/run/p:5433/d"
        );
    }

    #[test]
    fn a_url_that_names_no_primary_is_refused() {
        let refused = |url: &str| check_url(url, None).unwrap_err().to_string();
        let read_only = refused("postgres://one/d?target_session_attrs=read-only");
        assert!(read_only.contains("read-write"), "{read_only}");
        let ports = refused("postgres://one,two,three/d?port=1,2");
        assert!(ports.contains("port"), "{ports}");
    }
}
