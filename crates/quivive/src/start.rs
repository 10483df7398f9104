//! Why a server did not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use quivive_app::letters::LetterError;
use quivive_delivery::Fault;
use quivive_delivery::catalogue::Duplicate;
use quivive_delivery::subscriber::NotInCommit;
use quivive_outbound::KeyError;
use quivive_outbound::argon2::InvalidHashing;
use quivive_outbound::smtp::SmtpConfigError;
use quivive_store_sqlite::OpenError;

use crate::failure::{Class, Failure, chain, class_of};

/// Why a server did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error("no data directory was named")]
    NoDirectory,
    #[error("there are no keys in {directory}", directory = .directory.display())]
    NoKeys { directory: PathBuf },
    #[error("an https address is for production, and there is no mailer")]
    NoMailer,
    #[error("cannot use {path}", path = .path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Database(#[from] OpenError),
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] quivive_store_postgres::OpenError),
    #[error("the database is on PostgreSQL, and this program was built without it")]
    NoPostgres,
    /// `name` is a key's, never its content.
    #[error("the keys in {directory} are not those this database was used with: {name} differs", directory = .directory.display())]
    OtherKeys { directory: PathBuf, name: String },
    /// Of several servers on one database each needs the same keys.
    #[error("the database was used with keys, and there are none in {directory}", directory = .directory.display())]
    KeysElsewhere { directory: PathBuf },
    #[error("the clock of this machine is {off:?} from that of the database's")]
    Clock { off: std::time::Duration },
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    Catalogue(#[from] Duplicate),
    #[error(transparent)]
    InCommit(#[from] NotInCommit),
    #[error("the subscriptions cannot be started")]
    Subscriptions(#[source] quivive_delivery::engine::StartError),
    #[error(transparent)]
    Letters(#[from] LetterError),
    #[error(transparent)]
    Hashing(#[from] InvalidHashing),
    #[error(transparent)]
    Mail(#[from] SmtpConfigError),
    /// `why` is a refusal's code.
    #[error("the administrator of the configuration was refused: {why}")]
    FirstAdmin { why: &'static str },
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
}

impl StartError {
    fn class(&self) -> Class {
        match self {
            Self::Directory { source, .. }
            | Self::Listen { source, .. }
            | Self::Letters(LetterError::Read { source, .. }) => class_of(source),
            Self::Keys(error) => class_of_keys(error),
            Self::Database(error) => class_of_database(error),
            #[cfg(feature = "postgres")]
            Self::Postgres(error) => class_of_postgres(error),
            Self::Fault(fault) => class_of_fault(fault),
            Self::Runtime(_) => Class::Unavailable,
            Self::NoDirectory
            | Self::KeysElsewhere { .. }
            | Self::Clock { .. }
            | Self::NoPostgres
            | Self::NoKeys { .. }
            | Self::NoMailer
            | Self::OtherKeys { .. }
            | Self::Catalogue(_)
            | Self::InCommit(_)
            | Self::Subscriptions(_)
            | Self::Letters(_)
            | Self::Hashing(_)
            | Self::Mail(_)
            | Self::FirstAdmin { .. } => Class::Config,
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::NoDirectory => "name one: --data-dir DIR".to_owned(),
            Self::NoKeys { .. } => "for a new server, make them with `quivive keys create`; for an existing one, put its keys back from \
                 their backup, or name its data directory with --data-dir"
                .to_owned(),
            Self::NoMailer => "give the builder a mailer".to_owned(),
            Self::NoPostgres => "build it with --features postgres".to_owned(),
            #[cfg(feature = "postgres")]
            Self::Postgres(error) => remedy_of_postgres(error).to_owned(),
            Self::Directory { path, .. } => format!("make {} a directory that this user may write, or name another with --data-dir", path.display()),
            Self::OtherKeys { .. } => "put back the keys and the database of one server: what was sealed with its keys cannot be read \
                 with others, and its sign-ins would all fail. Where other servers use the database, copy the directory `keys` of one \
                 of them"
                .to_owned(),
            Self::KeysElsewhere { directory } => format!(
                "copy the directory `keys` of a server that uses the database, or its backup, to {}",
                directory.display()
            ),
            Self::Clock { .. } => "let both machines follow the same time servers: what is over is judged by the clock".to_owned(),
            Self::Listen { address, .. } => format!("stop what listens on {address}, or choose another address with --listen"),
            Self::Fault(Fault::Busy { .. }) => "try again".to_owned(),
            Self::Fault(Fault::NoSpace) => "free some space".to_owned(),
            Self::FirstAdmin { .. } => "choose another admin.email or a longer admin.password".to_owned(),
            Self::Subscriptions(_) | Self::Catalogue(_) => "give each event and subscription a name of its own".to_owned(),
            Self::Letters(_) => "put the file right, or remove letters.templates".to_owned(),
            Self::Hashing(_) => "see [hashing] in `quivive config generate`".to_owned(),
            Self::Mail(_) => "see [mail] in `quivive config generate`".to_owned(),
            Self::Runtime(_) => "raise the limits of threads and open files".to_owned(),
            Self::InCommit(_) => "register it under another name, or for another event".to_owned(),
            // Their own texts say what to do, as far as anything can be done.
            Self::Keys(_) | Self::Database(_) | Self::Fault(_) => "if it stays, look at the disk and restore a backup".to_owned(),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::new(error.class(), chain(&error), error.remedy())
    }
}

fn class_of_keys(error: &KeyError) -> Class {
    match error {
        KeyError::Io { source, .. } => class_of(source),
        KeyError::InUse { .. } => Class::Busy,
        _ => Class::Config,
    }
}

pub(crate) fn class_of_database(error: &OpenError) -> Class {
    match error {
        OpenError::InUse { .. } => Class::Busy,
        OpenError::File { source, .. } => class_of(source),
        OpenError::Newer { .. } | OpenError::Migrations => Class::Config,
        OpenError::Migration { .. }
        | OpenError::Dangling { .. }
        | OpenError::Head { .. }
        | OpenError::Unsound(_)
        | OpenError::Database(_) => Class::Io,
        OpenError::Thread(_) => Class::Unavailable,
    }
}

#[cfg(feature = "postgres")]
fn class_of_postgres(error: &quivive_store_postgres::OpenError) -> Class {
    use quivive_store_postgres::OpenError;
    match error {
        OpenError::InUse { .. } => Class::Busy,
        OpenError::Unreachable { .. }
        | OpenError::Silent { .. }
        | OpenError::Refused { .. }
        | OpenError::Tls { .. } => Class::Unavailable,
        OpenError::Url(_)
        | OpenError::NoDatabase
        | OpenError::Way(_)
        | OpenError::Target
        | OpenError::Hosts
        | OpenError::Old { .. }
        | OpenError::Encoding { .. }
        | OpenError::Standby { .. }
        | OpenError::Newer { .. } => Class::Config,
        OpenError::Migration { .. } | OpenError::Head { .. } | OpenError::Database(_) => Class::Io,
        OpenError::Fault(fault) => class_of_fault(fault),
    }
}

#[cfg(feature = "postgres")]
fn remedy_of_postgres(error: &quivive_store_postgres::OpenError) -> &str {
    use quivive_store_postgres::OpenError;
    match error {
        OpenError::InUse { .. } => {
            "stop it first. If this data directory was copied from another server's, remove the file `node` in it"
        }
        OpenError::Unreachable { .. } | OpenError::Silent { .. } => {
            "start it, or put database.url right"
        }
        OpenError::Tls { remedy, .. } => remedy,
        OpenError::Refused { .. } => {
            "put user, password and database in database.url right, or let this user in (pg_hba.conf)"
        }
        OpenError::Head { .. } => "restore a backup, or run `audit verify` on a copy",
        OpenError::Migration { .. } => {
            "let the user in database.url create tables in the database: make it the owner"
        }
        // Their own texts say what to do.
        _ => "see database.url in `quivive config generate`",
    }
}

pub(crate) fn class_of_fault(fault: &Fault) -> Class {
    match fault {
        Fault::Busy { .. } => Class::Busy,
        Fault::Unreachable(_) => Class::Unavailable,
        _ => Class::Io,
    }
}
