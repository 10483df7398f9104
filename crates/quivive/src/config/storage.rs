//! `[database]` and the data directory.

use std::path::{Path, PathBuf};

use serde::Deserialize;
#[cfg(feature = "postgres")]
use {
    super::trust,
    quivive_store_postgres::{BadWay, OpenError},
    secrecy::SecretString,
};

use super::Location;
use super::report::Report;
use super::secret::Secret;
use crate::store::FILE;

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    url: Option<Secret>,
    ca_file: Option<PathBuf>,
}

impl Database {
    /// Where the database is. A URL is not repeated: it may hold a password.
    pub(super) fn check(&self, data_dir: &Path, report: &mut Report<'_>) -> Option<Location> {
        let url = self.url.as_ref().map_or("", Secret::expose);
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return self.postgres(url, report);
        }
        if self.ca_file.is_some() {
            report.bad(
                "database.ca_file",
                "is given, and the database is in a file",
                "leave it out",
            );
        }
        if self.url.is_none() {
            return Some(Location::Sqlite(data_dir.to_owned()));
        }
        let remedy = "write sqlite: and a directory, like sqlite:/var/lib/quivive; the file in it is quivive.db. Or postgres://user:password@host/database";
        let Some(path) = url.strip_prefix("sqlite:") else {
            report.bad(
                "database.url",
                "is not a database this program knows",
                remedy,
            );
            return None;
        };
        let path = Path::new(path.strip_prefix("//").unwrap_or(path));
        if path.as_os_str().is_empty() {
            report.bad("database.url", "names no directory", remedy);
            return None;
        }
        match path.extension() {
            Some(_) if path.ends_with(FILE) => Some(Location::Sqlite(parent(path))),
            Some(extension) if extension == "db" => {
                report.bad(
                    "database.url",
                    &format!("names a file other than {FILE}"),
                    remedy,
                );
                None
            }
            _ => Some(Location::Sqlite(path.to_owned())),
        }
    }

    #[cfg(feature = "postgres")]
    fn postgres(&self, url: &str, report: &mut Report<'_>) -> Option<Location> {
        let trusted_pem = trust::certificates("database.ca_file", self.ca_file.as_deref(), report);
        if self.ca_file.is_some() && trusted_pem.is_none() {
            return None;
        }
        let Err(error) = quivive_store_postgres::check_url(url, trusted_pem.as_deref()) else {
            let url = SecretString::from(url);
            return Some(Location::Postgres { url, trusted_pem });
        };
        let why = format!("will not do: {}", crate::failure::chain(&error));
        let (key, remedy) = match error {
            OpenError::Way(BadWay::Trust(_) | BadWay::TrustUnused) => (
                "database.ca_file",
                "name a file of certificates in PEM, beside a database.url with sslmode=require",
            ),
            _ => (
                "database.url",
                "write postgres://user:password@host/database?sslmode=require, which verifies certificate and name; an authority of \
                 your own is database.ca_file",
            ),
        };
        report.bad(key, &why, remedy);
        None
    }

    #[cfg(not(feature = "postgres"))]
    #[expect(clippy::unused_self, reason = "as the other")]
    fn postgres(&self, _: &str, report: &mut Report<'_>) -> Option<Location> {
        report.bad(
            "database.url",
            "names PostgreSQL, which this program was built without",
            "build it with --features postgres, or write sqlite: and a directory",
        );
        None
    }
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
