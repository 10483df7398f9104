//! When the log is kept to its terms: some time after the start, and then every hour.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quivive_app::search::Tags;
use quivive_delivery::engine::Running;
use quivive_delivery::retention::{Archive, Retention, Shelf, Terms};
use quivive_outbound::FileArchive;

use crate::builder::Opened;
use crate::control::tags;
use crate::start::StartError;

/// Between runs. A log that is kept for less than twice as long, as in a test, is looked at more often.
const EVERY: Duration = Duration::from_hours(1);
const LEAST: Duration = Duration::from_millis(250);

/// The first run leaves a start to those who wait for it.
const FIRST: Duration = Duration::from_mins(1);

/// Begins to keep the log to its terms, with archives in a directory.
pub(crate) fn start(
    opened: &Opened,
    running: Running,
    terms: Terms,
    directory: &Path,
) -> Result<(), StartError> {
    let shelf: Arc<dyn Shelf> = Arc::new(opened.database.clone());
    let archive: Arc<dyn Archive> = Arc::new(FileArchive::new(directory, &opened.keys)?);
    let retention = Retention::new(running, shelf, archive, terms);
    let tags = tags(&opened.kernel, &opened.database);
    let stopping = opened.tasks.stopping();
    let every = EVERY.min(terms.keep / 2).max(LEAST);
    opened.tasks.spawn(async move {
        // A run may be dropped at any moment; the next one goes on.
        tokio::select! {
            () = stopping.cancelled() => {}
            () = run(&retention, &tags, every) => {}
        }
    });
    Ok(())
}

async fn run(retention: &Retention, tags: &Tags, every: Duration) {
    let mut wait = FIRST.min(every);
    loop {
        tokio::time::sleep(wait).await;
        once(retention, tags).await;
        wait = every;
    }
}

async fn once(retention: &Retention, tags: &Tags) {
    let report = match retention.run().await {
        Ok(report) => report,
        Err(fault) => {
            tracing::error!(%fault, "the log could not be kept to its terms; trying again later");
            return;
        }
    };
    if report.cut > 0 || report.removed > 0 {
        tracing::info!(
            cut = report.cut,
            archived = report.archived,
            archives_removed = report.removed,
            "the log was kept to its terms"
        );
    }
    if report.cut > 0
        && let Err(fault) = tags.forget().await
    {
        tracing::warn!(%fault, "keys of months that are gone could not be destroyed; trying again later");
    }
}
