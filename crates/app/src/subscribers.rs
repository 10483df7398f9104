//! What reacts to events: one file each, saying what it wants and what it does.

pub mod email;
pub mod erasure;
pub mod log;
pub mod schemas;
pub mod sessions;
pub mod statistics;
pub mod webhooks;
