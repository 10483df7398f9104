//! What the tests of several adapters need: a directory of their own, and ids.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quivive_delivery::{Ids, Time};

use crate::clock::{SystemClock, SystemIds};

/// A fresh directory, gone with this.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("quivive-outbound-{}", ids().next()));
        std::fs::create_dir(&path).expect("a fresh directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the temporary directory hurts nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn ids() -> Arc<dyn Ids> {
    Arc::new(SystemIds::new(Arc::new(SystemClock)))
}

/// 2025-11-01T12:26:40Z.
pub(crate) fn now() -> Time {
    Time::from_second(1_762_000_000).expect("a time")
}
