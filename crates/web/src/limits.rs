//! How often one source may ask, for each family of routes: a sliding window of a minute, in a table of bounded size.
//!
//! The window slides by weighing the last minute with the part of it that still counts, so that a source never gets more
//! than about its limit in any minute, and exactly its limit in the first one. Refused requests are not counted.
//!
//! Where several nodes serve, each gives its share of the limit and nobody is asked: however requests are spread, all of them
//! together give no more than the limit, and a source whose requests all reach the same node gets that one's share. In the
//! minute in which a node comes it may be more: what the others gave before is not known to it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::http::HeaderMap;
use axum::http::{HeaderName, HeaderValue};
use quivive_app::admission::Source;

use crate::problem::{Code, Problem};

/// Routes that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Everything that compares a password.
    Login,
    Registration,
    /// Resets and verifications, asked for and confirmed.
    Recovery,
    Refresh,
    Read,
    Write,
    /// Questions of services about the tokens of those who call them.
    Introspection,
    /// Addresses stated with a key that is not good for it: each costs a read.
    Statement,
}

impl Family {
    /// Requests a minute.
    pub const fn limit(self) -> u32 {
        match self {
            Self::Login => 30,
            Self::Registration | Self::Recovery => 10,
            Self::Refresh | Self::Write => 120,
            Self::Statement => 60,
            Self::Read => 600,
            Self::Introspection => 6_000,
        }
    }

    /// For metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Registration => "registration",
            Self::Recovery => "recovery",
            Self::Refresh => "refresh",
            Self::Read => "read",
            Self::Write => "write",
            Self::Introspection => "introspection",
            Self::Statement => "statement",
        }
    }
}

const WINDOW_MS: u64 = 60_000;

/// Sources and families remembered at once, some 5 MB. Idle ones go first; under a flood from more sources than that, some
/// that are not idle.
const MAX_ENTRIES: usize = 100_000;
const SHARDS: usize = 16;

/// How many entries a full table looks at to find one that matters least.
const SAMPLE: usize = 8;

/// The two minutes that matter of one source.
#[derive(Debug, Clone, Copy)]
struct Counter {
    /// When the current window began, in milliseconds since the table was made.
    began_ms: u64,
    count: u32,
    previous: u32,
}

impl Counter {
    fn roll(&mut self, now_ms: u64) {
        let windows = now_ms.saturating_sub(self.began_ms) / WINDOW_MS;
        if windows > 0 {
            self.previous = if windows == 1 { self.count } else { 0 };
            self.count = 0;
            self.began_ms += windows * WINDOW_MS;
        }
    }

    /// How many count now: the whole of this window, and the part of the last one that is still within a minute.
    fn weight(&self, now_ms: u64) -> u64 {
        let left = WINDOW_MS.saturating_sub(now_ms.saturating_sub(self.began_ms));
        u64::from(self.count) + u64::from(self.previous) * left / WINDOW_MS
    }

    fn is_idle(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.began_ms) >= 2 * WINDOW_MS
    }

    /// Milliseconds until the weight falls below the limit, if nothing more comes.
    fn wait_ms(&self, now_ms: u64, limit: u32) -> u64 {
        let mut later = *self;
        let mut at = now_ms;
        loop {
            let end = later.began_ms + WINDOW_MS;
            let room = u64::from(limit.saturating_sub(later.count));
            if later.count < limit && later.previous > 0 {
                // The first moment at which previous × left / window < room.
                let left = (room * WINDOW_MS).saturating_sub(1) / u64::from(later.previous);
                let free = end.saturating_sub(left).max(at);
                if free < end {
                    return free - now_ms;
                }
            } else if later.count < limit {
                return at - now_ms;
            }
            at = end;
            later.roll(end);
        }
    }
}

/// What a source may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub limit: u32,
    pub remaining: u32,
    /// Until the current window ends.
    pub reset_secs: u64,
    /// Set when the request is refused.
    pub retry_after_secs: Option<u64>,
}

impl Standing {
    pub(crate) fn refusal(&self) -> Option<Problem> {
        let secs = self.retry_after_secs?;
        Some(Problem::new(Code::RateLimited).and_retry_after(secs))
    }

    /// The fields of draft-ietf-httpapi-ratelimit-headers as they are in use.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
        const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
        const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset_secs));
    }
}

type Key = (Source, Family);

/// A part of the table.
#[derive(Default)]
struct Shard {
    counters: HashMap<Key, Counter>,
    /// When idle entries were last looked for.
    swept_ms: u64,
}

/// A full shard looks for idle entries no more often than that.
const SWEEP_MS: u64 = 1_000;

