//! `[database]` and the data directory.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::report::Report;

/// The database's file; its name is fixed, its directory is not.
const FILE: &str = "quivive.db";

#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    url: Option<String>,
}

impl Database {
    /// The directory of the database.
    pub(super) fn check(&self, data_dir: &Path, report: &mut Report<'_>) -> Option<PathBuf> {
        let Some(url) = &self.url else {
            return Some(data_dir.to_owned());
        };
        let remedy = "write sqlite: and a directory, like sqlite:/var/lib/quivive; the file in it is quivive.db";
        let Some(path) = url.strip_prefix("sqlite:") else {
            let what = if url.starts_with("postgres") {
                // Not repeated: a database URL may hold a password.
                "names PostgreSQL, which this build has no store for"
            } else {
                "is not a database this build knows"
            };
            report.bad("database.url", what, remedy);
            return None;
        };
        let path = Path::new(path.strip_prefix("//").unwrap_or(path));
        if path.as_os_str().is_empty() {
            report.bad("database.url", "names no directory", remedy);
            return None;
        }
        match path.extension() {
            Some(_) if path.ends_with(FILE) => Some(parent(path)),
            Some(extension) if extension == "db" => {
                report.bad(
                    "database.url",
                    &format!("names a file other than {FILE}"),
                    remedy,
                );
                None
            }
            _ => Some(path.to_owned()),
        }
    }
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
