//! What the product does: workflows that decide, events that say so, subscribers that react.
//!
//! Start at [`switchboard`]: it names every workflow and every subscriber once. A workflow is one file under
//! [`workflows`]; [`kernel`] runs it.

pub mod access;
pub mod accounts;
pub mod admission;
pub mod audit;
pub mod custom_events;
pub mod devices;
pub mod facts;
mod forgetting;
pub mod guesses;
pub mod idempotency;
pub mod imports;
pub mod kernel;
pub mod letters;
pub(crate) mod mutants;
pub mod one_time;
pub mod passwords;
pub mod ports;
pub mod processes;
pub mod search;
pub mod sessions;
pub mod settings;
pub mod step_up;
pub mod subscribers;
pub mod switchboard;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod webhooks;
pub mod workflows;

pub use kernel::{Failure, Kernel, Request};
pub use settings::Settings;
