//! What became of one delivery, and what that means: again at once, again later, or never.

use std::time::Duration;

use super::mutant::{self, Mutant};
use super::terms::Now;
use crate::Time;
use crate::envelope::Envelope;
use crate::events::UndoRequested;
pub(in crate::engine) use crate::subscriber::ErrorClass as Class;
use crate::subscriber::{Effects, Fact, Outcome, Retry};

/// Longest error text that is kept, in characters: it is for a table cell, not a log.
const ERROR_LIMIT: usize = 500;
/// Each wait in a lane is this many times the one before.
const FACTOR: u32 = 4;
/// The text of a panic may hold anything, so only the word is kept. It also tells a restarted engine of the first panic.
pub(in crate::engine) const PANICKED: &str = "panicked";

pub(super) const CRASHED: &str = "the process ended while it was under way, again and again";
pub(super) const TIMED_OUT: &str = "timed out";

/// How one delivery ended.
#[derive(Debug)]
pub(in crate::engine) enum Verdict {
    Done,
    DoneWith(Effects),
    Retry(String),
    RetryAfter(Duration, String),
    GiveUp(String),
    Poison(String),
    Pause(String),
    /// The half of a batch that it was in failed, and nobody knows by whose fault: tried again alone, in a lane.
    Alone(String),
    TimedOut,
    Panicked,
}

impl Verdict {
    /// What an operator is told of a failure.
    pub(in crate::engine) fn text(&self) -> &str {
        match self {
            Self::Done | Self::DoneWith(_) => "",
            Self::Retry(text)
            | Self::RetryAfter(_, text)
            | Self::GiveUp(text)
            | Self::Poison(text)
            | Self::Pause(text)
            | Self::Alone(text) => text,
            Self::TimedOut => TIMED_OUT,
            Self::Panicked => PANICKED,
        }
    }
}

impl Verdict {
    pub(in crate::engine) fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::DoneWith(_))
    }

    /// Whether the target answered; a refusal is an answer. `None`: it does not say.
    pub(super) fn is_answer(&self) -> Option<bool> {
        match self {
            Self::Retry(_) | Self::RetryAfter(..) | Self::TimedOut | Self::Panicked => Some(false),
            Self::Done | Self::DoneWith(_) | Self::GiveUp(_) | Self::Poison(_) => Some(true),
            Self::Alone(_) | Self::Pause(_) => None,
        }
    }
}

impl Verdict {
    /// What a handler of this subscription said of an event.
    pub(in crate::engine) fn of(outcome: Outcome, subscription: &str, event: &Envelope) -> Self {
        match outcome {
            Outcome::Done => Self::Done,
            Outcome::DoneWith(effects) if effects.is_empty() => Self::Done,
            Outcome::DoneWith(effects) => Self::DoneWith(effects),
            Outcome::Retry(text) => Self::Retry(text),
            Outcome::RetryAfter(wait, text) => Self::RetryAfter(wait, text),
            Outcome::GiveUp(text) => Self::GiveUp(text),
            Outcome::Poison(text) => Self::Poison(text),
            Outcome::Pause(text) => Self::Pause(text),
            Outcome::Undo(reason) => {
                let requested = UndoRequested {
                    subscription: subscription.to_owned(),
                    event_id: event.id,
                    event_type: event.kind.clone(),
                    reason,
                };
                match Fact::of(&requested) {
                    Ok(fact) => Self::DoneWith(Effects {
                        writes: Vec::new(),
                        facts: vec![fact],
                    }),
                    Err(error) => Self::GiveUp(error.to_string()),
                }
            }
        }
    }
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) class: Class,
    pub(super) text: String,
    /// Not tried again before this much time has passed.
    pub(super) not_before: Duration,
    /// Whether it may be tried again without a lane.
    quick: bool,
    /// It may be another event's fault.
    of_batch: bool,
}

impl Failure {
    pub(super) fn new(class: Class, mut text: String) -> Self {
        if let Some((end, _)) = text.char_indices().nth(ERROR_LIMIT) {
            text.truncate(end);
        }
        Self {
            class,
            text,
            not_before: Duration::ZERO,
            quick: true,
            of_batch: false,
        }
    }

    pub(super) fn rate_limited(wait: Duration, text: String) -> Self {
        Self {
            not_before: if mutant::is(Mutant::WaitIgnored) {
                Duration::ZERO
            } else {
                wait
            },
            ..Self::new(Class::RateLimited, text)
        }
    }

    /// Of a batch that failed as a whole.
    pub(super) fn of_batch(text: String) -> Self {
        Self {
            quick: false,
            of_batch: true,
            ..Self::new(Class::Transient, text)
        }
    }

    pub(super) fn is_of_batch(&self) -> bool {
        self.of_batch
    }

    /// A panic is transient the first time and poison the second.
    pub(super) fn panic(panics: u8) -> Self {
        let class = if panics < 2 {
            Class::Transient
        } else {
            Class::Poison
        };
        Self::new(class, PANICKED.to_owned())
    }

    /// It is not tried again at once.
    pub(super) fn slow(self) -> Self {
        let quick = false;
        Self { quick, ..self }
    }

    /// Whether nothing may be tried again, whatever the policy says.
    pub(super) fn is_final(&self) -> bool {
        match self.class {
            Class::Permanent | Class::Poison => true,
            Class::Transient | Class::RateLimited => false,
        }
    }
}

/// What follows a failed attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Again in the window, after this much time.
    Quick(Duration),
    /// Again in the lane.
    Later(Time),
    Park,
}

