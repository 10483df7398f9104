//! Who may ask at all: how the sources of requests are told apart, and what became of requests that no workflow heard of.
//!
//! A workflow leaves its events. What was refused before it (too many requests, a body that cannot be read, nobody signed
//! in) leaves a count, which is told to the log once a minute: a flood of refused requests is a few events a minute, however
//! many come and from however many sources.

mod rejections;
mod source;

pub use rejections::Rejections;
pub use source::Source;
