//! What must hold, whatever happens.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::super::lane::Phase;
use super::super::ledger::{Alert, Save};
use super::super::terms::{Input, key_of};
use super::super::verdict::Verdict;
use super::super::window::State;
use super::world::{Pending, RETRY, World};
use crate::engine::decisions::Declined;
use crate::envelope::Stored;
use crate::subscriber::{LaneState, Order};

/// A failed delivery, before the machine hears of it.
pub(super) struct Before {
    event: Arc<Stored>,
    attempts: u32,
    in_lane: bool,
}

impl World {
    /// At every delivery: its turn has come.
    pub(super) fn check_turn(&self, event: &Stored, attempt: u32) {
        let (seed, position, known) = (self.seed, event.position, self.of(event));
        assert!(known.wanted, "seed {seed}: nobody asked for {position}");
        assert!(
            !known.handled_now,
            "seed {seed}: {position} again in one life"
        );
        let applied = self.database.applied[usize::try_from(position).unwrap() - 1];
        assert!(!applied, "seed {seed}: {position} again after its commit");
        assert!(
            !known.discarded,
            "seed {seed}: {position} after it was discarded"
        );
        let parked = self
            .row(event)
            .is_some_and(|row| row.state == LaneState::Parked && row.event_id == event.envelope.id);
        assert!(!parked, "seed {seed}: {position} while it is parked");
        // One that a kill cut short is made again.
        assert!(
            attempt <= RETRY.max_attempts + self.kills,
            "seed {seed}: attempt {attempt} at {position}"
        );
        assert!(
            !self.machine.is_paused(),
            "seed {seed}: {position} in a pause"
        );
        assert!(!self.stopping, "seed {seed}: {position} after the stop");
        assert!(
            known.not_before.is_none_or(|time| time <= self.now.wall),
            "seed {seed}: {position} before its time"
        );
        let rules = &self.machine.rules;
        assert!(
            self.machine.window.running() <= rules.concurrency.max(rules.growing_to),
            "seed {seed}: {position} without a place"
        );
        for other in self.under_way() {
            assert!(
                self.of(other).key != known.key,
                "seed {seed}: {position} while {} runs",
                other.position
            );
        }
        if self.order == Order::Key {
            for (earlier, other) in self.known[..usize::try_from(position).unwrap() - 1]
                .iter()
                .enumerate()
            {
                let before = other.wanted && other.key == known.key;
                assert!(
                    !before || other.handled || other.discarded || other.expiring || other.expired,
                    "seed {seed}: {position} before {}",
                    earlier + 1
                );
            }
        }
        if self.machine.caution.is_some() {
            let suspect = self.database.condition.suspect;
            assert_eq!(suspect, position, "seed {seed}: it has no mark");
            assert_eq!(
                self.under_way().count(),
                0,
                "seed {seed}: {position} is not alone"
            );
        }
    }

    fn under_way(&self) -> impl Iterator<Item = &Arc<Stored>> {
        let events = self.pending.iter().map(|pending| match pending {
            Pending::Delivery { events, .. } => &events[..],
            _ => &[],
        });
        events.flatten()
    }

    /// What begins is at least as important as what is left ready.
    pub(super) fn check_priority(&self, begun: &[Vec<(Arc<Stored>, u32)>]) {
        if self.machine.caution.is_some() {
            // It was chosen when its mark was written.
            return;
        }
        let in_window = |event: &&Arc<Stored>| self.machine.lane_of(event).is_none();
        let begun = begun.iter().flatten().map(|(event, _)| event);
        let Some(least) = begun
            .filter(in_window)
            .map(|event| event.envelope.priority)
            .min()
        else {
            return;
        };
        for event in &self.log {
            let ready = self
                .machine
                .window
                .slot(event.position)
                .is_some_and(|slot| slot.state == State::Ready);
            assert!(
                !ready || event.envelope.priority <= least,
                "seed {}: {} is more important than what begins",
                self.seed,
                event.position
            );
        }
    }

    /// No more at once than the rules say.
    pub(super) fn check_places(&self, together: usize) {
        let rules = &self.machine.rules;
        let most = rules.batch.map_or(1, |batch| batch.max);
        assert!(together <= most, "seed {}: {together} at once", self.seed);
    }

    /// While the target is away, one probe at a time.
    pub(super) fn check_probes(&self) {
        let probes = self
            .pending
            .iter()
            .filter(|pending| matches!(pending, Pending::Delivery { probe: true, .. }))
            .count();
        assert!(
            !self.machine.is_broken() || probes <= 1,
            "seed {}: {probes} probes at once",
            self.seed
        );
    }

