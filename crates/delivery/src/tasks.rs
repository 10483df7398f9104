//! Background work that is joined at shutdown. The only place that spawns.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tracks every task of one server and tells them when to stop.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Where all of them run.
    runtime: Option<Handle>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// They will run in the runtime that this is called in, whoever spawns them. If it is called outside of any, each will
    /// run in that of who spawns it.
    pub fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            runtime: Handle::try_current().ok(),
        }
    }

    /// Runs a task to its end, whoever started it. Dropping the handle does not stop it.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.runtime {
            Some(runtime) => self.tracker.spawn_on(future, runtime),
            None => self.tracker.spawn(future),
        }
    }

    /// Completes when the server begins to stop. Loops select on it.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells loops to stop, then waits until every task has ended.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
