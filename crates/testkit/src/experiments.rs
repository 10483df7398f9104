//! The experiments, a file each. Every one states what must hold and panics with the evidence when it does not.

pub mod brokers;
pub mod check;
pub mod deliveries;
pub mod fail_over;
pub mod ground;
pub mod guesses;
pub mod hostile_receivers;
pub mod imported;
pub mod journey;
pub mod kills;
pub mod million_accounts;
pub mod overload;
mod people;
pub mod races;
pub mod revocation;
pub mod schemathesis;
pub mod secrets;
pub mod slow_clients;
pub mod tamper;
pub mod timing;
pub mod two_nodes;
pub mod undelivered;
pub mod writers;
