//! The machine against a model of the world: seeded, with faults, hangs, lost answers and kills between any two steps.
//!
//! After every change of the database it is checked that a restart at this moment would lose nothing and apply nothing
//! twice; at every delivery, that its turn has come; at the end, that every event is handled or waits behind a dead letter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::terms::key_of;
use super::verdict::later;
use super::*;
use crate::Time;
use crate::envelope::{Key, Priority, Stored};
use crate::fakes::envelope;
use crate::subscriber::{
    Condition, Effects, LaneState, Order, Retry, StoredLane, StoredSubscription,
};

const KEYS: u64 = 5;
const RETRY: Retry = Retry {
    max_attempts: 6,
    ..Retry::DEFAULT
};

/// Something under way in the one process.
enum Pending {
    Delivery(Arc<Stored>),
    /// Handed over but not yet submitted.
    Effects {
        event: Arc<Stored>,
        row: StoredLane,
    },
    Submitted(Commit),
    Answer(Input),
}

enum Commit {
    Effects { event: Arc<Stored>, row: StoredLane },
    Save(Save),
}

#[derive(Default)]
struct Database {
    cursor: u64,
    condition: Condition,
    lanes: BTreeMap<String, StoredLane>,
    letters: BTreeSet<u64>,
    applied: BTreeSet<u64>,
}

struct World {
    seed: u64,
    rng: Rng,
    order: Order,
    log: Vec<Arc<Stored>>,
    database: Database,
    /// Handled with success, in any life of the process.
    handled: BTreeSet<u64>,
    /// The same, in this life.
    handled_now: BTreeSet<u64>,
    machine: Machine,
    pending: Vec<Pending>,
    now: Now,
    /// Nothing fails any more.
    healed: bool,
}

fn rules(order: Order, rng: &mut Rng) -> Rules {
    Rules {
        selection: Selection {
            kinds: Some(["wanted"].into()),
            priority: Priority::Low,
        },
        versions: Versions::default(),
        order,
        concurrency: usize::try_from(1 + rng.up_to(3)).unwrap(),
        retry: RETRY,
        breaker: true,
        batch: None,
    }
}

fn stored(position: u64, condition: Condition) -> StoredSubscription {
    StoredSubscription {
        name: "simulated".to_owned(),
        position,
        condition,
    }
}

impl World {
    fn new(seed: u64, order: Order) -> Self {
        let mut rng = Rng::seeded(seed);
        let now = Now {
            tick: Duration::ZERO,
            wall: Time::from_second(1_767_225_600).unwrap(),
        };
        Self {
            seed,
            machine: Machine::new(
                rules(order, &mut rng),
                stored(0, Condition::default()),
                Vec::new(),
                0,
                now,
            ),
            rng,
            order,
            log: Vec::new(),
            database: Database::default(),
            handled: BTreeSet::new(),
            handled_now: BTreeSet::new(),
            pending: Vec::new(),
            now,
            healed: false,
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.up_to(99) < percent
    }

    fn append(&mut self) {
        let position = self.log.len() as u64 + 1;
        let kind = if self.chance(80) { "wanted" } else { "other" };
        let key = format!("key:{}", self.rng.up_to(KEYS - 1));
        self.log.push(Arc::new(Stored {
            position,
            epoch: 1,
            recorded_at: self.now.wall,
            envelope: envelope(
                Uuid::from_u128(u128::from(position)),
                kind,
                &key,
                self.now.wall,
            ),
            context: None,
            body: Vec::new(),
            personal: None,
            chain: [0; 32],
        }));
    }

    fn wanted(&self) -> impl Iterator<Item = &Arc<Stored>> {
        self.log
            .iter()
            .filter(|event| event.envelope.kind == "wanted")
    }

    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.machine
            .step(input, self.now, &mut self.rng, &mut effects);
        self.machine
            .step(Input::Tick, self.now, &mut self.rng, &mut effects);
        for effect in effects {
            match effect {
                Effect::Deliver { event, .. } => {
                    self.check_turn(&event);
                    self.pending.push(Pending::Delivery(event));
                }
                Effect::DeliverTogether(_) => unreachable!("no batches here"),
                Effect::Commit { event, row, .. } => {
                    self.pending.push(Pending::Effects { event, row });
                }
                Effect::Save(save) => self.pending.push(Pending::Submitted(Commit::Save(save))),
                Effect::Backlog { key, after, upto } => {
                    let answer = self.backlog(key, after, upto);
                    self.pending.push(Pending::Answer(answer));
                }
            }
        }
    }

