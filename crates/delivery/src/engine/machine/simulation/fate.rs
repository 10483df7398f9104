//! What becomes of what is under way, and of the process.

use std::sync::Arc;
use std::time::Duration;

use super::super::ledger::{Alert, Save};
use super::super::mutant::{self, Mutant};
use super::super::starting;
use super::super::step::Machine;
use super::super::terms::{Input, Rules};
use super::super::verdict::{Verdict, later};
use super::world::{Commit, Pending, SLOW_DOWN, World, found};
use crate::envelope::Stored;
use crate::subscriber::{Effects, LaneState};

impl World {
    /// One thing under way goes on.
    pub(super) fn proceed(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let index = usize::try_from(self.rng.up_to(self.pending.len() as u64 - 1)).unwrap();
        // Commits are applied in the order of their submission.
        let index = match &self.pending[index] {
            Pending::Submitted(_) => {
                let mut all = self.pending.iter();
                all.position(|pending| matches!(pending, Pending::Submitted(_)))
                    .unwrap()
            }
            Pending::Delivery { events, .. }
                if events
                    .iter()
                    .any(|event| Some(event.position) == self.stuck) =>
            {
                return;
            }
            _ => index,
        };
        match self.pending.remove(index) {
            Pending::Delivery { events, probe } => self.end_delivery(events, probe),
            Pending::Effects { event, row } => {
                self.pending
                    .push(Pending::Submitted(Commit::Effects { event, row }));
            }
            Pending::Submitted(commit) => {
                let answer = self.apply(commit);
                self.pending.push(Pending::Answer(answer));
            }
            Pending::Answer(input) => {
                if let Input::Committed {
                    event,
                    result: Ok(()),
                } = &input
                {
                    self.of_mut(event).handled_now = true;
                }
                self.step(input);
            }
        }
    }

    fn end_delivery(&mut self, events: Vec<Arc<Stored>>, probe: bool) {
        if !self.healed && self.chance(5) {
            // It goes on.
            return self.pending.push(Pending::Delivery { events, probe });
        }
        let mut ended: Vec<_> = events
            .into_iter()
            .map(|event| {
                // It may have hung.
                let in_lane = self.machine.lane_of(&event).is_some();
                self.of_mut(&event).troubled |= in_lane;
                let verdict = self.verdict();
                self.note(&event, &verdict);
                (event, verdict)
            })
            .collect();
        if self.batch.is_some() && ended.len() > 1 {
            return self.step(Input::FinishedTogether(ended));
        }
        let (event, verdict) = ended.remove(0);
        self.step(Input::Finished { event, verdict });
    }

    fn verdict(&mut self) -> Verdict {
        let roll = match (self.healed, self.outage) {
            (true, _) => self.rng.up_to(69),
            (false, true) => 65 + self.rng.up_to(25),
            (false, false) => self.rng.up_to(99),
        };
        match roll {
            0..50 => Verdict::Done,
            50..70 => Verdict::DoneWith(Effects::default()),
            70..82 => Verdict::Retry("failed".to_owned()),
            82..87 => Verdict::RetryAfter(SLOW_DOWN, "slow down".to_owned()),
            87..91 => Verdict::TimedOut,
            91..93 => Verdict::GiveUp("never".to_owned()),
            93..94 => Verdict::Poison("unreadable".to_owned()),
            94..97 => Verdict::Panicked,
            _ => Verdict::Alone("in bad company".to_owned()),
        }
    }

    fn note(&mut self, event: &Stored, verdict: &Verdict) {
        let wall = self.now.wall;
        let known = self.of_mut(event);
        known.not_before = None;
        match verdict {
            Verdict::Done => (known.handled, known.handled_now) = (true, true),
            Verdict::RetryAfter(wait, _) => known.not_before = Some(later(wall, *wait)),
            _ => {}
        }
        known.troubled |= !matches!(verdict, Verdict::Done);
    }

    fn apply(&mut self, commit: Commit) -> Input {
        let fails = !self.healed && self.chance(15);
        let answer = match commit {
            Commit::Effects { event, .. } if fails => Input::Committed {
                event,
                result: Err("fault".to_owned()),
            },
            Commit::Save(_) if fails => Input::Saved { committed: false },
            Commit::Effects { event, row } => {
                self.check_applied_once(&event);
                let key = self.of(&event).key;
                self.database.lanes[key] = Some(row);
                self.of_mut(&event).handled = true;
                Input::Committed {
                    event,
                    result: Ok(()),
                }
            }
            Commit::Save(save) => {
                self.check_save(&save);
                self.database.cursor = save.cursor.unwrap_or(self.database.cursor);
                self.database.condition = save.condition.unwrap_or(self.database.condition);
                self.expired(&save);
                self.decided(&save);
                for key in save.drop {
                    self.database.lanes[self.keys[&key]] = None;
                }
                for row in save.lanes {
                    let key = self.keys[&row.key];
                    self.database.lanes[key] = Some(row);
                }
                for alert in &save.alerts {
                    self.check_told(alert);
                }
                Input::Saved { committed: true }
            }
        };
        self.check_restart();
        answer
    }

    /// Notes what a save says is lost.
    fn expired(&mut self, save: &Save) {
        for alert in &save.alerts {
            if let Alert::Expired { to, .. } = alert {
                let old = self.known.iter_mut().take(usize::try_from(*to).unwrap());
                old.for_each(|known| known.expired |= known.expiring);
            }
        }
    }

