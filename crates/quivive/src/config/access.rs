//! `[registration]`, `[cors]` and `[rate_limits]`: who may come, who may call, and how often.

use axum::http::Uri;
use serde::Deserialize;

use super::report::Report;

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Cors {
    origins: Vec<String>,
}

impl Cors {
    pub(super) fn check(&self, report: &mut Report<'_>) -> Vec<String> {
        for text in &self.origins {
            // What a browser sends: scheme, host, port, and no slash.
            let origin = text.parse::<Uri>().is_ok_and(|uri| {
                let scheme = matches!(uri.scheme_str(), Some("https" | "http"));
                scheme
                    && uri.host().is_some()
                    && !text.ends_with('/')
                    && uri.path() == "/"
                    && uri.query().is_none()
            });
            if !origin {
                report.bad(
                    "cors.origins",
                    &format!("holds {text:?}, which is not an origin"),
                    "write scheme and host, without a slash at the end: https://app.example.org",
                );
            }
        }
        self.origins.clone()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct RateLimits {
    pub enabled: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    pub open: bool,
    pub unverified_seconds: u64,
}
