//! Everything that tests the product from outside: a harness around the built binary, and the experiments that short
//! tests and long proofs share.
//!
//! An experiment is a function with its sizes as parameters. `crates/quivive/tests` runs it small, `prove` runs it long.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    reason = "a test that cannot go on says so by panicking, and a proof prints its figures"
)]

pub mod brokers;
pub mod certificates;
pub mod client;
pub mod experiments;
pub mod front;
pub mod nodes;
pub mod postgres;
pub mod receiver;
pub mod server;
pub mod store_suite;
pub mod stream;

pub use client::{Client, Reply};
pub use nodes::Nodes;
pub use receiver::{Act, Message, Receiver};
pub use server::{Options, Server};
pub use stream::Stream;

/// A passphrase that the policy accepts.
pub const PASSWORD: &str = "correct horse battery staple 42";
