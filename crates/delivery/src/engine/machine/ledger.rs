//! What of a subscription's state the database has, and when the rest is to be written.
//!
//! Every save is one commit of the cursor and all lanes that changed: a picture of the state at one moment. At most one
//! is under way.
//!
//! All subscriptions that save equally often do it at the same moments, so that their commits become durable together: apart,
//! each would cost a sync of its own, which the commits of everybody else wait for.

use std::time::Duration;

use super::lane::DeadLetter;
use super::lanes::Lanes;
use super::mutant::{self, Mutant};
use super::terms::Now;
use super::verdict::Rng;
use crate::engine::decisions::Decider;
use crate::envelope::Key;
use crate::subscriber::{Condition, StoredLane};

/// A cursor that has only moved over what was not wanted is written as rarely as this; at most half as long again, so that
/// hundreds of subscriptions do not do it at one moment. A kill costs reading those events again.
pub(in crate::engine) const REST: Duration = Duration::from_secs(40);
/// A save that failed is tried again after as long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// So many changed lanes are written without waiting, so that no save grows large.
const SAVE_LANES: usize = 256;

/// One commit of the engine's own state.
#[derive(Debug)]
pub(in crate::engine) struct Save {
    /// `None`: the cursor has not moved.
    pub(in crate::engine) cursor: Option<u64>,
    pub(in crate::engine) lanes: Vec<StoredLane>,
    pub(in crate::engine) drop: Vec<Key>,
    pub(in crate::engine) letters: Vec<DeadLetter>,
    pub(in crate::engine) alerts: Vec<Alert>,
    /// `None`: it has not changed.
    pub(in crate::engine) condition: Option<Condition>,
}

/// Something of a whole subscription that is told in an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum Alert {
    /// The breaker opened after so many failed calls.
    Opened(u32),
    Closed,
    /// So many keys got lanes that the subscription is paused.
    Paused(u32),
    Resumed,
    /// It lost so many events, for they were older than the log is kept.
    Expired {
        from: u64,
        to: u64,
        lost: u64,
    },
    /// So many dead letters go on.
    Redriven {
        count: u32,
        by: Decider,
    },
    /// So many dead letters are passed over.
    Discarded {
        count: u32,
        by: Decider,
        reason: String,
    },
}

#[derive(Debug)]
struct UnderWay {
    cursor: u64,
    rows: Vec<(StoredLane, Option<DeadLetter>)>,
    passed: Vec<(Key, u64)>,
    alerts: Vec<Alert>,
    answers: Vec<(u64, u64)>,
    condition: Option<Condition>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    /// A cursor that moves is written at most this often.
    every: Duration,
    /// The cursor in the database.
    saved: u64,
    /// Not before this, unless it is urgent.
    next: Duration,
    /// The same, while nothing that was wanted is behind the cursor.
    rest: Duration,
    /// Somebody needs to know that the cursor has come so far: there is no rest before.
    needed: u64,
    urgent: bool,
    failed: bool,
    under_way: Option<UnderWay>,
    alerts: Vec<Alert>,
    /// Orders that are answered, each with its count, when the database has what they changed.
    answers: Vec<(u64, u64)>,
    condition: Condition,
    /// The condition in the database.
    stored: Condition,
}

impl Ledger {
    pub(super) fn new(every: Duration, saved: u64, condition: Condition) -> Self {
        Self {
            every,
            saved,
            next: Duration::ZERO,
            rest: Duration::ZERO,
            needed: 0,
            urgent: false,
            failed: false,
            under_way: None,
            alerts: Vec::new(),
            answers: Vec::new(),
            condition,
            stored: condition,
        }
    }

    pub(super) fn condition(&self) -> &Condition {
        &self.condition
    }

    /// What is changed here is saved at once.
    pub(super) fn change(&mut self) -> &mut Condition {
        self.urgent = true;
        &mut self.condition
    }

    /// Whether the database says that this event is about to begin, and goes on saying so.
    pub(super) fn has_mark(&self, position: u64) -> bool {
        let written = self.under_way.as_ref().and_then(|save| save.condition);
        let after = written.unwrap_or(self.stored);
        self.stored.suspect == position && after.suspect == position
    }

    /// Tells the operator, in the log.
    pub(super) fn tell(&mut self, alert: Alert) {
        self.alerts.push(alert);
        self.urgent = true;
    }

    /// Whether the database does not know yet that events were lost.
    pub(super) fn owes_a_loss(&self) -> bool {
        let under_way = self.under_way.iter().flat_map(|save| &save.alerts);
        let mut untold = self.alerts.iter().chain(under_way);
        untold.any(|alert| matches!(alert, Alert::Expired { .. }))
    }

    /// Answers an operator's order when the database has all that it changed.
    pub(super) fn answer(&mut self, order: u64, count: u64) {
        self.answers.push((order, count));
        self.urgent = true;
    }

