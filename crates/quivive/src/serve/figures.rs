//! The recorder of what is counted, for Prometheus. Installed by the program alone: a library that did would take the
//! choice from whoever embeds it.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use quivive_delivery::tasks::Tasks;

/// Upper bounds in seconds: from a commit on a fast disk to a mail server that thinks it over.
const SECONDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// How often the recorder takes over what was recorded: it keeps each value of a histogram until then.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder. When there is one already, its figures are shown by whoever installed it, and not here.
pub(super) fn install() -> Option<PrometheusHandle> {
    let buckets = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS);
    match buckets.map(PrometheusBuilder::install_recorder) {
        Ok(Ok(handle)) => Some(handle),
        Ok(Err(error)) | Err(error) => {
            tracing::warn!(%error, "figures are not recorded; /metrics is empty");
            None
        }
    }
}

/// Keeps what is recorded small, until the server stops.
pub(super) fn keep_up(handle: PrometheusHandle, tasks: &Tasks) {
    let stopping = tasks.stopping();
    drop(tasks.spawn(async move {
        while stopping
            .run_until_cancelled(tokio::time::sleep(UPKEEP))
            .await
            .is_some()
        {
            handle.run_upkeep();
        }
    }));
}
