//! The map of the crates, and the conformance of every store.

mod architecture;
mod brokers;
mod deliveries;
mod differential;
mod encrypted;
mod postgres;
mod retention;
mod store;
