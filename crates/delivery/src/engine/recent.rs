//! The last deliveries of a subscription that went well: nothing else is kept of those.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::envelope::Stored;

/// Some 24 KiB for each busy subscription.
const DELIVERIES: usize = 1024;

/// Positions, and how long it took from each event's commit to the end of its handler.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<(u64, Duration)>>);

impl Recent {
    pub(super) fn add(&self, position: u64, latency: Duration) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == DELIVERIES {
            recent.pop_front();
        }
        recent.push_back((position, latency));
    }

    pub(super) fn latency(&self, event: &Stored) -> Option<Duration> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = recent.iter().rev().find(|(at, _)| *at == event.position);
        found.map(|(_, latency)| *latency)
    }
}
