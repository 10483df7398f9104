//! Quivive as a library: an identity server whose every step is an event, inside another program.
//!
//! [`Builder`] puts a server together, [`Server`] gives its router to nest in an axum app, and a [`Subscription`] reacts
//! to its events in code; `examples/embed.rs` does all three. The program of the same name is built on nothing else:
//! [`config`] gathers its settings, [`serve`](mod@serve) runs a server, [`control`] is how commands talk to it.

pub mod audit;
mod backup;
pub mod builder;
mod bus;
pub mod config;
pub mod control;
mod deliveries;
mod failure;
mod fingerprints;
mod health;
pub mod logging;
mod membership;
mod private;
pub mod restore;
mod retention;
mod secrets;
pub mod serve;
mod start;
mod store;

pub use builder::{Builder, Server, create_keys};
pub use failure::{Class, Failure};
pub use quivive_app::kernel::Kernel;
pub use quivive_app::{Request, Settings};
#[cfg(feature = "consumer")]
pub use quivive_consumer as consumer;
pub use quivive_delivery::BoxFuture;
pub use quivive_delivery::subscriber::{
    Cx, Filter, Handler, Outcome, Received, Subscription, on, on_any, subscriber,
};
pub use start::StartError;
pub use {quivive_app as app, quivive_delivery as delivery, quivive_domain as domain};

/// The document that describes the HTTP API, as JSON.
pub fn openapi() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&quivive_web::openapi())
}

/// The document that describes every event as a message, as JSON.
pub fn asyncapi() -> Result<String, StartError> {
    Ok(format!("{:#}", quivive_web::asyncapi(&catalogue()?)))
}

/// Every event type there is. Needs neither data nor configuration.
pub fn catalogue() -> Result<delivery::Catalogue, StartError> {
    let workflows = app::switchboard::workflows().map_err(StartError::Catalogue)?;
    Ok(workflows.catalogue().clone())
}