    /// What is known of a delivery that failed and that may be tried again.
    pub(super) fn before(&self, input: &Input) -> Option<Before> {
        let Input::Finished { event, verdict } = input else {
            return None;
        };
        match verdict {
            Verdict::Retry(_) | Verdict::RetryAfter(..) | Verdict::TimedOut => {}
            _ => return None,
        }
        if self.machine.breaker.is_probe(event.position) {
            return None;
        }
        let lane = self.machine.lane_of(event);
        let attempts = match &lane {
            Some(key) => self.machine.lanes.get(key)?.attempts,
            None => self.machine.window.slot(event.position)?.attempts,
        };
        Some(Before {
            event: Arc::clone(event),
            attempts,
            in_lane: lane.is_some(),
        })
    }

    /// While the target is away, no attempt is spent and no lane is made.
    pub(super) fn check_spared(&self, before: Option<Before>) {
        let Some(Before {
            event,
            attempts,
            in_lane,
        }) = before.filter(|_| self.machine.is_broken())
        else {
            return;
        };
        let key = key_of(self.order, &event);
        let lane = self.machine.lanes.get(&key);
        let lane = lane.filter(|lane| lane.phase != Phase::Ahead);
        let (seed, position) = (self.seed, event.position);
        assert_eq!(
            lane.is_some(),
            in_lane,
            "seed {seed}: a lane for {position}"
        );
        let slot = self.machine.window.slot(position);
        let now = lane
            .map(|lane| lane.attempts)
            .or(slot.map(|slot| slot.attempts));
        assert_eq!(
            now,
            Some(attempts - 1),
            "seed {seed}: {position} spent an attempt"
        );
    }

    pub(super) fn check_applied_once(&mut self, event: &Stored) {
        let applied = &mut self.database.applied[usize::try_from(event.position).unwrap() - 1];
        assert!(
            !std::mem::replace(applied, true),
            "seed {}: effects of {} twice",
            self.seed,
            event.position
        );
    }

    /// The cursor goes forward, nobody is parked twice, and what went well left no trace, but that a stop
    /// came before its turn.
    pub(super) fn check_save(&mut self, save: &Save) {
        let seed = self.seed;
        if let Some(cursor) = save.cursor {
            let before = self.database.cursor;
            assert!(cursor > before, "seed {seed}: the cursor goes back");
        }
        for letter in &save.letters {
            let position = letter.event.position;
            let told = &mut self.database.letters[usize::try_from(position).unwrap() - 1];
            let twice = std::mem::replace(told, true);
            assert!(!twice, "seed {seed}: {position} parked twice");
        }
        for row in &save.lanes {
            let of_row = |event: &&Arc<Stored>| *key_of(self.order, event) == row.key;
            let mut events = self.log.iter().filter(of_row);
            // Of a lane that a hang got, a loss leaves no trace of that.
            let expires = |alert: &Alert| matches!(alert, Alert::Expired { .. });
            let left_by_the_stop = self.stopping && row.attempts == 0;
            assert!(
                row.error == "has not ended yet"
                    || left_by_the_stop
                    || save.alerts.iter().any(expires)
                    || events.any(|event| self.of(event).troubled || self.of(event).crashes >= 3)
                    || self
                        .database
                        .lanes
                        .iter()
                        .flatten()
                        .any(|old| old.key == row.key),
                "seed {seed}: a row for what went well: {row:?}"
            );
        }
        let pauses = |alert: &Alert| matches!(alert, Alert::Paused(_));
        if save.alerts.iter().any(pauses) {
            let stored = save.condition.unwrap_or(self.database.condition);
            let resumed = save.alerts.contains(&Alert::Resumed);
            assert!(stored.paused || resumed, "seed {seed}: told and not paused");
        }
    }

    /// Dead letters go on in the commit that tells how many do.
    pub(super) fn check_decided(&self, save: &Save, redriven: u32, discarded: RangeInclusive<u32>) {
        let seed = self.seed;
        let mut told = (0, 0);
        for alert in &save.alerts {
            match alert {
                Alert::Redriven { count, .. } => told.0 += count,
                Alert::Discarded { count, .. } => told.1 += count,
                Alert::Opened(_)
                | Alert::Closed
                | Alert::Paused(_)
                | Alert::Resumed
                | Alert::Expired { .. } => {}
            }
        }
        let fits = told.0 == redriven && discarded.contains(&told.1);
        assert!(fits, "seed {seed}: {told:?}: {save:?}");
        for key in &save.drop {
            let row = self.database.lanes[self.keys[key]].as_ref();
            let parked = row.is_some_and(|row| {
                let expired = || self.known[usize::try_from(row.position).unwrap() - 1].expired;
                row.state == LaneState::Parked && !expired()
            });
            assert!(!parked, "seed {seed}: a dead letter is dropped: {row:?}");
        }
    }

