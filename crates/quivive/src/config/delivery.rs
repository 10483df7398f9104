//! `[delivery]`: how a reaction that failed is tried again.

use std::time::Duration;

use quivive_delivery::subscriber::Retry;
use serde::Deserialize;

use super::report::Report;

/// A month: what could not be told by then is for an operator to judge.
const MAX_AGE_SECONDS: u64 = 31 * 24 * 3600;

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Delivery {
    retry_base_ms: u64,
    retry_cap_seconds: u64,
    max_attempts: u32,
    max_age_seconds: u64,
}

impl Delivery {
    pub(super) fn check(&self, report: &mut Report<'_>) -> Retry {
        Retry {
            base: Duration::from_millis(report.within(
                "delivery.retry_base_ms",
                self.retry_base_ms,
                10..=3_600_000,
            )),
            cap: Duration::from_secs(report.within(
                "delivery.retry_cap_seconds",
                self.retry_cap_seconds,
                1..=86_400,
            )),
            max_attempts: report.within("delivery.max_attempts", self.max_attempts, 1..=100),
            max_age: Duration::from_secs(report.within(
                "delivery.max_age_seconds",
                self.max_age_seconds,
                1..=MAX_AGE_SECONDS,
            )),
            ..Retry::DEFAULT
        }
    }
}
