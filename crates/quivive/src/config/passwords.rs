//! `[passwords]`, `[lockout]` and `[hashing]`: what a password must be, how often it may be guessed, what a hash costs.

use std::num::NonZeroUsize;
use std::time::Duration;

use quivive_domain::PasswordPolicy;
use quivive_domain::guess::GuessPolicy;
use quivive_outbound::Hashing;
use serde::Deserialize;

use super::report::Report;

/// A year: longer locks are for administrators.
const MAX_LOCK_SECONDS: u64 = 365 * 24 * 3600;

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Passwords {
    min_chars: usize,
    max_chars: usize,
    min_score: u8,
    history: u32,
}

impl Passwords {
    /// The policy and how many earlier passwords may not return.
    pub(super) fn check(&self, product: &str, report: &mut Report<'_>) -> (PasswordPolicy, u32) {
        let min_chars = report.within("passwords.min_chars", self.min_chars, 8..=128);
        let policy = PasswordPolicy {
            min_chars,
            // 64 at least: NIST SP 800-63B-4, 3.1.1.2.
            max_chars: report.within(
                "passwords.max_chars",
                self.max_chars,
                min_chars.max(64)..=1024,
            ),
            min_score: report.within("passwords.min_score", self.min_score, 0..=4),
            product_name: product.to_lowercase(),
        };
        // Each costs a hash at every change.
        (
            policy,
            report.within("passwords.history", self.history, 0..=24),
        )
    }
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct Lockout {
    limit: u32,
    window_seconds: u64,
    first_lock_seconds: u64,
    next_locks_seconds: u64,
    hard_limit: u32,
}

impl Lockout {
    pub(super) fn check(&self, report: &mut Report<'_>) -> GuessPolicy {
        let mut seconds =
            |key, number| Duration::from_secs(report.within(key, number, 1..=MAX_LOCK_SECONDS));
        let window = seconds("lockout.window_seconds", self.window_seconds);
        let first_lock = seconds("lockout.first_lock_seconds", self.first_lock_seconds);
        let next_locks = seconds("lockout.next_locks_seconds", self.next_locks_seconds);
        // NIST SP 800-63B-4, 3.2.2: no more than 100 in a row.
        let hard_limit = report.within("lockout.hard_limit", self.hard_limit, 1..=100);
        GuessPolicy {
            limit: report.within("lockout.limit", self.limit, 1..=hard_limit),
            window,
            first_lock,
            next_locks,
            hard_limit,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct HashingCost {
    memory_kib: u32,
    iterations: u32,
    threads: usize,
    places: usize,
}

impl HashingCost {
    pub(super) fn check(&self, report: &mut Report<'_>) -> Hashing {
        Hashing {
            // From 7 MiB, the least of OWASP's equivalent choices, to 1 GiB.
            memory_kib: report.within("hashing.memory_kib", self.memory_kib, 7_168..=1_048_576),
            iterations: report.within("hashing.iterations", self.iterations, 1..=64),
            threads: NonZeroUsize::new(report.within("hashing.threads", self.threads, 0..=256)),
            places: NonZeroUsize::new(report.within("hashing.places", self.places, 0..=65_536)),
            ..Hashing::default()
        }
    }
}