    /// Something must not wait for the next regular save.
    pub(super) fn hurry(&mut self) {
        self.urgent = true;
    }

    /// Whether the database has everything.
    pub(super) fn is_clean(&self, cursor: u64, lanes: &Lanes) -> bool {
        self.under_way.is_none() && !self.is_wanted(cursor, lanes)
    }

    /// When the next save is due. `taken` is the last event that was wanted.
    pub(super) fn next(&self, cursor: u64, taken: u64, lanes: &Lanes) -> Option<Duration> {
        if self.under_way.is_some() || !self.is_wanted(cursor, lanes) {
            return None;
        }
        if taken <= self.saved && !self.is_wanted(self.saved, lanes) {
            let rests = self.saved >= self.needed;
            return Some(if rests {
                self.next.max(self.rest)
            } else {
                self.next
            });
        }
        let hurry = (self.urgent || lanes.dirty() >= SAVE_LANES) && !self.failed;
        Some(if hurry { Duration::ZERO } else { self.next })
    }

    /// Somebody needs to know that the cursor has come to `upto`. Whether the database does not say so yet.
    pub(super) fn end_rest(&mut self, upto: u64) -> bool {
        self.needed = self.needed.max(upto);
        self.saved < upto
    }

    /// Takes what is to be written now.
    pub(super) fn begin(
        &mut self,
        cursor: u64,
        lanes: &mut Lanes,
        now: Now,
        rng: &mut Rng,
    ) -> Option<Save> {
        self.urgent = false;
        self.failed = false;
        self.next = after(now.tick, self.every);
        self.rest = now.tick + rest(rng);
        let cursor = lanes.limit(cursor);
        let passed = lanes.take_passed(cursor);
        let rows = lanes.take_rows();
        let moved = cursor > self.saved;
        let alerts = std::mem::take(&mut self.alerts);
        let answers = std::mem::take(&mut self.answers);
        let condition = (self.condition != self.stored).then_some(self.condition);
        if !moved
            && rows.is_empty()
            && passed.is_empty()
            && alerts.is_empty()
            && answers.is_empty()
            && condition.is_none()
        {
            return None;
        }
        let save = Save {
            cursor: moved.then_some(cursor),
            lanes: rows.iter().map(|(row, _)| row.clone()).collect(),
            drop: passed.iter().map(|(key, _)| key.clone()).collect(),
            letters: rows
                .iter()
                .filter_map(|(_, letter)| letter.clone())
                .collect(),
            alerts: alerts.clone(),
            condition,
        };
        self.under_way = Some(UnderWay {
            cursor,
            rows,
            passed,
            alerts,
            answers,
            condition,
        });
        Some(save)
    }

    /// A save ended. Says which orders are answered now.
    pub(super) fn end(&mut self, committed: bool, lanes: &mut Lanes, now: Now) -> Vec<(u64, u64)> {
        let Some(UnderWay {
            cursor,
            rows,
            passed,
            alerts,
            answers,
            condition,
        }) = self.under_way.take()
        else {
            return Vec::new();
        };
        if committed {
            self.saved = self.saved.max(cursor);
            self.stored = condition.unwrap_or(self.stored);
            lanes.saved(&rows, now);
            answers
        } else {
            self.failed = true;
            if !mutant::is(Mutant::AlertLost) {
                self.alerts.splice(0..0, alerts);
            }
            self.answers.splice(0..0, answers);
            self.next = now.tick + AGAIN_AFTER;
            lanes.unsaved(rows, passed, now);
            Vec::new()
        }
    }

    fn is_wanted(&self, cursor: u64, lanes: &Lanes) -> bool {
        cursor > self.saved
            || lanes.dirty() > 0
            || lanes.has_passed(cursor)
            || !self.alerts.is_empty()
            || !self.answers.is_empty()
            || self.condition != self.stored
    }
}

/// How long to rest this time.
pub(in crate::engine) fn rest(rng: &mut Rng) -> Duration {
    let longer = u64::try_from(REST.as_micros() / 2).unwrap_or(u64::MAX);
    REST + Duration::from_micros(rng.up_to(longer))
}

/// The first multiple of `every` after a moment.
fn after(tick: Duration, every: Duration) -> Duration {
    let micros = every.as_micros().max(1);
    let past = tick.as_micros() % micros;
    tick + Duration::from_micros(u64::try_from(micros - past).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saves_that_are_equally_far_apart_fall_on_the_same_moments() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs(1));
        assert_eq!(after(ms(1_900), s), ms(2_000));
        assert_eq!(after(ms(1_001), s), ms(2_000));
        assert_eq!(after(ms(2_000), s), ms(3_000));
        assert_eq!(
            after(ms(7), Duration::ZERO),
            ms(7) + Duration::from_micros(1)
        );
    }
}
