//! The machine's time and randomness: the one place that reads either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quivive_delivery::{Clock, Ids, Time};
use uuid::{Builder, Uuid};

/// The wall clock, in whole microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Time {
        let now = Time::now();
        Time::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

/// How many parts of a millisecond an id tells apart: the 12 bits that RFC 9562, 6.2 method 3 gives to the clock.
const PARTS_OF_A_MILLISECOND: u64 = 1 << 12;

/// Identifiers by the clock (UUID version 7, RFC 9562), randomness from aws-lc.
///
/// Each id sorts after all that this value gave before, also when the clock stands still or steps back: then the newest
/// time goes on by one part. 62 bits are random, so that processes do not collide and the next id cannot be guessed.
pub struct SystemIds {
    clock: Arc<dyn Clock>,
    /// Milliseconds since 1970 and parts of one, as given last.
    last: AtomicU64,
}

impl SystemIds {
    /// `clock` is the product's, so that ids follow a clock that a test sets.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            last: AtomicU64::new(0),
        }
    }

    fn stamp(&self) -> u64 {
        let microseconds = u64::try_from(self.clock.now().as_microsecond()).unwrap_or(0);
        let parts = microseconds % 1_000 * PARTS_OF_A_MILLISECOND / 1_000;
        let now = microseconds / 1_000 * PARTS_OF_A_MILLISECOND + parts;
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let stamp = now.max(last + 1);
            match self
                .last
                .compare_exchange_weak(last, stamp, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return stamp,
                Err(newer) => last = newer,
            }
        }
    }
}

impl Ids for SystemIds {
    fn next(&self) -> Uuid {
        let stamp = self.stamp();
        let mut rest = [0; 10];
        self.random(&mut rest[2..]);
        let parts = u16::try_from(stamp % PARTS_OF_A_MILLISECOND).unwrap_or(0);
        rest[..2].copy_from_slice(&parts.to_be_bytes());
        Builder::from_unix_timestamp_millis(stamp / PARTS_OF_A_MILLISECOND, &rest).into_uuid()
    }

    /// Panics when the system has no randomness to give: nothing that follows could be kept secret.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the source of randomness"
    )]
    fn random(&self, bytes: &mut [u8]) {
        aws_lc_rs::rand::fill(bytes)
            .expect("the system's random generator never fails once seeded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Still(Time);

    impl Clock for Still {
        fn now(&self) -> Time {
            self.0
        }
    }

    #[test]
    fn the_clock_tells_whole_microseconds() {
        assert_eq!(SystemClock.now().as_nanosecond() % 1_000, 0);
    }

    #[test]
    fn ids_carry_the_time_and_their_version() {
        let time = Time::from_millisecond(1_762_000_000_123).expect("a time");
        let id = SystemIds::new(Arc::new(Still(time))).next();
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        let (seconds, nanos) = id.get_timestamp().expect("version 7").to_unix();
        assert_eq!((seconds, nanos / 1_000_000), (1_762_000_000, 123));
    }

    #[test]
    fn ids_increase_while_the_clock_stands_still() {
        let ids = SystemIds::new(Arc::new(Still(
            Time::from_second(1_762_000_000).expect("a time"),
        )));
        let given: Vec<Uuid> = (0..20_000).map(|_| ids.next()).collect();
        assert!(given.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn ids_of_all_threads_are_distinct_and_increase_on_each() {
        let ids = SystemIds::new(Arc::new(SystemClock));
        let mut all: Vec<Uuid> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..5_000).map(|_| ids.next()).collect::<Vec<_>>()))
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| {
                    let given = thread.join().expect("no panic");
                    assert!(given.is_sorted_by(|a, b| a < b));
                    given
                })
                .collect()
        });
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 20_000);
    }
}
