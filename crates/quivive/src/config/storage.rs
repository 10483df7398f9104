//! `[database]` and the data directory.

use std::path::{Path, PathBuf};

#[cfg(feature = "postgres")]
use secrecy::SecretString;
use serde::Deserialize;

use super::Location;
use super::report::Report;
use super::secret::Secret;
use crate::store::FILE;

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    url: Option<Secret>,
}

impl Database {
    /// Where the database is. A URL is not repeated: it may hold a password.
    pub(super) fn check(&self, data_dir: &Path, report: &mut Report<'_>) -> Option<Location> {
        let Some(url) = &self.url else {
            return Some(Location::Sqlite(data_dir.to_owned()));
        };
        let url = url.expose();
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return postgres(url, report);
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
}

#[cfg(feature = "postgres")]
fn postgres(url: &str, report: &mut Report<'_>) -> Option<Location> {
    if let Err(error) = quivive_store_postgres::check_url(url) {
        report.bad(
            "database.url",
            &format!("will not do: {}", crate::failure::chain(&error)),
            "write postgres://user:password@host/database",
        );
        return None;
    }
    Some(Location::Postgres(SecretString::from(url)))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str, report: &mut Report<'_>) -> Option<Location> {
    report.bad(
        "database.url",
        "names PostgreSQL, which this program was built without",
        "build it with --features postgres, or write sqlite: and a directory",
    );
    None
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