/// Counts requests.
pub(crate) struct Limits {
    born: Instant,
    /// How many nodes serve.
    nodes: Box<dyn Fn() -> u32 + Send + Sync>,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl Limits {
    pub(crate) fn new(nodes: impl Fn() -> u32 + Send + Sync + 'static) -> Self {
        Self {
            born: Instant::now(),
            nodes: Box::new(nodes),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// What this node gives.
    fn limit(&self, family: Family) -> u32 {
        (family.limit() / (self.nodes)().max(1)).max(1)
    }

    /// Counts one request of a source, unless that would be too many.
    pub(crate) fn count(&self, ip: Option<IpAddr>, family: Family) -> Standing {
        self.count_at(ip, family, self.now_ms())
    }

    /// Whether one more would be too many. Counts nothing.
    pub(crate) fn is_spent(&self, ip: Option<IpAddr>, family: Family) -> bool {
        let now_ms = self.now_ms();
        let key = (Source::of(ip), family);
        let limit = self.limit(family);
        let mut table = self.shard(&key);
        table.counters.get_mut(&key).is_some_and(|counter| {
            counter.roll(now_ms);
            counter.weight(now_ms) >= u64::from(limit)
        })
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        let shard = self.hasher.hash_one(key) % SHARDS as u64;
        self.shards[usize::try_from(shard).unwrap_or(0)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn count_at(&self, ip: Option<IpAddr>, family: Family, now_ms: u64) -> Standing {
        let key = (Source::of(ip), family);
        let mut table = self.shard(&key);
        if !table.counters.contains_key(&key) {
            table.make_room(now_ms);
        }
        let counter = table.counters.entry(key).or_insert(Counter {
            began_ms: now_ms,
            count: 0,
            previous: 0,
        });
        counter.roll(now_ms);
        let limit = self.limit(family);
        let weight = counter.weight(now_ms);
        let refused = weight >= u64::from(limit);
        if !refused {
            counter.count += 1;
        }
        let used = u32::try_from(weight).unwrap_or(limit) + u32::from(!refused);
        Standing {
            limit,
            remaining: limit.saturating_sub(used),
            reset_secs: (counter.began_ms + WINDOW_MS)
                .saturating_sub(now_ms)
                .div_ceil(1_000),
            retry_after_secs: refused
                .then(|| counter.wait_ms(now_ms, limit).div_ceil(1_000).max(1)),
        }
    }
}

impl Shard {
    /// Keeps the shard within its share: idle entries go, else the least used of a few.
    fn make_room(&mut self, now_ms: u64) {
        let full = |shard: &Self| shard.counters.len() >= MAX_ENTRIES / SHARDS;
        if full(self) && now_ms >= self.swept_ms + SWEEP_MS {
            self.swept_ms = now_ms;
            self.counters.retain(|_, counter| !counter.is_idle(now_ms));
        }
        if full(self) {
            let few = self.counters.iter().take(SAMPLE);
            let least = few
                .min_by_key(|(_, counter)| counter.weight(now_ms))
                .map(|(key, _)| *key);
            least.map(|key| self.counters.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as the table takes it")]
    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_source_gets_its_limit_and_then_a_time_to_wait() {
        let limits = Limits::new(|| 1);
        for (family, limit) in [
            (Family::Login, 30),
            (Family::Registration, 10),
            (Family::Recovery, 10),
        ] {
            for i in 0..limit {
                let standing = limits.count_at(ip("192.0.2.1"), family, u64::from(i));
                assert_eq!(
                    (standing.remaining, standing.retry_after_secs),
                    (limit - i - 1, None)
                );
            }
            let standing = limits.count_at(ip("192.0.2.1"), family, 1_000);
            assert_eq!(standing.limit, limit);
            let wait = standing.retry_after_secs.unwrap();
            assert!((59..=63 + 60 / u64::from(limit)).contains(&wait), "{wait}");
            assert!(standing.refusal().is_some());
            // The wait that was said is long enough, and a second less would not have been.
            let after = 1_000 + wait * 1_000;
            assert!(
                limits
                    .count_at(ip("192.0.2.1"), family, after - 2_000)
                    .refusal()
                    .is_some()
            );
            assert!(
                limits
                    .count_at(ip("192.0.2.1"), family, after)
                    .refusal()
                    .is_none()
            );
        }
    }

    #[test]
    fn nodes_share_a_limit() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicU32, Ordering};

        let nodes = Arc::new(AtomicU32::new(2));
        let one = || {
            let nodes = Arc::clone(&nodes);
            Limits::new(move || nodes.load(Ordering::Relaxed))
        };
        let given = |limits: &Limits| {
            let count = |_: &u64| {
                let standing = limits.count_at(ip("192.0.2.1"), Family::Login, 0);
                standing.refusal().is_none()
            };
            (0..100).filter(count).count()
        };
        assert_eq!(given(&one()) + given(&one()), 30);
        nodes.store(7, Ordering::Relaxed);
        let all: usize = (0..7).map(|_| given(&one())).sum();
        assert!((21..=30).contains(&all), "{all}");
        nodes.store(0, Ordering::Relaxed);
        assert_eq!(given(&one()), 30, "before anybody was counted");
    }

    #[test]
    fn no_minute_holds_much_more_than_the_limit() {
        let limits = Limits::new(|| 1);
        let mut admitted = Vec::new();
        for now_ms in (0..600_000).step_by(100) {
            if limits
                .count_at(ip("192.0.2.1"), Family::Login, now_ms)
                .refusal()
                .is_none()
            {
                admitted.push(now_ms);
            }
        }
        let most = admitted
            .iter()
            .map(|from| {
                admitted
                    .iter()
                    .filter(|at| (*from..from + 60_000).contains(*at))
                    .count()
            })
            .max();
        assert!((30..=36).contains(&most.unwrap()), "{most:?}");
        assert!((250..=330).contains(&admitted.len()), "{}", admitted.len());
    }

    #[test]
    fn the_table_stays_bounded_and_keeps_the_busy_ones() {
        let limits = Limits::new(|| 1);
        for _ in 0..30 {
            limits.count_at(ip("192.0.2.1"), Family::Login, 0);
        }
        for i in 0..150_000_u32 {
            let source = Some(IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + i)));
            limits.count_at(source, Family::Read, 1);
        }
        let entries = || {
            limits
                .shards
                .iter()
                .map(|s| s.lock().unwrap().counters.len())
                .sum::<usize>()
        };
        assert!(entries() <= MAX_ENTRIES, "{}", entries());
        assert!(
            limits
                .count_at(ip("192.0.2.1"), Family::Login, 2)
                .refusal()
                .is_some()
        );
        // A while later all of them are idle, and the first newcomers sweep them out.
        for i in 0..1_000_u32 {
            let source = Some(IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0b00_0000 + i)));
            limits.count_at(source, Family::Read, 300_000);
        }
        assert!(entries() <= 2_000, "{}", entries());
    }
}