    /// Notes what a save decides about dead letters, of which the rows alone tell.
    fn decided(&mut self, save: &Save) {
        let (mut redriven, mut discarded, mut unclear) = (0, 0, 0);
        for row in &save.lanes {
            let old = &self.database.lanes[self.keys[&row.key]];
            let letter = old.as_ref().filter(|old| old.state == LaneState::Parked);
            let Some(old) = letter.filter(|_| row.state != LaneState::Parked) else {
                continue;
            };
            let index = usize::try_from(old.position).unwrap() - 1;
            self.database.letters[index] = false;
            if self.known[index].expired && row.done >= old.position {
                // An operator may have, where a start brought back what was told lost; or nobody.
                unclear += 1;
                continue;
            }
            if old.position == self.deadly {
                self.deaths = 0;
            }
            if row.done == old.position {
                self.known[index].discarded = true;
                discarded += 1;
            } else {
                // An operator need not wait for what a handler asked for.
                self.known[index].not_before = None;
                assert!(row.done < old.position, "seed {}: {row:?}", self.seed);
                redriven += 1;
            }
        }
        self.check_decided(save, redriven, discarded..=discarded + unclear);
    }

    pub(super) fn kill(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.push_str("killed\n");
        }
        self.kills += 1;
        self.pending.clear();
        let suspect = usize::try_from(self.database.condition.suspect).unwrap();
        if let Some(suspect) = suspect.checked_sub(1) {
            self.known[suspect].crashes += 1;
        }
        self.start();
    }

    /// The node sleeps for too long, and another takes over. What the first has on its way comes later.
    pub(super) fn be_taken_over(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            let commit = match pending {
                Pending::Submitted(commit) => commit,
                Pending::Effects { event, row } => Commit::Effects { event, row },
                Pending::Delivery { .. } | Pending::Answer(_) => continue,
            };
            self.stale.push_back((self.epoch, commit));
        }
        self.database.epoch += 1;
        self.epoch = self.database.epoch;
        self.kill();
    }

    /// One of those goes on: its commit begins with a guard on the epoch.
    pub(super) fn wake(&mut self) {
        let Some((epoch, commit)) = self.stale.pop_front() else {
            return;
        };
        if let Some(trace) = &mut self.trace {
            trace.push_str("a commit of a node that lost it\n");
        }
        if epoch == self.database.epoch || mutant::is(Mutant::EpochIgnored) {
            self.apply(commit);
        }
    }

    pub(super) fn start(&mut self) {
        for known in &mut self.known {
            known.handled_now = false;
            known.expiring = false;
            known.not_before = None;
        }
        let (found, lanes) = (found(&self.database), self.database.lanes.iter());
        let lanes = lanes.flatten().cloned().collect();
        let rules = Rules {
            upto: self.range.1,
            ..Self::rules(self.seed, self.order, self.batch, &mut self.rng)
        };
        let head = self.log.len() as u64;
        self.database.condition = starting(found.condition);
        self.machine = Machine::new(rules, found, lanes, head, self.now);
        (self.stopping, self.told_open) = (false, false);
        self.unanswered.clear();
    }

    /// Its runner ends while the process goes on: what was submitted is applied, the rest is dropped.
    pub(super) fn leave(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            if let Pending::Submitted(commit) = pending {
                self.apply(commit);
            }
        }
        self.unanswered.clear();
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.stopping && self.machine.is_at_rest() && self.pending.is_empty()
    }

    /// A process that has nothing left to do after the stop signal is gone.
    pub(super) fn end_stop(&mut self) {
        if self.has_stopped() {
            self.check_stop();
            // Nothing of it comes again.
            let handled: Vec<_> = self.known.iter().map(|known| known.handled_now).collect();
            self.start();
            for (known, handled) in self.known.iter_mut().zip(handled) {
                known.handled_now = handled;
            }
            self.check_trust();
        }
    }

    pub(super) fn pass_time(&mut self) {
        let passing = self.some_time();
        self.pass(passing);
    }

    pub(super) fn some_time(&mut self) -> Passing {
        let wait = match self.rng.up_to(20) {
            0 if self.is_stormy() => Duration::from_secs(self.rng.up_to(100)),
            1..4 if self.is_stormy() => Duration::from_millis(self.rng.up_to(10)),
            0 => Duration::from_secs(self.rng.up_to(4000)),
            1..4 => Duration::from_secs(1),
            _ => Duration::from_millis(self.rng.up_to(200)),
        };
        let jumps = !self.healed && self.chance(2);
        let jump = jumps.then(|| (Duration::from_secs(self.rng.up_to(7200)), self.chance(50)));
        Passing { wait, jump }
    }

    pub(super) fn pass(&mut self, Passing { wait, jump }: Passing) {
        self.now.tick += wait;
        self.now.wall = later(self.now.wall, wait);
        let Some((jump, ahead)) = jump else {
            return;
        };
        // Somebody sets the clock: what waits for a time is early or late.
        for known in &mut self.known {
            known.not_before = None;
        }
        self.now.wall = if ahead {
            later(self.now.wall, jump)
        } else {
            self.jumps += 1;
            self.now.wall.checked_sub(jump).unwrap()
        };
    }
}

/// Time that goes by.
#[derive(Clone, Copy)]
pub(super) struct Passing {
    wait: Duration,
    /// How far somebody sets the clock, and whether ahead.
    jump: Option<(Duration, bool)>,
}