    pub(super) fn check_answer(&mut self, order: u64, answer: &Result<u64, Declined>) {
        let waited = self.unanswered.remove(&order);
        assert!(waited, "seed {}: {answer:?} for nobody", self.seed);
    }

    /// Nothing fails any more, so no dead letter is left but what ends the process.
    pub(super) fn check_redriven(&self) {
        let seed = self.seed;
        assert!(self.unanswered.is_empty(), "seed {seed}: no answer");
        for row in self.database.lanes.iter().flatten() {
            assert_eq!(row.position, self.deadly, "seed {seed}: {row:?} is left");
        }
    }

    /// What opens is told once, and what closes was told to be open.
    pub(super) fn check_told(&mut self, alert: &Alert) {
        let open = match alert {
            Alert::Opened(_) => true,
            Alert::Closed => false,
            Alert::Paused(_)
            | Alert::Resumed
            | Alert::Expired { .. }
            | Alert::Redriven { .. }
            | Alert::Discarded { .. } => return,
        };
        assert_ne!(open, self.told_open, "seed {}: {alert:?}", self.seed);
        self.told_open = open;
    }

    /// Whether a restart at this moment finds everything.
    pub(super) fn check_restart(&self) {
        let (seed, cursor) = (self.seed, self.database.cursor);
        for (event, known) in self.log.iter().zip(&self.known).filter(|(_, k)| k.wanted) {
            let position = event.position;
            let row = self.database.lanes[known.key].as_ref();
            let skipped = row.is_some_and(|row| position <= row.done);
            let handled = known.handled || known.discarded || known.expired;
            assert!(
                handled || !skipped,
                "seed {seed}: a restart takes {position} for done"
            );
            let found = row.is_some_and(|row| position > row.done && !row.event_id.is_nil());
            assert!(
                handled || found || position > cursor,
                "seed {seed}: a restart loses {position} at {cursor} with {row:?}"
            );
            let again = position > cursor || found;
            let applied = self.database.applied[usize::try_from(position).unwrap() - 1];
            assert!(
                !applied || skipped || !again,
                "seed {seed}: a restart applies {position} again"
            );
        }
        let parked = |row: &&crate::subscriber::StoredLane| row.state == LaneState::Parked;
        for row in self.database.lanes.iter().flatten().filter(parked) {
            let front = self
                .log
                .iter()
                .find(|event| event.envelope.id == row.event_id);
            let told = front.is_some_and(|event| {
                self.database.letters[usize::try_from(event.position).unwrap() - 1]
            });
            assert!(told, "seed {seed}: parked without a letter: {row:?}");
        }
    }

    /// A stop leaves nothing to be careful of.
    pub(super) fn check_stop(&self) {
        let condition = self.database.condition;
        assert!(
            !condition.running && condition.suspect == 0 && condition.crashes == 0,
            "seed {}: {condition:?} after a stop",
            self.seed
        );
    }

    pub(super) fn check_trust(&self) {
        assert!(
            self.machine.caution.is_none(),
            "seed {}: careful",
            self.seed
        );
    }

    /// An event that ends the process does so three times at most once it is marked.
    pub(super) fn check_deaths(&self, deaths: u32) {
        assert!(
            deaths <= 3,
            "seed {}: {deaths} deaths of one event",
            self.seed
        );
    }

    pub(super) fn check_flow(&self, ended: bool) {
        assert!(ended, "seed {}: all wait for one delivery", self.seed);
    }

    pub(super) fn check_end(&self, ended: bool) {
        let seed = self.seed;
        assert!(ended, "seed {seed}: it does not end: {:?}", self.machine);
        let head = self.log.len() as u64;
        assert_eq!(self.database.cursor, head, "seed {seed}: not at the head");
        for event in &self.log {
            let known = self.of(event);
            let parked = self
                .row(event)
                .is_some_and(|row| row.state == LaneState::Parked && event.position > row.done);
            let applied = self.database.applied[usize::try_from(event.position).unwrap() - 1];
            let both = applied && known.discarded;
            assert!(!both, "seed {seed}: {} has two ends", event.position);
            assert!(
                !known.wanted || known.handled || known.discarded || known.expired || parked,
                "seed {seed}: {} is lost",
                event.position
            );
        }
        for row in self.database.lanes.iter().flatten() {
            assert_eq!(row.state, LaneState::Parked, "seed {seed}: {row:?} is left");
        }
        let told = self.told_open;
        assert_eq!(told, self.machine.is_broken(), "seed {seed}: not told");
        let suspect = self.database.condition.suspect;
        assert_eq!(suspect, 0, "seed {seed}: blame without a crash");
    }
}
