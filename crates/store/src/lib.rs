//! All SQL of the product, over an [`Executor`].

pub mod executor;

pub use executor::{Executor, Row};
