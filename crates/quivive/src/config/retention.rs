//! `[retention]`: how long the log and its archives are kept, and where those are.

use std::path::PathBuf;
use std::time::Duration;

use quivive_delivery::retention::Terms;
use serde::Deserialize;

use super::report::Report;

/// A hundred years: a number beyond it is a slip.
const MAX_SECONDS: u64 = 100 * 365 * 24 * 3600;

/// What is archived before it is cut: who did what, and what was granted. The rest is of use while it is fresh.
const ARCHIVED: &[&str] = &["security", "compliance"];

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Retention {
    log_seconds: u64,
    grace_seconds: u64,
    archive_seconds: u64,
    pub archive_dir: Option<PathBuf>,
}

impl Retention {
    pub(super) fn check(&self, report: &mut Report<'_>) -> Terms {
        let mut seconds = |key, number, least| {
            Duration::from_secs(report.within(key, number, least..=MAX_SECONDS))
        };
        let terms = Terms {
            keep: seconds("retention.log_seconds", self.log_seconds, 1),
            grace: seconds("retention.grace_seconds", self.grace_seconds, 0),
            archive: seconds("retention.archive_seconds", self.archive_seconds, 1),
            archived: ARCHIVED,
        };
        if terms.archive < terms.keep {
            let what = format!(
                "= {} is shorter than retention.log_seconds = {}",
                self.archive_seconds, self.log_seconds
            );
            let remedy = "write at least as much: an archive would go the moment it is written";
            report.bad("retention.archive_seconds", &what, remedy);
        }
        terms
    }
}
