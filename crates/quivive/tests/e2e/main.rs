//! The built binary from outside, as a stranger meets it: HTTP, letters, the command line, signals and broken disks.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by panicking, and says what it measured"
)]

mod accounts;
mod admission;
mod authority;
mod backups;
mod brokers;
mod browsers;
mod catalogue;
mod cli;
mod dashboard;
mod dead_letters;
mod embedded;
mod encrypted_brokers;
mod erasure;
mod experiments;
mod exports;
mod faults;
mod feed;
mod guessing;
mod idempotency;
mod imports;
mod nodes;
mod on_postgres;
mod passwords;
mod provisioning;
mod proxies;
mod recovery;
mod replays;
mod resource_servers;
mod retention;
mod revocation;
mod rotations;
mod search;
mod services;
mod sessions;
mod smtp;
mod support;
mod tokens;
mod tour;
mod webhooks;
