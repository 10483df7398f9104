//! The switch that stops the store for good.
//!
//! After a failed sync nobody knows what is on the disk, and the kernel reports such a failure once: asked again, it says
//! yes. So the first one ends the store, nothing is tried again, and whoever watches ends the process. A restart reads
//! back what is there.

use quivive_delivery::Fault;
use tokio::sync::watch;

pub(crate) struct Halt {
    why: watch::Sender<Option<String>>,
}

impl Halt {
    pub(crate) fn new() -> Self {
        Self {
            why: watch::Sender::new(None),
        }
    }

    /// Stops the store. The first reason stays.
    pub(crate) fn stop(&self, why: &str) {
        let first = self.why.send_if_modified(|said| {
            let first = said.is_none();
            if first {
                *said = Some(why.to_owned());
            }
            first
        });
        if first {
            tracing::error!(why, "the store has stopped");
        }
    }

    /// What callers get who come too late.
    pub(crate) fn fault(&self) -> Fault {
        let why = self.why.borrow().clone();
        Fault::Stopped(why.unwrap_or_else(|| "it was closed".to_owned()))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.why.subscribe()
    }
}

/// Stops the store when the thread that holds it panics. It must be dropped before anything whose end wakes a caller, so
/// declare it after: the caller then finds the reason.
pub(crate) struct OnPanic<'h> {
    pub(crate) halt: &'h Halt,
    pub(crate) why: &'static str,
}

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.halt.stop(self.why);
        }
    }
}
