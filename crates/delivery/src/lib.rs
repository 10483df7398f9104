//! Durable delivery of events: one append-only log, subscriptions that read it, lanes for keys in trouble.
//!
//! This crate knows no word of the product that uses it. It defines what an event is ([`Event`]), how events and the
//! state they describe are committed together ([`Transaction`]), how the log is read ([`Log`]) and how every
//! subscription receives every event of a key in order ([`engine`]).
//!
//! **Guarantees.** A committed event reaches each matching subscription at least once, and the events of one key reach
//! it in order, also through retries. A key in trouble delays no other. A failing handler never reaches the commit
//! that raised the event.
//!
//! **Not guaranteed.** Order between different keys; exactly-once effects outside the database.

#[allow(
    unused_extern_crates,
    reason = "derived code names this crate by its outer name"
)]
extern crate self as quivive_delivery;

pub mod catalogue;
pub mod chain;
pub mod clock;
pub mod cloudevents;
pub mod code;
pub mod commit;
pub mod criteria;
pub mod engine;
pub mod envelope;
pub mod event;
pub mod events;
#[cfg(any(test, feature = "fakes"))]
pub mod fakes;
pub mod fault;
pub mod gate;
pub mod log;
pub mod nodes;
pub mod process;
pub mod relay;
pub mod retention;
pub mod schema;
pub mod seal;
pub mod subscriber;
pub mod tasks;

pub use catalogue::{Catalogue, EventSpec};
pub use clock::{Clock, Ids, Time};
pub use code::{Code, Codes};
pub use commit::{Expect, Passing, Transaction, Value, Write};
pub use criteria::{Criteria, Unfit};
pub use envelope::{Actor, Context, Envelope, Key, Priority, Stored};
pub use event::{Body, DecodeError, Event, EventMeta, Phase};
pub use fault::Fault;
pub use log::{CommitError, Committed, Head, Log};
pub use quivive_delivery_derive::{Event, Reason};
pub use subscriber::{Cx, Handler, Outcome, Received, Subscription, on, on_any, subscriber};

/// A boxed future that may cross threads; ports are object-safe, so their reads return one of these.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What generated code needs; not for people.
#[doc(hidden)]
pub mod generated {
    pub use schemars;
    pub use serde;
    pub use serde_json;
}
