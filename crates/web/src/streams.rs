//! Answers that do not end by themselves: how many there may be at once, and how they end with the server.

use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::Fault;
use quivive_delivery::tasks::Tasks;
use tokio::sync::Semaphore;

use crate::problem::Problem;

/// Each may hold a page of events, some 250 KB.
const MOST: usize = 64;

/// Readers come back by themselves; by then one of the others may have left.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The open streams of a server.
pub struct Streams {
    places: Arc<Semaphore>,
    tasks: Tasks,
}

impl Default for Streams {
    fn default() -> Self {
        Self::of(MOST)
    }
}

impl Streams {
    pub(crate) fn of(most: usize) -> Self {
        metrics::describe_gauge!("quivive_event_streams", "Open streams of events");
        metrics::gauge!("quivive_event_streams").set(0);
        Self {
            places: Arc::new(Semaphore::new(most)),
            tasks: Tasks::new(),
        }
    }

    /// Does the work of a stream until it ends or the server stops, if there is a place for it. The place is free again
    /// then, whatever the reader does.
    pub(crate) fn open(
        &self,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| {
            Problem::of_fault(&Fault::Busy {
                what: "streams of events",
                retry_after: RETRY_AFTER,
            })
        })?;
        let stopping = self.tasks.stopping();
        drop(self.tasks.spawn(async move {
            let _place = place;
            let _open = Counted::new();
            stopping.run_until_cancelled(work).await;
        }));
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.places.available_permits()
    }

    /// Ends all of them soon, and at once those that are yet to come.
    pub fn stop(&self) {
        self.tasks.stopping().cancel();
    }

    /// As [`Streams::stop`]; waits until all have ended.
    pub async fn shut_down(&self) {
        self.tasks.shut_down().await;
    }
}

/// One open stream, for the figures.
struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::gauge!("quivive_event_streams").increment(1);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("quivive_event_streams").decrement(1);
    }
}
