//! `[log]`: what the server says of itself, on stderr.

use serde::Deserialize;
use tracing_subscriber::filter::Targets;

use super::report::Report;

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct LogSection {
    level: String,
    format: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON lines otherwise.
    Auto,
    Text,
    Json,
}

/// `[log]`, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// What is said, by module.
    pub level: Targets,
    pub format: Format,
}

impl LogSection {
    pub(super) fn check(&self, report: &mut Report<'_>) -> Option<Log> {
        let remedy =
            "write error, warn, info, debug or trace, or name modules: info,quivive_store=debug";
        let filter = report.parse::<Targets>("log.level", &self.level, "a level", remedy);
        let format = match self.format.as_str() {
            "auto" => Format::Auto,
            "text" => Format::Text,
            "json" => Format::Json,
            other => {
                report.bad(
                    "log.format",
                    &format!("= {other:?} is not a format"),
                    "write auto, text or json",
                );
                return None;
            }
        };
        Some(Log {
            level: filter?,
            format,
        })
    }
}
