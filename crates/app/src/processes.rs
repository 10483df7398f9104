//! Processes of several steps, each with its undoing: see [`quivive_delivery::process`].

pub mod account_provisioning;
