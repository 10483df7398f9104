//! Time and identifiers come through ports, so that a whole server runs deterministically in a test.

use uuid::Uuid;

/// A moment in UTC, in whole microseconds.
pub type Time = jiff::Timestamp;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The wall clock, truncated to microseconds. It may jump; nothing may rely on it for order.
    fn now(&self) -> Time;
}

/// Where identifiers and random bytes come from.
pub trait Ids: Send + Sync {
    /// A fresh identifier that sorts by time (UUID version 7), so that inserts append.
    fn next(&self) -> Uuid;

    /// Fills `bytes` from a cryptographically secure source.
    fn random(&self, bytes: &mut [u8]);
}
