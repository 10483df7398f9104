//! How often and how late a failed delivery is tried again.

use std::time::Duration;

const fn hours(count: u64) -> Duration {
    Duration::from_hours(count)
}

/// How often and how late a failed delivery is tried again. Take one that is here, or state your own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Tried at once, in memory, before the key gets a lane.
    pub quick: &'static [Duration],
    /// The waits in the lane, one after another, with a tenth of jitter. Empty: they grow as the next two say.
    pub schedule: &'static [Duration],
    /// The first wait in the lane; each next is four times as long, with full jitter.
    pub base: Duration,
    pub cap: Duration,
    /// Attempts in all, the quick ones too, before the lane is parked.
    pub max_attempts: u32,
    /// Age of the first failure at which the lane is parked.
    pub max_age: Duration,
}

impl Retry {
    /// The first failure parks the event.
    pub const NONE: Self = Self {
        quick: &[],
        max_attempts: 1,
        ..Self::DEFAULT
    };

    pub const DEFAULT: Self = Self {
        quick: &[Duration::from_millis(50), Duration::from_millis(250)],
        schedule: &[],
        base: Duration::from_secs(1),
        cap: hours(6),
        max_attempts: 12,
        max_age: hours(72),
    };

    /// For what is worth little when it is late: often, and no longer than a day.
    pub const AGGRESSIVE: Self = Self {
        quick: &[
            Duration::from_millis(20),
            Duration::from_millis(100),
            Duration::from_millis(500),
        ],
        schedule: &[],
        base: Duration::from_millis(500),
        cap: Duration::from_mins(10),
        max_attempts: 100,
        max_age: hours(24),
    };

    /// For a target that must be spared: nothing at once, little later, for a week.
    pub const CONSERVATIVE: Self = Self {
        quick: &[],
        schedule: &[],
        base: Duration::from_secs(30),
        cap: hours(12),
        max_attempts: 8,
        max_age: hours(168),
    };

    /// For the servers of others: ten attempts over three days (Standard Webhooks, "Retry schedule").
    pub const WEBHOOK: Self = Self {
        quick: &[],
        schedule: &[
            Duration::from_secs(5),
            Duration::from_mins(5),
            Duration::from_mins(30),
            hours(2),
            hours(5),
            hours(10),
            hours(14),
            hours(20),
            hours(24),
        ],
        max_attempts: 10,
        max_age: hours(168),
        ..Self::DEFAULT
    };
}