/// What a failed attempt in the window is followed by. `attempts` counts it.
pub(super) fn in_window(
    retry: &Retry,
    failure: &Failure,
    attempts: u32,
    now: Now,
    rng: &mut Rng,
) -> Next {
    let quick = retry.quick.get(attempts as usize - 1);
    match quick {
        Some(&pause)
            if failure.quick && !spent(retry, failure, attempts) && failure.not_before <= pause =>
        {
            Next::Quick(pause)
        }
        _ => in_lane(retry, failure, attempts, now.wall, now, rng),
    }
}

/// What a failed attempt in a lane is followed by. `attempts` counts it, `since` is when the event first failed.
pub(super) fn in_lane(
    retry: &Retry,
    failure: &Failure,
    attempts: u32,
    since: Time,
    now: Now,
    rng: &mut Rng,
) -> Next {
    let last = later(since, retry.max_age);
    if spent(retry, failure, attempts) || now.wall >= last {
        return Next::Park;
    }
    let wait = jittered(retry, attempts, rng);
    // The last attempt is made when the age is reached, not hours after it, unless the handler asked for that.
    let due = later(now.wall, wait).min(last);
    Next::Later(due.max(later(now.wall, failure.not_before.min(retry.max_age))))
}

fn spent(retry: &Retry, failure: &Failure, attempts: u32) -> bool {
    failure.is_final()
        || (attempts >= retry.max_attempts && !mutant::is(Mutant::AttemptsNotCounted))
}

/// Exponential with full jitter: anything from nothing to the ceiling, so that what failed together does not return together.
fn jittered(retry: &Retry, attempts: u32, rng: &mut Rng) -> Duration {
    let earlier = attempts
        .saturating_sub(1)
        .saturating_sub(u32::try_from(retry.quick.len()).unwrap_or(u32::MAX));
    if let Some(wait) = retry.schedule.get(earlier as usize) {
        let spread = u64::try_from(wait.as_micros() / 10).unwrap_or(u64::MAX);
        return *wait + Duration::from_micros(rng.up_to(spread));
    }
    let ceiling = FACTOR
        .checked_pow(earlier)
        .and_then(|times| retry.base.checked_mul(times))
        .map_or(retry.cap, |wait| wait.min(retry.cap));
    let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(rng.up_to(micros))
}

/// A time this much later, at most the last there is.
pub(super) fn later(time: Time, wait: Duration) -> Time {
    time.checked_add(wait).unwrap_or(Time::MAX)
}

/// Pseudo-random numbers for jitter alone (`SplitMix64`); seeded, so that a run can be repeated.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Rng(u64);

impl Rng {
    pub(in crate::engine) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(in crate::engine) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `most`, both included.
    pub(in crate::engine) fn up_to(&mut self, most: u64) -> u64 {
        let drawn = self.next();
        most.checked_add(1).map_or(drawn, |count| drawn % count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest that each attempt may be followed by, until the event is parked.
    fn ceilings(retry: &Retry) -> Vec<Duration> {
        let now = Now {
            tick: Duration::ZERO,
            wall: Time::UNIX_EPOCH,
        };
        let failure = || Failure::new(Class::Transient, String::new());
        let mut ceilings = Vec::new();
        for attempts in 1.. {
            let mut longest = Duration::ZERO;
            for seed in 0..200 {
                let mut rng = Rng::seeded(seed);
                match in_window(retry, &failure(), attempts, now, &mut rng) {
                    Next::Quick(pause) => longest = pause,
                    Next::Later(due) => {
                        let wait = Duration::try_from(due.duration_since(now.wall)).unwrap();
                        longest = longest.max(wait);
                    }
                    Next::Park => return ceilings,
                }
            }
            ceilings.push(longest);
        }
        ceilings
    }

    #[test]
    fn presets_say_how_often_and_how_late() {
        assert!(ceilings(&Retry::NONE).is_empty());
        let millis = Duration::from_millis;
        for (retry, attempts, quick, base) in [
            (Retry::DEFAULT, 12, vec![millis(50), millis(250)], 1_000),
            (
                Retry::AGGRESSIVE,
                100,
                vec![millis(20), millis(100), millis(500)],
                500,
            ),
            (Retry::CONSERVATIVE, 8, vec![], 30_000),
        ] {
            let waits = ceilings(&retry);
            assert_eq!(waits.len() + 1, attempts);
            assert_eq!(waits[..quick.len()], quick[..]);
            let mut ceiling = millis(base);
            for wait in &waits[quick.len()..] {
                // The longest of 200 draws is near the ceiling.
                assert!(
                    *wait <= ceiling && *wait >= ceiling * 9 / 10,
                    "{wait:?} of {ceiling:?}"
                );
                ceiling = (ceiling * FACTOR).min(retry.cap);
            }
        }
    }

    #[test]
    fn a_schedule_is_kept_with_little_jitter() {
        let waits = ceilings(&Retry::WEBHOOK);
        let schedule = Retry::WEBHOOK.schedule;
        assert_eq!(waits.len(), schedule.len());
        for (wait, stated) in waits.iter().zip(schedule) {
            assert!(wait >= stated && *wait <= *stated * 11 / 10);
        }
    }

    #[test]
    fn what_is_final_is_not_tried_again() {
        let now = Now {
            tick: Duration::ZERO,
            wall: Time::UNIX_EPOCH,
        };
        for class in [Class::Permanent, Class::Poison] {
            let failure = Failure::new(class, String::new());
            let next = in_window(&Retry::DEFAULT, &failure, 1, now, &mut Rng::seeded(0));
            assert_eq!(next, Next::Park);
        }
        assert_eq!(Failure::panic(1).class, Class::Transient);
        assert_eq!(Failure::panic(2).class, Class::Poison);
    }
}
