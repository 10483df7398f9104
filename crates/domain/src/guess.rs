//! How many wrong passwords a path takes before it closes, and for how long.
//!
//! A *path* is a way to try a password: the account's own, or that of one device that signed in before, so that a
//! stranger's guesses do not shut out the owner. A guess is **reserved** before it is evaluated, in a guarded write, so
//! that parallel guesses cannot pass the limit together.

use std::time::Duration;

use crate::Time;

/// The numbers. Defaults: 5 wrong in 15 minutes lock for 15 minutes, then 60, 60, …; after 100 in a row the account's
/// path stays closed until a success on a known device, or a reset, ends the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuessPolicy {
    pub limit: u32,
    pub window: Duration,
    pub first_lock: Duration,
    pub next_locks: Duration,
    pub hard_limit: u32,
}

impl Default for GuessPolicy {
    fn default() -> Self {
        Self {
            limit: 5,
            window: Duration::from_mins(15),
            first_lock: Duration::from_mins(15),
            next_locks: Duration::from_hours(1),
            hard_limit: 100,
        }
    }
}

/// The counters of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guesses {
    /// Start of the current window.
    pub window_from: Time,
    /// Guesses reserved in the window: evaluated ones and ones under way.
    pub reserved: u32,
    /// Wrong ones in the window.
    pub wrong: u32,
    /// Wrong ones since the last success.
    pub in_a_row: u32,
    /// Locks since the last success.
    pub locks: u32,
    pub locked_until: Option<Time>,
}

/// What a path says to one more guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may be reserved.
    Open,
    /// All places of the window are taken by guesses whose outcome is not known yet.
    Busy,
    /// Locked, or closed for good.
    Closed,
}

/// What a wrong guess leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterWrong {
    Open,
    LockedUntil(Time),
}

impl GuessPolicy {
    /// Whether one more guess may be reserved now. The store's guarded write states the same rule; this one tells a miss apart.
    pub fn admission(&self, guesses: &Guesses, now: Time) -> Admission {
        let locked = guesses.locked_until.is_some_and(|until| until > now);
        if locked || guesses.in_a_row >= self.hard_limit {
            return Admission::Closed;
        }
        if guesses.reserved < self.limit || self.window_over(guesses, now) {
            return Admission::Open;
        }
        if guesses.wrong >= self.limit {
            Admission::Closed
        } else {
            Admission::Busy
        }
    }

    /// What the path becomes when the guess that was reserved turns out wrong: its counters as of now are given.
    pub fn after_wrong(&self, guesses: &Guesses, now: Time) -> AfterWrong {
        let locked = guesses.locked_until.is_some_and(|until| until > now);
        if guesses.wrong + 1 < self.limit || locked {
            return AfterWrong::Open;
        }
        let lock = if guesses.locks == 0 {
            self.first_lock
        } else {
            self.next_locks
        };
        AfterWrong::LockedUntil(now + lock)
    }

    /// Before this moment a window is over.
    pub fn window_cutoff(&self, now: Time) -> Time {
        now - self.window
    }

    fn window_over(&self, guesses: &Guesses, now: Time) -> bool {
        guesses.window_from <= self.window_cutoff(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_second(1_000_000 + seconds).expect("in range")
    }

    fn guesses(reserved: u32, wrong: u32) -> Guesses {
        Guesses {
            window_from: at(0),
            reserved,
            wrong,
            in_a_row: wrong,
            locks: 0,
            locked_until: None,
        }
    }

    #[test]
    fn the_fifth_wrong_password_locks_and_the_next_lock_is_longer() {
        let policy = GuessPolicy::default();
        assert_eq!(policy.after_wrong(&guesses(4, 3), at(1)), AfterWrong::Open);
        assert_eq!(
            policy.after_wrong(&guesses(5, 4), at(1)),
            AfterWrong::LockedUntil(at(1 + 900))
        );
        let again = Guesses {
            locks: 1,
            ..guesses(5, 4)
        };
        assert_eq!(
            policy.after_wrong(&again, at(1)),
            AfterWrong::LockedUntil(at(1 + 3600))
        );
    }

    #[test]
    fn a_full_window_is_busy_until_its_guesses_are_known_and_over_after_its_time() {
        let policy = GuessPolicy::default();
        assert_eq!(policy.admission(&guesses(4, 0), at(1)), Admission::Open);
        assert_eq!(policy.admission(&guesses(5, 0), at(1)), Admission::Busy);
        assert_eq!(policy.admission(&guesses(5, 5), at(1)), Admission::Closed);
        assert_eq!(policy.admission(&guesses(5, 5), at(901)), Admission::Open);
        let locked = Guesses {
            locked_until: Some(at(2000)),
            ..guesses(5, 5)
        };
        assert_eq!(policy.admission(&locked, at(901)), Admission::Closed);
        let hopeless = Guesses {
            in_a_row: 100,
            ..guesses(0, 0)
        };
        assert_eq!(policy.admission(&hopeless, at(5000)), Admission::Closed);
    }
}
