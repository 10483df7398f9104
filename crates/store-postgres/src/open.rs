//! Opening: the server and what it must be, the schema, the lock, the head of the log; then the tasks.

use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::{Clock, Fault, Head};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, Error};
use uuid::Uuid;

use quivive_store::{Migrated, Migration};

use crate::migrate;
use crate::sequencer;
use crate::server::{BadWay, Server, Unprotected, unprotected};
use crate::session::{Place, Session};
use crate::{failure, sole::Sole};

/// The oldest server that is tested.
const OLDEST: i32 = 150_000;

/// How long one host may take to let us in.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// Connections that commit. More would only wait for the same disk; fewer for each other's locks.
pub const LANES: usize = 8;

/// Connections that read. One long read does not hold up the short ones.
pub const READERS: usize = 4;

/// How to open the database.
pub struct PostgresOptions {
    /// By a URL like `postgres://user:password@host/database`, with the parameters that the driver knows.
    pub(crate) server: Server,
    /// Connections that commit; at least 1.
    pub lanes: usize,
    /// Connections that read; at least 1.
    pub readers: usize,
    /// Gives each event its `recorded_at`.
    pub clock: Arc<dyn Clock>,
    /// Where the server runs: one at a time. Nil, as it is at first, is a place too.
    pub place: Uuid,
}

/// Whether this can be a database's URL, with these certificates. The error never repeats it: it may hold a password.
pub fn check_url(url: &str, trusted_pem: Option<&[u8]>) -> Result<(), OpenError> {
    read(url, trusted_pem).map(|_| ())
}

fn read(url: &str, trusted_pem: Option<&[u8]>) -> Result<Server, OpenError> {
    let mut config: Config = url.parse().map_err(OpenError::Url)?;
    config.connect_timeout(CONNECT_TIME);
    config.application_name("quivive");
    if config.get_dbname().is_none() {
        return Err(OpenError::NoDatabase);
    }
    Ok(Server::new(config, trusted_pem)?)
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
            server: read(url, trusted_pem)?,
            lanes: LANES,
            readers: READERS,
            clock,
            place: Uuid::nil(),
        })
    }

    /// Where the server is, for people: no password.
    pub(crate) fn shown(&self) -> String {
        let hosts = self
            .server
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(path) => path.display().to_string(),
            });
        let hosts: Vec<_> = hosts.collect();
        let port = match self.server.config.get_ports() {
            [] | [5432] => String::new(),
            [port, ..] => format!(":{port}"),
        };
        let database = self.server.config.get_dbname().unwrap_or_default();
        format!("{}{port}/{database}", hosts.join(","))
    }
}

/// Why the database could not be opened. Nothing was changed, except for migrations that were already complete.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database's URL cannot be read")]
    Url(#[source] Error),
    #[error("the database's URL names no database: postgres://user@host/name")]
    NoDatabase,
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
    #[error("PostgreSQL at {at} is a standby, which takes no writes: name the primary")]
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
    let session = connected.map_err(|source| refused(options, source))?;
    check_server(&session.client, options).await?;
    Ok(session)
}

/// What the server says is for people, and holds no password.
fn refused(options: &PostgresOptions, source: Error) -> OpenError {
    let at = options.shown();
    match unprotected(&source) {
        Some(Unprotected::Handshake(error)) => {
            return OpenError::Tls {
                at,
                why: error.to_string(),
                remedy: error.remedy("database.url", "database.ca_file"),
            };
        }
        Some(Unprotected::NotOffered) => {
            return OpenError::Tls {
                at,
                why: "it has none".to_owned(),
                remedy: "switch it on there (ssl = on), or take sslmode=require out of database.url where the network is yours alone: \
                    sslmode=disable"
                    .to_owned(),
            };
        }
        None => {}
    }
    match source.as_db_error() {
        Some(_) => OpenError::Refused {
            at,
            why: failure::describe(&source),
        },
        None => OpenError::Unreachable { at, source },
    }
}

async fn check_server(client: &Client, options: &PostgresOptions) -> Result<(), OpenError> {
    let sql = "SELECT CAST(current_setting('server_version_num') AS INTEGER), current_setting('server_version'), \
        current_setting('server_encoding'), pg_is_in_recovery()";
    let row = client.query_one(sql, &[]).await?;
    let server = ServerIs {
        number: row.try_get(0)?,
        version: row.try_get(1)?,
        encoding: row.try_get(2)?,
        standby: row.try_get(3)?,
    };
    server.judge(options.shown())
}

/// What a server says of itself.
struct ServerIs {
    number: i32,
    version: String,
    encoding: String,
    standby: bool,
}

impl ServerIs {
    fn judge(self, at: String) -> Result<(), OpenError> {
        if self.number < OLDEST {
            let found = self.version;
            return Err(OpenError::Old { at, found });
        }
        if self.encoding != "UTF8" {
            let found = self.encoding;
            return Err(OpenError::Encoding { at, found });
        }
        if self.standby {
            return Err(OpenError::Standby { at });
        }
        Ok(())
    }
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

    fn judged(number: i32, encoding: &str, standby: bool) -> Result<(), OpenError> {
        let server = ServerIs {
            number,
            version: "14.9".to_owned(),
            encoding: encoding.to_owned(),
            standby,
        };
        server.judge("here/quivive".to_owned())
    }

    #[test]
    fn a_server_must_be_new_enough_speak_utf8_and_take_writes() {
        assert!(judged(150_000, "UTF8", false).is_ok());
        let old = judged(140_009, "UTF8", false).unwrap_err().to_string();
        assert!(old.contains("14.9") && old.contains("15 or newer"), "{old}");
        let latin = judged(150_000, "LATIN1", false).unwrap_err().to_string();
        assert!(
            latin.contains("LATIN1") && latin.contains("UTF8"),
            "{latin}"
        );
        let standby = judged(150_000, "UTF8", true).unwrap_err().to_string();
        assert!(standby.contains("name the primary"), "{standby}");
    }
}