    fn backlog(&mut self, key: Key, after: u64, upto: u64) -> Input {
        if !self.healed && self.chance(20) {
            return Input::Backlog { key, read: None };
        }
        let limit = 3;
        let of_key = self.log.iter().filter(|event| {
            event.position > after && event.position <= upto && *key_of(self.order, event) == key
        });
        let events: Vec<_> = of_key.take(limit).cloned().collect();
        let known = if events.len() == limit {
            events[limit - 1].position
        } else {
            upto
        };
        Input::Backlog {
            key,
            read: Some((events, known)),
        }
    }

    fn check_turn(&self, event: &Stored) {
        let (seed, position) = (self.seed, event.position);
        assert!(
            !self.handled_now.contains(&position),
            "seed {seed}: {position} again in one life"
        );
        assert!(
            !self.database.applied.contains(&position),
            "seed {seed}: {position} again after its commit"
        );
        for pending in &self.pending {
            if let Pending::Delivery(other) = pending {
                let same = key_of(self.order, other) == key_of(self.order, event);
                assert!(
                    !same,
                    "seed {seed}: {position} while {} runs",
                    other.position
                );
            }
        }
        if self.order == Order::Key {
            for earlier in self.wanted().take_while(|other| other.position < position) {
                let before = earlier.envelope.key == event.envelope.key;
                let handled = self.handled.contains(&earlier.position);
                assert!(
                    !before || handled,
                    "seed {seed}: {position} before {}",
                    earlier.position
                );
            }
        }
    }

