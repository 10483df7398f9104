//! x
use crate::Measure;
pub(crate) async fn measure() -> Vec<Measure> { Vec::new() }
