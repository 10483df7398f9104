//! The pulse: how many keys there are, and how many of them got a lane of late.
//!
//! When more than one key in [`SHARE`] and at least [`KEYS`] got lanes within [`WITHIN`], it is the target, not the events:
//! the subscription is to be paused before all of it lies in lanes.
//!
//! **Not exact.** Active keys are estimated from a bitmap (linear counting, some percent off; beyond some 70,000 it says
//! fewer than there are). Exact would be a set of keys, for something that hardly ever happens.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::envelope::Stored;
use crate::subscriber::Order;

const KEYS: usize = 20;
/// Five percent.
const SHARE: f64 = 20.0;
const WITHIN: Duration = Duration::from_mins(5);

/// The bitmaps rotate, one for each minute.
const MINUTE: Duration = Duration::from_mins(1);
const MINUTES: usize = 5;
const WORDS: usize = 128;
const BITS: usize = WORDS * 64;

#[derive(Debug)]
pub(super) struct Pulse {
    /// The oldest first.
    minutes: VecDeque<Box<[u64; WORDS]>>,
    /// When the last minute began.
    began: Duration,
    lanes: VecDeque<(Duration, u64)>,
    /// How many lanes of each key are in `lanes`.
    keys: HashMap<u64, u32>,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            minutes: VecDeque::new(),
            began: Duration::ZERO,
            lanes: VecDeque::new(),
            keys: HashMap::new(),
        }
    }

    /// A key is active.
    pub(super) fn active(&mut self, key: u64, tick: Duration) {
        if self.minutes.is_empty() || tick >= self.began + MINUTE {
            if self.minutes.len() == MINUTES {
                self.minutes.pop_front();
            }
            self.minutes.push_back(Box::new([0; WORDS]));
            self.began = tick;
        }
        if let Some(minute) = self.minutes.back_mut() {
            let bit = usize::try_from(key % BITS as u64).unwrap_or_default();
            minute[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// A key got a lane. Says how many did of late, if that is too many.
    pub(super) fn lane(&mut self, key: u64, tick: Duration) -> Option<u32> {
        self.lanes.push_back((tick, key));
        *self.keys.entry(key).or_default() += 1;
        while let Some((_, old)) = self.lanes.pop_front_if(|(at, _)| *at + WITHIN < tick) {
            if let Some(count) = self.keys.get_mut(&old) {
                *count -= 1;
                if *count == 0 {
                    self.keys.remove(&old);
                }
            }
        }
        let lanes = self.keys.len();
        let too_many = lanes >= KEYS && as_float(lanes) * SHARE > self.estimate();
        too_many.then(|| u32::try_from(lanes).unwrap_or(u32::MAX))
    }

    fn estimate(&self) -> f64 {
        let mut free = 0;
        for word in 0..WORDS {
            let all = self
                .minutes
                .iter()
                .fold(0, |all, minute| all | minute[word]);
            free += all.count_zeros() as usize;
        }
        let bits = as_float(BITS);
        -bits * (as_float(free.max(1)) / bits).ln()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn as_float(count: usize) -> f64 {
    count as f64
}

/// What tells the key of one event from another's. Keys end in an id or a digest, so their last bytes do; not for more than
/// an estimate.
pub(super) fn mark_of(order: Order, event: &Stored) -> u64 {
    match order {
        Order::None | Order::Log => mix(event.position),
        Order::Key => {
            let bytes = event.envelope.key.as_str().as_bytes();
            let tail = &bytes[bytes.len().saturating_sub(16)..];
            tail.chunks(8).fold(0, |mark, chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                mix(mark ^ u64::from_le_bytes(word))
            })
        }
    }
}

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word ^ (word >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn mark(key: u64) -> u64 {
        mix(mix(key))
    }

    fn with(keys: u64) -> Pulse {
        let mut pulse = Pulse::new();
        (0..keys).for_each(|key| pulse.active(mark(key), S));
        pulse
    }

    #[test]
    fn twenty_keys_of_a_few_are_too_many() {
        let mut pulse = with(100);
        for key in 0..19 {
            assert_eq!(pulse.lane(mark(key), 2 * S), None);
        }
        assert_eq!(pulse.lane(mark(0), 2 * S), None, "the same key again");
        assert_eq!(pulse.lane(mark(19), 2 * S), Some(20));
    }

    #[test]
    fn of_many_keys_it_takes_five_percent() {
        for keys in [1_000, 10_000, 40_000] {
            let mut pulse = with(keys);
            let told = (0..keys).find(|key| pulse.lane(mark(*key), 2 * S).is_some());
            let per_thousand = told.unwrap() * 1000 / keys;
            assert!((45..55).contains(&per_thousand), "{per_thousand} of {keys}");
        }
    }

    #[test]
    fn what_is_older_than_five_minutes_is_forgotten() {
        let mut pulse = with(10);
        for key in 0..100 {
            assert_eq!(
                pulse.lane(mark(key), 16 * S * u32::try_from(key).unwrap()),
                None
            );
        }
        let mut pulse = with(10_000);
        for minute in 1..10 {
            pulse.active(mark(1), MINUTE * minute + S);
        }
        assert!(pulse.estimate() < 2.0, "{}", pulse.estimate());
    }
}
