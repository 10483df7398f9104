//! The database of a server, whichever it is: a file in the data directory's keeping, or one on PostgreSQL.

use std::path::Path;
use std::sync::Arc;

use quivive_delivery::{Clock, Head, Ids};
use quivive_store::{Executor, Migrated, SQLITE_MIGRATIONS};
use quivive_store_sqlite::{Sqlite, SqliteOptions};
use tokio::sync::watch;

use crate::config::{Directories, Location};
use crate::failure::{Class, Failure};
use crate::start::StartError;

#[cfg(feature = "postgres")]
use {
    crate::membership,
    quivive_store::POSTGRES_MIGRATIONS,
    quivive_store_postgres::{Postgres, PostgresOptions},
    quivive_store_sqlite::{DirectoryLock, lock_directory},
    secrecy::ExposeSecret as _,
};

/// The database's file in its directory.
pub(crate) const FILE: &str = "quivive.db";

/// An open database. It is closed by [`Store::close`].
pub(crate) enum Store {
    Sqlite(Arc<Sqlite>),
    /// The lock is on the data directory, whose keys and socket are one server's.
    #[cfg(feature = "postgres")]
    Postgres(Arc<Postgres>, Option<DirectoryLock>),
}

impl Store {
    /// Opens the database for a server: nobody else has it until it is closed, or else has it by its side.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(
            clippy::unused_async,
            unused_variables,
            reason = "a server is asked by network, and is no place of its own"
        )
    )]
    pub(crate) async fn open(
        directories: &Directories,
        clock: Arc<dyn Clock>,
        ids: &dyn Ids,
    ) -> Result<Self, StartError> {
        match &directories.database {
            Location::Sqlite(directory) => {
                let options = SqliteOptions::new(directory, clock);
                let store = Sqlite::open(options, SQLITE_MIGRATIONS)?;
                Ok(Self::Sqlite(Arc::new(store)))
            }
            #[cfg(feature = "postgres")]
            Location::Postgres { url, trusted_pem } => {
                let lock = lock_directory(&directories.data)?;
                let (url, trusted) = (url.expose_secret(), trusted_pem.as_deref());
                let mut options = PostgresOptions::new(url, trusted, clock)?;
                options.place = membership::place(&directories.data, ids)?;
                let store = Postgres::open(options, POSTGRES_MIGRATIONS).await?;
                Ok(Self::Postgres(Arc::new(store), Some(lock)))
            }
            #[cfg(not(feature = "postgres"))]
            Location::Postgres { .. } => Err(StartError::NoPostgres),
        }
    }

    /// Opens the database for reading, also beside a running server: takes no lock, migrates nothing.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(clippy::unused_async, reason = "a server is asked by network")
    )]
    pub(crate) async fn open_read_only(directories: &Directories) -> Result<Self, StartError> {
        match &directories.database {
            Location::Sqlite(directory) => {
                let store = Sqlite::open_read_only(&directory.join(FILE))?;
                Ok(Self::Sqlite(Arc::new(store)))
            }
            #[cfg(feature = "postgres")]
            Location::Postgres { url, trusted_pem } => {
                let clock = Arc::new(quivive_outbound::SystemClock);
                let (url, trusted) = (url.expose_secret(), trusted_pem.as_deref());
                let options = PostgresOptions::new(url, trusted, clock)?;
                let store = Postgres::open_read_only(options).await?;
                Ok(Self::Postgres(Arc::new(store), None))
            }
            #[cfg(not(feature = "postgres"))]
            Location::Postgres { .. } => Err(StartError::NoPostgres),
        }
    }

    /// Whether other servers may have it open, too.
    pub(crate) fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            #[cfg(feature = "postgres")]
            Self::Postgres(..) => true,
        }
    }

    pub(crate) fn executor(&self) -> Arc<dyn Executor> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            #[cfg(feature = "postgres")]
            Self::Postgres(store, _) => Arc::clone(store) as _,
        }
    }

    /// Where it is, for people.
    pub(crate) fn shown(&self, directories: &Directories) -> String {
        match (self, &directories.database) {
            #[cfg(feature = "postgres")]
            (Self::Postgres(store, _), _) => format!("PostgreSQL, {}", store.shown()),
            (_, Location::Sqlite(directory)) => directory.join(FILE).display().to_string(),
            (_, Location::Postgres { .. }) => "PostgreSQL".to_owned(),
        }
    }

    /// As it was when it was opened, or is by now.
    pub(crate) fn head(&self) -> Head {
        *self.executor().head().borrow()
    }

    /// What opening did to the schema.
    pub(crate) fn migrated(&self) -> Migrated {
        match self {
            Self::Sqlite(store) => store.migrated(),
            #[cfg(feature = "postgres")]
            Self::Postgres(store, _) => store.migrated(),
        }
    }

    /// Why the store has stopped for good, as soon as it has.
    pub(crate) fn fatal(&self) -> watch::Receiver<Option<String>> {
        match self {
            Self::Sqlite(store) => store.fatal(),
            #[cfg(feature = "postgres")]
            Self::Postgres(store, _) => store.fatal(),
        }
    }

    /// Makes the store durable and lets go of its lock.
    pub(crate) async fn close(self) {
        match self {
            // It blocks, so not on a thread of the runtime.
            Self::Sqlite(store) => {
                let _ = tokio::task::spawn_blocking(move || store.close()).await;
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(store, lock) => {
                store.close().await;
                drop(lock);
            }
        }
    }
}

impl Location {
    /// The directory of the database's file; the failure is for a command that knows files alone.
    pub(crate) fn directory(&self, command: &str) -> Result<&Path, Failure> {
        match self {
            Self::Sqlite(directory) => Ok(directory),
            Self::Postgres { .. } => Err(Failure::new(
                Class::Config,
                format!("`{command}` is for a database in a file, and this one is on PostgreSQL"),
                "use pg_dump and pg_restore, or a base backup with archived WAL, and copy the data directory with its keys to \
                 another place than the database",
            )),
        }
    }
}
