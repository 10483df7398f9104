//! Answers that do not end by themselves: how many there may be at once, for all and for one caller, and how they end with
//! the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quivive_delivery::Fault;
use quivive_delivery::tasks::Tasks;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::problem::{Code, Problem};

/// Each may hold a page of events, some 250 KB.
const MOST: usize = 64;

/// So that one caller leaves places for others.
const MOST_OF_ONE: usize = 8;

/// Readers come back by themselves; by then one of the others may have left.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The open streams of a server.
pub struct Streams {
    places: Arc<Semaphore>,
    callers: Callers,
    tasks: Tasks,
}

/// How many streams each caller has open, an account or an API key.
type Callers = Arc<Mutex<HashMap<Uuid, usize>>>;

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
            callers: Callers::default(),
            tasks: Tasks::new(),
        }
    }

    /// Does the work of a caller's stream until it ends or the server stops, if there is a place for it. The place is free
    /// again then, whatever the reader does.
    pub(crate) fn open(
        &self,
        caller: Uuid,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Problem> {
        let own = Own::take(&self.callers, caller).ok_or_else(|| {
            let detail = format!("You have {MOST_OF_ONE} streams of events open. Close one.");
            Problem::with_detail(Code::Busy, detail).and_retry_after(RETRY_AFTER.as_secs())
        })?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| {
            Problem::of_fault(&Fault::Busy {
                what: "streams of events",
                retry_after: RETRY_AFTER,
            })
        })?;
        let stopping = self.tasks.stopping();
        drop(self.tasks.spawn(async move {
            let (_place, _own) = (place, own);
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

/// One of a caller's places.
struct Own {
    callers: Callers,
    caller: Uuid,
}

impl Own {
    fn take(callers: &Callers, caller: Uuid) -> Option<Self> {
        let mut all = callers.lock().unwrap_or_else(PoisonError::into_inner);
        let open = all.get(&caller).copied().unwrap_or(0);
        (open < MOST_OF_ONE).then(|| {
            all.insert(caller, open + 1);
            Self {
                callers: Arc::clone(callers),
                caller,
            }
        })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let mut all = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(&self.caller) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(all.remove(&self.caller)),
        }
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
