//! The breaker: tells a target that is away from events that are bad.
//!
//! **Guarantees.** When half of twenty calls within [`WITHIN`] fail, nothing more is begun for half a minute, twice as
//! long after each probe that fails. Then one call at a time is a probe, and three that are answered close it. Where all events wait for
//! each other, one call that fails is enough, for as long as the subscription's retry says, and one probe.
//!
//! **Counted** are first attempts alone: how the second attempt at an event goes says little of the target, and the retries
//! of one stuck key must not hold up the others. A call that the handler gave up on was answered.
//!
//! **Not here.** What becomes of the events meanwhile: see `Machine::failed`. Nothing of it is stored; a restart begins
//! closed.

use std::collections::VecDeque;
use std::time::Duration;

use crate::subscriber::{Order, Retry};

const WITHIN: Duration = Duration::from_mins(1);

/// When it opens, for how long, and what closes it.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// Calls that are looked at.
    calls: usize,
    /// Of these, so many failures open it.
    failures: usize,
    open_for: Duration,
    open_for_most: Duration,
    /// Probes that are answered, to close it.
    probes: u32,
}

impl Terms {
    const DEFAULT: Self = Self {
        calls: 20,
        failures: 10,
        open_for: Duration::from_secs(30),
        open_for_most: Duration::from_mins(10),
        probes: 3,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        until: Duration,
    },
    /// `probe` is the position of the call under way.
    HalfOpen {
        probe: Option<u64>,
        answered: u32,
    },
}

/// What may begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admits {
    Anything,
    OneProbe,
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Opened { failures: u32 },
    Closed,
}

#[derive(Debug)]
pub(super) struct Breaker {
    terms: Terms,
    state: State,
    /// The last first attempts: when they ended, and whether they failed.
    calls: VecDeque<(Duration, bool)>,
    open_for: Duration,
}

impl Breaker {
    pub(super) fn of(order: Order, retry: &Retry) -> Self {
        Self::with(match order {
            Order::Key | Order::None => Terms::DEFAULT,
            Order::Log => Terms {
                calls: 1,
                failures: 1,
                open_for: retry.base,
                open_for_most: retry.cap,
                probes: 1,
            },
        })
    }

    fn with(terms: Terms) -> Self {
        Self {
            terms,
            state: State::Closed,
            calls: VecDeque::with_capacity(terms.calls),
            open_for: terms.open_for,
        }
    }

    /// Opens it if it is closed, whatever was counted.
    pub(super) fn open(&mut self, tick: Duration) -> Option<Change> {
        if !self.is_closed() {
            return None;
        }
        self.state = State::Open {
            until: tick + self.open_for,
        };
        Some(Change::Opened { failures: 1 })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    pub(super) fn is_probe(&self, position: u64) -> bool {
        matches!(self.state, State::HalfOpen { probe: Some(probe), .. } if probe == position)
    }

    pub(super) fn admits(&self, tick: Duration) -> Admits {
        match self.state {
            State::Closed => Admits::Anything,
            State::Open { until } if until <= tick => Admits::OneProbe,
            State::HalfOpen { probe: None, .. } => Admits::OneProbe,
            State::Open { .. } | State::HalfOpen { .. } => Admits::Nothing,
        }
    }

    /// A call begins that [`Self::admits`] let pass.
    pub(super) fn begun(&mut self, position: u64) {
        let answered = match self.state {
            State::Closed => return,
            State::Open { .. } => 0,
            State::HalfOpen { answered, .. } => answered,
        };
        self.state = State::HalfOpen {
            probe: Some(position),
            answered,
        };
    }

    /// A probe did not come to be, or says nothing: the next may begin.
    pub(super) fn withdraw(&mut self, position: u64) {
        if let State::HalfOpen { probe, .. } = &mut self.state {
            probe.take_if(|probe| *probe == position);
        }
    }

    /// A call ended.
    pub(super) fn ended(
        &mut self,
        position: u64,
        first: bool,
        failed: bool,
        tick: Duration,
    ) -> Option<Change> {
        match &mut self.state {
            State::Closed if first => self.count(failed, tick),
            State::HalfOpen { probe, answered } if *probe == Some(position) => {
                if failed {
                    self.open_for = (self.open_for * 2).min(self.terms.open_for_most);
                    self.state = State::Open {
                        until: tick + self.open_for,
                    };
                    return None;
                }
                *probe = None;
                *answered += 1;
                if *answered < self.terms.probes {
                    return None;
                }
                *self = Self::with(self.terms);
                Some(Change::Closed)
            }
            // It began before; what is known of the target is newer.
            State::Closed | State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// When time alone changes something.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    fn count(&mut self, failed: bool, tick: Duration) -> Option<Change> {
        if self.calls.len() == self.terms.calls {
            self.calls.pop_front();
        }
        self.calls.push_back((tick, failed));
        if !failed || self.calls.len() < self.terms.calls || self.calls[0].0 + WITHIN < tick {
            return None;
        }
        let failures = self.calls.iter().filter(|(_, failed)| *failed).count();
        if failures < self.terms.failures {
            return None;
        }
        self.calls.clear();
        self.state = State::Open {
            until: tick + self.open_for,
        };
        Some(Change::Opened {
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn opened() -> Breaker {
        let mut breaker = Breaker::with(Terms::DEFAULT);
        for call in 0..19 {
            assert_eq!(breaker.ended(call, true, call % 2 == 0, S), None);
        }
        assert_eq!(breaker.ended(19, true, false, S), None, "not by an answer");
        let change = breaker.ended(20, true, true, S);
        assert_eq!(change, Some(Change::Opened { failures: 10 }));
        breaker
    }

    #[test]
    fn half_of_twenty_open_it_for_thirty_seconds_and_three_probes_close_it() {
        let mut breaker = opened();
        assert_eq!(breaker.admits(30 * S), Admits::Nothing);
        assert_eq!(breaker.next_wake(), Some(31 * S));
        for probe in 30..33 {
            assert_eq!(breaker.admits(31 * S), Admits::OneProbe);
            breaker.begun(probe);
            assert_eq!(breaker.admits(31 * S), Admits::Nothing, "one at a time");
            assert_eq!(breaker.ended(7, true, true, 31 * S), None, "no probe");
            let change = breaker.ended(probe, false, false, 32 * S);
            assert_eq!(change, (probe == 32).then_some(Change::Closed));
        }
        assert_eq!(breaker.admits(32 * S), Admits::Anything);
    }

    #[test]
    fn a_failed_probe_doubles_the_wait_up_to_ten_minutes() {
        let mut breaker = opened();
        let mut tick = 31 * S;
        for wait in [60, 120, 240, 480, 600, 600] {
            assert_eq!(breaker.admits(tick), Admits::OneProbe);
            breaker.begun(1);
            assert_eq!(breaker.ended(1, true, true, tick), None);
            assert_eq!(breaker.next_wake(), Some(tick + wait * S));
            tick += wait * S;
        }
    }

    #[test]
    fn retries_and_slow_trouble_do_not_open_it() {
        let mut breaker = Breaker::with(Terms::DEFAULT);
        for call in 0..100 {
            assert_eq!(breaker.ended(call, false, true, S), None);
        }
        for call in 0..100u32 {
            assert_eq!(breaker.ended(1, true, true, 4 * S * call), None);
        }
    }
}