    /// One thing under way goes on.
    fn proceed(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let index = usize::try_from(self.rng.up_to(self.pending.len() as u64 - 1)).unwrap();
        // Commits are applied in the order of their submission.
        let first = self
            .pending
            .iter()
            .position(|pending| matches!(pending, Pending::Submitted(_)));
        let index = match &self.pending[index] {
            Pending::Submitted(_) => first.unwrap_or(index),
            _ => index,
        };
        match self.pending.remove(index) {
            Pending::Delivery(event) => self.end_delivery(event),
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
                    self.handled_now.insert(event.position);
                }
                self.step(input);
            }
        }
    }

    fn end_delivery(&mut self, event: Arc<Stored>) {
        let roll = if self.healed {
            self.rng.up_to(69)
        } else {
            self.rng.up_to(99)
        };
        let verdict = match roll {
            0..50 => Verdict::Done,
            50..70 => Verdict::DoneWith(Effects::default()),
            70..82 => Verdict::Retry("failed".to_owned()),
            82..87 => Verdict::RetryAfter(Duration::from_secs(20), "slow down".to_owned()),
            87..89 => Verdict::GiveUp("never".to_owned()),
            89..93 => Verdict::Panicked,
            93..96 => Verdict::TimedOut,
            // It hangs.
            _ => return self.pending.push(Pending::Delivery(event)),
        };
        if matches!(verdict, Verdict::Done) {
            self.handled.insert(event.position);
            self.handled_now.insert(event.position);
        }
        self.step(Input::Finished { event, verdict });
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
                let first = self.database.applied.insert(event.position);
                assert!(
                    first,
                    "seed {}: effects of {} twice",
                    self.seed, event.position
                );
                self.handled.insert(event.position);
                self.database.lanes.insert(row.key.as_str().to_owned(), row);
                Input::Committed {
                    event,
                    result: Ok(()),
                }
            }
            Commit::Save(save) => {
                if let Some(cursor) = save.cursor {
                    assert!(
                        cursor > self.database.cursor,
                        "seed {}: the cursor goes back",
                        self.seed
                    );
                    self.database.cursor = cursor;
                }
                if let Some(condition) = save.condition {
                    self.database.condition = condition;
                }
                for key in save.drop {
                    self.database.lanes.remove(key.as_str());
                }
                for row in save.lanes {
                    self.database.lanes.insert(row.key.as_str().to_owned(), row);
                }
                for letter in save.letters {
                    let first = self.database.letters.insert(letter.event.position);
                    assert!(
                        first,
                        "seed {}: {} parked twice",
                        self.seed, letter.event.position
                    );
                }
                Input::Saved { committed: true }
            }
        };
        self.check_restart();
        answer
    }

    /// Whether a restart at this moment finds everything.
    fn check_restart(&self) {
        let (seed, database) = (self.seed, &self.database);
        for event in self.wanted() {
            let position = event.position;
            let row = database.lanes.get(key_of(self.order, event).as_str());
            let handled = self.handled.contains(&position);
            let skipped = row.is_some_and(|row| position <= row.done);
            assert!(
                handled || !skipped,
                "seed {seed}: a restart takes {position} for done"
            );
            let found = row.is_some_and(|row| position > row.done && !row.event_id.is_nil());
            assert!(
                handled || found || position > database.cursor,
                "seed {seed}: a restart loses {position} at {} with {row:?}",
                database.cursor
            );
            let again = position > database.cursor || found;
            let applied = database.applied.contains(&position);
            assert!(
                !applied || skipped || !again,
                "seed {seed}: a restart applies {position} again"
            );
        }
        for row in database
            .lanes
            .values()
            .filter(|row| row.state == LaneState::Parked)
        {
            let letter = database.letters.iter().any(|position| {
                self.log[usize::try_from(*position).unwrap() - 1]
                    .envelope
                    .id
                    == row.event_id
            });
            assert!(letter, "seed {seed}: parked without a letter: {row:?}");
        }
    }

    fn kill(&mut self) {
        self.pending.clear();
        self.handled_now.clear();
        let lanes = self.database.lanes.values().cloned().collect();
        let rules = rules(self.order, &mut self.rng);
        let found = stored(self.database.cursor, self.database.condition);
        self.database.condition = starting(found.condition);
        let head = self.log.len() as u64;
        self.machine = Machine::new(rules, found, lanes, head, self.now);
    }

    fn pass_time(&mut self) {
        let wait = match self.rng.up_to(20) {
            0 => Duration::from_secs(self.rng.up_to(4000)),
            1..4 => Duration::from_secs(1),
            _ => Duration::from_millis(self.rng.up_to(200)),
        };
        self.now.tick += wait;
        self.now.wall = later(self.now.wall, wait);
    }

    fn feed(&mut self) {
        let Some((after, room)) = self.machine.wants() else {
            return;
        };
        let count = usize::try_from(room.min(1 + self.rng.up_to(6))).unwrap();
        let events: Vec<_> = self
            .log
            .iter()
            .skip(usize::try_from(after).unwrap())
            .take(count)
            .cloned()
            .collect();
        self.step(Input::Read(events));
    }

    fn run(&mut self) {
        for _ in 0..400 {
            match self.rng.up_to(99) {
                0..15 => self.append(),
                15..35 => self.feed(),
                35..85 => self.proceed(),
                85..99 => {
                    self.pass_time();
                    self.step(Input::Tick);
                }
                _ => self.kill(),
            }
        }
        self.healed = true;
        for _ in 0..5000 {
            self.step(Input::Resume);
            self.feed();
            self.proceed();
            self.pass_time();
            self.step(Input::Tick);
            if self.machine.is_at_rest()
                && self.pending.is_empty()
                && self.machine.lanes_retrying() == 0
                && self.machine.cursor() == self.log.len() as u64
            {
                break;
            }
        }
        self.check_end();
    }

    fn check_end(&self) {
        let seed = self.seed;
        assert_eq!(
            self.database.cursor,
            self.log.len() as u64,
            "seed {seed}: not at the head: {:?}",
            self.machine
        );
        let parked = |event: &Stored| {
            let row = self.database.lanes.get(key_of(self.order, event).as_str());
            row.is_some_and(|row| row.state == LaneState::Parked && event.position > row.done)
        };
        for event in self.wanted() {
            let handled = self.handled.contains(&event.position);
            assert!(
                handled || parked(event),
                "seed {seed}: {} is lost",
                event.position
            );
        }
        for row in self.database.lanes.values() {
            assert_eq!(row.state, LaneState::Parked, "seed {seed}: {row:?} is left");
        }
    }
}

#[test]
fn the_window_is_bounded_until_what_holds_it_gets_a_lane() {
    let mut world = World::new(0, Order::Key);
    world.healed = true;
    for _ in 0..10_000 {
        world.append();
    }
    for _ in 0..10_000 {
        world.feed();
    }
    assert_eq!(world.machine.wants(), None);
    let read = world.machine.state_of(&world.log[4095]).0;
    assert_eq!(read, DeliveryState::Waiting);
    world.now.tick = Duration::from_secs(1);
    world.step(Input::Tick);
    assert!(
        world
            .machine
            .wants()
            .is_some_and(|(read, room)| read == 4096 && room > 0)
    );
}

#[test]
fn nothing_is_lost_doubled_or_reordered() {
    for seed in 0..2000 {
        World::new(seed, Order::Key).run();
    }
}

#[test]
fn nothing_is_lost_or_doubled_without_order() {
    for seed in 0..1000 {
        World::new(seed, Order::None).run();
    }
}
