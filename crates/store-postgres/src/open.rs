//! Opening: the server and what it must be, the schema, the lock, the head of the log; then the tasks.

use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::{Clock, Fault, Head};
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, Error};

use quivive_store::Migration;

use crate::migrate::{self, Migrated};
use crate::sequencer;
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
    /// `postgres://user:password@host/database`, with the parameters that libpq knows.
    pub config: Config,
    /// Connections that commit; at least 1.
    pub lanes: usize,
    /// Connections that read; at least 1.
    pub readers: usize,
    /// Gives each event its `recorded_at`.
    pub clock: Arc<dyn Clock>,
}

impl PostgresOptions {
    /// The error never repeats the URL, which may hold a password.
    pub fn new(url: &str, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let mut config: Config = url.parse().map_err(OpenError::Url)?;
        config.connect_timeout(CONNECT_TIME);
        config.application_name("quivive");
        if config.get_dbname().is_none() {
            return Err(OpenError::NoDatabase);
        }
        if config.get_ssl_mode() == tokio_postgres::config::SslMode::Require {
            return Err(OpenError::Tls);
        }
        Ok(Self {
            config,
            lanes: LANES,
            readers: READERS,
            clock,
        })
    }

    /// Where the server is, for people: no password.
    pub fn shown(&self) -> String {
        shown(&self.config)
    }
}

pub(crate) fn shown(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let hosts: Vec<_> = hosts.collect();
    let port = match config.get_ports() {
        [] | [5432] => String::new(),
        [port, ..] => format!(":{port}"),
    };
    let database = config.get_dbname().unwrap_or_default();
    format!("{}{port}/{database}", hosts.join(","))
}

/// Why the database could not be opened. Nothing was changed, except for migrations that were already complete.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the database's URL cannot be read")]
    Url(#[source] Error),
    #[error("the database's URL names no database: postgres://user@host/name")]
    NoDatabase,
    #[error(
        "the database's URL asks for TLS, which this program does not speak to PostgreSQL yet. Reach it by a Unix socket, on this \
         machine, or through a tunnel"
    )]
    Tls,
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
    #[error(
        "another quivive server uses the database {at}: several on one database are not supported yet"
    )]
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
    let session = place
        .connect()
        .await
        .map_err(|source| refused(options, source))?;
    check_server(&session.client, options).await?;
    match sole.hold(&session).await {
        Err(Fault::Busy { .. }) => {
            return Err(OpenError::InUse {
                at: options.shown(),
            });
        }
        held => held?,
    }
    let migrated = migrate::run(&session.client, migrations).await?;
    let head = sequencer::read_head(&session).await?;
    check_head(&session, head).await?;
    Ok(Opened { migrated, head })
}

/// What the server says is for people, and holds no password.
fn refused(options: &PostgresOptions, source: Error) -> OpenError {
    let at = options.shown();
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
    let at = options.shown();
    if row.try_get::<_, i32>(0)? < OLDEST {
        let found = row.try_get(1)?;
        return Err(OpenError::Old { at, found });
    }
    let encoding: String = row.try_get(2)?;
    if encoding != "UTF8" {
        return Err(OpenError::Encoding {
            at,
            found: encoding,
        });
    }
    if row.try_get(3)? {
        return Err(OpenError::Standby { at });
    }
    Ok(())
}

/// The last event must be the one the head names. A log cut to nothing by retention has none.
async fn check_head(session: &Session, head: Head) -> Result<(), OpenError> {
    let sql = "SELECT pos, chain FROM event ORDER BY pos DESC LIMIT 1";
    let Some(last) = session.client.query_opt(sql, &[]).await? else {
        return Ok(());
    };
    let position = last.try_get::<_, i64>(0)?.cast_unsigned();
    let chain: Vec<u8> = last.try_get(1)?;
    if (position, chain.as_slice()) == (head.position, &head.chain[..]) {
        return Ok(());
    }
    Err(OpenError::Head {
        position: position.min(head.position) + 1,
    })
}
