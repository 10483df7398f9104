//! One process after another on one database, as a seed says.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::super::decisions::{Fate, Letters, Order, Wish};
use super::super::ledger::Save;
use super::super::reads::{Bounds, Sweep};
use super::super::starting;
use super::super::step::Machine;
use super::super::terms::{Effect, Input, Kinds, Now, Rules, Selection, Versions};
use super::super::verdict::Rng;
use super::trace::Told;
use crate::Time;
use crate::engine::decisions::Decider;
use crate::envelope::{Envelope, Key, Priority, Stored};
use crate::fakes::envelope;
use crate::subscriber::{
    Batch, Choice, Condition, ErrorClass, Order as Sequence, Retry, SAVE_EVERY, StoredLane,
    StoredSubscription,
};

/// Few keys meet each other often; of many, enough are tried for the breaker to judge the target.
const KEYS: [u64; 2] = [5, 60];
pub(super) const STEPS: usize = 400;
/// Far more than anything takes to end once nothing fails any more.
pub(super) const STEPS_TO_END: usize = 20_000;
pub(super) const RETRY: Retry = Retry {
    max_attempts: 6,
    ..Retry::DEFAULT
};
pub(super) const SLOW_DOWN: Duration = Duration::from_secs(20);

/// Something under way in the one process.
pub(super) enum Pending {
    /// One delivery, or one batch.
    Delivery {
        events: Vec<Arc<Stored>>,
        /// The target was away when it began.
        probe: bool,
    },
    /// Handed over but not yet submitted.
    Effects {
        event: Arc<Stored>,
        row: StoredLane,
    },
    Submitted(Commit),
    Answer(Input),
}

pub(super) enum Commit {
    Effects { event: Arc<Stored>, row: StoredLane },
    Save(Save),
}

#[derive(Default)]
pub(super) struct Database {
    /// Of the lease: of the node that claimed it last.
    pub(super) epoch: u64,
    pub(super) cursor: u64,
    pub(super) condition: Condition,
    /// By the number of the key.
    pub(super) lanes: Vec<Option<StoredLane>>,
    /// By position less one.
    pub(super) letters: Vec<bool>,
    pub(super) applied: Vec<bool>,
}

/// What is known of each event, by its position less one.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Known {
    /// The number of the key under which it waits.
    pub(super) key: usize,
    pub(super) wanted: bool,
    /// Handled with success, in any life of the process.
    pub(super) handled: bool,
    /// An operator had it passed over.
    pub(super) discarded: bool,
    /// It went before it was handled: in this life, and as the database has it.
    pub(super) expiring: bool,
    pub(super) expired: bool,
    /// Handled, in this life.
    pub(super) handled_now: bool,
    /// It is not to be tried before this.
    pub(super) not_before: Option<Time>,
    /// How often the process was killed while the database had its mark.
    pub(super) crashes: u32,
    /// Something happened to it for which a row may be written.
    pub(super) troubled: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) rng: Rng,
    pub(super) order: Sequence,
    pub(super) batch: Option<Batch>,
    pub(super) log: Vec<Arc<Stored>>,
    pub(super) known: Vec<Known>,
    /// What of the log it reads: the first position, and the last.
    pub(super) range: (u64, Option<u64>),
    pub(super) keys: HashMap<Key, usize>,
    pub(super) database: Database,
    pub(super) machine: Machine,
    pub(super) pending: Vec<Pending>,
    /// Under which it has the subscription.
    pub(super) epoch: u64,
    /// What nodes have on their way that lost it, in order.
    pub(super) stale: VecDeque<(u64, Commit)>,
    pub(super) now: Now,
    /// The target does not answer.
    pub(super) outage: bool,
    /// Nothing fails any more.
    pub(super) healed: bool,
    pub(super) stopping: bool,
    /// What the log says of the breaker in this life.
    pub(super) told_open: bool,
    /// This event ends the process.
    pub(super) deadly: u64,
    pub(super) kills: u32,
    /// How often the clock was set back.
    pub(super) jumps: u32,
    /// How often it has with its mark in the database, since nothing fails any more.
    pub(super) deaths: u32,
    /// Orders of operators, and those of this life that are not answered.
    orders: u64,
    pub(super) unanswered: HashSet<u64>,
    /// This delivery does not end before all that can be done without it is done.
    pub(super) stuck: Option<u64>,
    /// Every step, where somebody wants to read it.
    pub(super) trace: Option<String>,
}

pub(super) fn found(database: &Database) -> StoredSubscription {
    StoredSubscription {
        name: "simulated".to_owned(),
        position: database.cursor,
        condition: database.condition,
        generation: 1,
    }
}

pub(super) fn letters(choice: Choice, fate: Fate) -> Wish {
    let by = Decider {
        by: Uuid::nil(),
        workflow_id: Uuid::nil(),
        correlation_id: Uuid::nil(),
        causation_id: None,
    };
    Wish::Letters(Box::new(Letters { choice, fate, by }))
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let now = Now {
            tick: Duration::ZERO,
            wall: Time::from_second(1_767_225_600).unwrap(),
        };
        let order = if seed % 3 == 2 {
            Sequence::None
        } else {
            Sequence::Key
        };
        let batch = (seed % 4 == 1).then(|| Batch {
            max: usize::try_from(2 + rng.up_to(3)).unwrap(),
            wait: Duration::from_millis(rng.up_to(500)),
        });
        let deadly = if seed.is_multiple_of(5) {
            10 + rng.up_to(20)
        } else {
            0
        };
        let database = Database::default();
        let rules = Self::rules(seed, order, batch, &mut rng);
        let machine = Machine::new(rules, found(&database), Vec::new(), 0, now);
        let condition = starting(database.condition);
        Self {
            seed,
            rng,
            order,
            batch,
            log: Vec::new(),
            known: Vec::new(),
            range: (1, None),
            keys: HashMap::new(),
            database: Database {
                condition,
                ..database
            },
            machine,
            pending: Vec::new(),
            epoch: 0,
            stale: VecDeque::new(),
            now,
            outage: seed % 7 == 6,
            healed: false,
            stopping: false,
            told_open: false,
            deadly,
            kills: 0,
            jumps: 0,
            deaths: 0,
            orders: 0,
            unanswered: HashSet::new(),
            stuck: None,
            trace: None,
        }
    }

    pub(super) fn rules(seed: u64, order: Sequence, batch: Option<Batch>, rng: &mut Rng) -> Rules {
        Rules {
            upto: None,
            selection: Selection {
                kinds: Some(Kinds {
                    known: ["wanted"].into(),
                    registered: Vec::new(),
                }),
                priority: Priority::Low,
            },
            versions: Versions::default(),
            order,
            concurrency: usize::try_from(1 + rng.up_to(3)).unwrap(),
            growing_to: usize::try_from(rng.up_to(8)).unwrap(),
            retry: RETRY,
            save_every: SAVE_EVERY,
            batch,
            // Small, so that they are met.
            bounds: Bounds {
                window: if seed % 2 == 1 {
                    4096
                } else {
                    4 + rng.up_to(20)
                },
                lane: usize::try_from(1 + rng.up_to(4)).unwrap(),
                lanes: usize::try_from(2 + rng.up_to(20)).unwrap(),
                fronts: usize::try_from(1 + rng.up_to(3)).unwrap(),
                swept: usize::try_from(1 + rng.up_to(9)).unwrap(),
                few: usize::try_from(rng.up_to(2)).unwrap(),
            },
            breaker: seed % 8 != 7,
        }
    }

    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.outage = false;
    }

    /// Much of what is new is tried while the target is away, in one life of the process.
    pub(super) fn is_stormy(&self) -> bool {
        self.seed % 7 == 6
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.rng.up_to(99) < percent
    }

    pub(super) fn of(&self, event: &Stored) -> &Known {
        &self.known[usize::try_from(event.position).unwrap() - 1]
    }

    pub(super) fn of_mut(&mut self, event: &Stored) -> &mut Known {
        &mut self.known[usize::try_from(event.position).unwrap() - 1]
    }

    pub(super) fn row(&self, event: &Stored) -> Option<&StoredLane> {
        self.database.lanes[self.of(event).key].as_ref()
    }

    /// A second reader of the same log on the same database, from one position to another or as far as the log goes.
    pub(super) fn again(&mut self, from: u64, to: Option<u64>) -> Self {
        let mut again = Self::new(self.seed);
        again.rng = Rng::seeded(self.rng.up_to(u64::MAX - 1));
        again.range = (from, to);
        (again.now, again.outage) = (self.now, self.outage);
        again.database.cursor = from - 1;
        again.database.condition = Condition::default();
        for event in &self.log {
            again.take(Arc::clone(event));
        }
        again.start();
        again
    }

    pub(super) fn append(&mut self) {
        let event = self.compose();
        self.take(event);
    }

    /// The next event.
    pub(super) fn compose(&mut self) -> Arc<Stored> {
        let position = self.log.len() as u64 + 1;
        let wanted = self.chance(80);
        let keys = KEYS[usize::from(self.is_stormy())];
        let key = format!("key:{}", self.rng.up_to(keys - 1));
        let kind = if wanted { "wanted" } else { "other" };
        let id = Uuid::from_u128(u128::from(position));
        let priority = Priority::ALL[usize::try_from(self.rng.up_to(3)).unwrap()];
        Arc::new(Stored {
            position,
            epoch: 1,
            recorded_at: self.now.wall,
            envelope: Envelope {
                priority,
                ..envelope(id, kind, &key, self.now.wall)
            },
            context: None,
            body: Vec::new(),
            personal: None,
            chain: [0; 32],
        })
    }

    /// It is in the log.
    pub(super) fn take(&mut self, event: Arc<Stored>) {
        let (from, to) = self.range;
        let asked_for = (from..=to.unwrap_or(u64::MAX)).contains(&event.position);
        let wanted = event.envelope.kind == "wanted" && asked_for;
        let waits_as = super::super::terms::key_of(self.order, &event).into_owned();
        let count = self.keys.len();
        let key = *self.keys.entry(waits_as).or_insert(count);
        if key == count {
            self.database.lanes.push(None);
        }
        self.database.letters.push(false);
        self.database.applied.push(false);
        self.known.push(Known {
            key,
            wanted,
            ..Known::default()
        });
        self.log.push(event);
    }

    pub(super) fn step(&mut self, input: Input) {
        if let Some(trace) = &mut self.trace {
            let (tick, wall) = (self.now.tick, self.now.wall);
            let _ = writeln!(trace, "{tick:?} {wall} ← {}", Told(&input));
        }
        let before = self.before(&input);
        let ended = match &input {
            Input::Finished { event, .. } => vec![event.clone()],
            Input::FinishedTogether(ended) => {
                ended.iter().map(|(event, _)| event.clone()).collect()
            }
            _ => Vec::new(),
        };
        let mut effects = Vec::new();
        self.machine
            .step(input, self.now, &mut self.rng, &mut effects);
        // Before the tick: it may be the next probe.
        self.check_spared(before);
        self.machine
            .step(Input::Tick, self.now, &mut self.rng, &mut effects);
        for event in ended.iter().filter(|_| self.machine.is_broken()) {
            // Who is spared is not made to wait either.
            self.known[usize::try_from(event.position).unwrap() - 1].not_before = None;
        }
        let mut died = false;
        let mut begun = Vec::new();
        for effect in effects {
            if let Some(trace) = &mut self.trace {
                let _ = writeln!(trace, "  → {}", Told(&effect));
            }
            match effect {
                Effect::Deliver { event, attempt } => begun.push(vec![(event, attempt)]),
                Effect::DeliverTogether(events) => begun.push(events),
                Effect::Commit { event, row, .. } => {
                    self.pending.push(Pending::Effects { event, row });
                }
                Effect::Save(save) => self.pending.push(Pending::Submitted(Commit::Save(save))),
                Effect::Answer { order, answer } => self.check_answer(order, &answer),
                Effect::Fronts(fronts) => {
                    let answer = self.fetch(fronts);
                    self.pending.push(Pending::Answer(answer));
                }
                Effect::Sweep(sweep) => {
                    let answer = self.sweep(sweep);
                    self.pending.push(Pending::Answer(answer));
                }
            }
        }
        self.check_priority(&begun);
        for together in begun {
            for (event, attempt) in &together {
                self.check_turn(event, *attempt);
                // It was behind one that was under way, or the cursor was when the process was killed.
                let known = self.of_mut(event);
                (known.expiring, known.expired) = (false, false);
            }
            self.check_places(together.len());
            died |= together
                .iter()
                .any(|(event, _)| event.position == self.deadly);
            let probe = self.machine.is_broken();
            let events = together.into_iter().map(|(event, _)| event).collect();
            self.pending.push(Pending::Delivery { events, probe });
            self.check_probes();
        }
        if died {
            let marked = self.database.condition.suspect == self.deadly;
            self.deaths += u32::from(self.healed && marked);
            // After the clock was set back a lane seems not to have been due.
            self.check_deaths(self.deaths.saturating_sub(self.jumps));
            self.kill();
        }
    }

    fn cannot_read(&mut self) -> bool {
        !self.healed && self.chance(20)
    }

    fn fetch(&mut self, fronts: Vec<(Key, u64)>) -> Input {
        if self.cannot_read() {
            return Input::Fronts { fronts, read: None };
        }
        let at = |(_, position): &(Key, u64)| {
            let index = usize::try_from(*position - 1).unwrap();
            self.log.get(index).cloned()
        };
        let read = Some(fronts.iter().filter_map(at).collect());
        Input::Fronts { fronts, read }
    }

    fn sweep(&mut self, mut sweep: Sweep) -> Input {
        if self.cannot_read() {
            return Input::Swept { sweep, read: None };
        }
        let of = |event: &&Arc<Stored>| {
            let key = &event.envelope.key;
            let keys = sweep.keys.as_ref();
            keys.is_none_or(|keys| keys.contains(key))
                && (sweep.after + 1..=sweep.upto).contains(&event.position)
        };
        let events: Vec<_> = self
            .log
            .iter()
            .filter(of)
            .take(sweep.limit)
            .cloned()
            .collect();
        if let Some(last) = events.last()
            && events.len() == sweep.limit
        {
            sweep.upto = last.position;
        }
        let read = Some(events);
        Input::Swept { sweep, read }
    }

    pub(super) fn feed(&mut self) {
        let Some((after, room)) = self.machine.wants() else {
            return;
        };
        let count = usize::try_from(room.min(1 + self.rng.up_to(6))).unwrap();
        let after = usize::try_from(after).unwrap();
        let events: Vec<_> = self.log.iter().skip(after).take(count).cloned().collect();
        // A reader is not shown what it does not want, as long as nothing else comes.
        let selection = &self.machine.rules.selection;
        let unwanted = events.iter().take_while(|event| !selection.takes(event));
        if let Some(last) = unwanted.last().map(|event| event.position)
            && self.rng.up_to(1) == 0
        {
            return self.step(Input::Unwanted(last));
        }
        self.step(Input::Read(events));
    }

    pub(super) fn run(&mut self) {
        for _ in 0..STEPS {
            match self.rng.up_to(999) {
                0..150 => self.append(),
                150..340 => self.feed(),
                340..350 => self.wake(),
                350..850 => self.proceed(),
                850..940 => {
                    self.pass_time();
                    self.step(Input::Tick);
                }
                940..956 => self.decide(),
                956..960 => self.expire(),
                960..970 => self.outage = !self.outage,
                970..974 => self.order(Wish::Pause),
                974..986 => self.order(Wish::Resume),
                986..990 if !self.stopping => {
                    self.stopping = true;
                    self.step(Input::Stop);
                }
                990..995 if !self.is_stormy() => self.kill(),
                995..1000 if !self.is_stormy() => self.be_taken_over(),
                _ => {}
            }
            self.end_stop();
        }
        self.heal();
        self.get_by_without_one();
        self.finish();
    }

    /// Nothing fails any more: all that there is comes to an end.
    pub(super) fn finish(&mut self) {
        let ended = self.go_on_until(|world| {
            world.machine.is_at_rest()
                && world.pending.is_empty()
                && world.machine.lanes_retrying() == 0
                && world.machine.cursor() == world.log.len() as u64
                && !world.machine.is_paused()
        });
        self.check_end(ended);
        self.order(letters(Choice::default(), Fate::Redrive(None)));
        let ended = self.go_on_until(|world| {
            world.machine.is_at_rest()
                && world.pending.is_empty()
                && world.machine.lanes_retrying() == 0
        });
        self.check_end(ended);
        self.check_redriven();
    }

    /// An operator decides about some dead letters, or about none.
    pub(super) fn decide(&mut self) {
        let choice = match self.rng.up_to(4) {
            0 if !self.log.is_empty() => {
                let one = self.rng.up_to(self.log.len() as u64 - 1);
                let event = &self.log[usize::try_from(one).unwrap()];
                let key = super::super::terms::key_of(self.order, event).into_owned();
                Choice {
                    key: Some(key),
                    ..Choice::default()
                }
            }
            1 => Choice {
                error_class: Some(ErrorClass::Permanent),
                ..Choice::default()
            },
            2 => Choice {
                until: Some(self.now.wall),
                ..Choice::default()
            },
            _ => Choice::default(),
        };
        let fate = match self.rng.up_to(2) {
            0 => Fate::Discard("no use".to_owned()),
            1 => Fate::Redrive(NonZeroU32::new(1)),
            _ => Fate::Redrive(None),
        };
        self.order(letters(choice, fate));
    }

    /// What is old goes, handled or not.
    pub(super) fn expire(&mut self) {
        let upto = self.rng.up_to(self.log.len() as u64);
        if self.stopping || self.machine.lowest() >= upto {
            return;
        }
        let old = |event: &&Arc<Stored>| event.position <= upto && self.machine.owes(event);
        let owed: Vec<_> = self.log.iter().filter(old).cloned().collect();
        let asked_for = owed.iter().all(|event| self.of(event).wanted);
        assert!(asked_for, "seed {}: {owed:?} is no loss", self.seed);
        let lost = owed.len() as u64;
        self.order(Wish::Expire { upto, lost });
        // What was under way ends as it ends, and counts as lost all the same.
        for event in owed {
            // One that an earlier expiry passed over is owed by a lane that began later, though nobody knows of it.
            self.of_mut(&event).expiring |= !self.machine.owes(&event);
        }
    }

    pub(super) fn order(&mut self, wish: Wish) {
        self.orders += 1;
        let number = self.orders;
        self.unanswered.insert(number);
        self.step(Input::Order(Order { number, wish }));
    }

    /// One delivery hangs; nothing but its key waits for it.
    fn get_by_without_one(&mut self) {
        let hangs = self.pending.iter().find_map(|pending| match pending {
            Pending::Delivery { events, .. } => Some(events[0].position),
            _ => None,
        });
        let whole = self.machine.is_broken() || self.machine.caution.is_some() || self.stopping;
        if whole || self.deadly != 0 || hangs.is_none() {
            return;
        }
        self.stuck = hangs;
        let ended = self.go_on_until(|world| world.machine.cursor() == world.log.len() as u64);
        self.stuck = None;
        self.check_flow(ended);
    }

    /// Nothing fails any more. Says whether it came to that.
    pub(super) fn go_on_until(&mut self, so: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..STEPS_TO_END {
            if so(self) {
                return true;
            }
            if self.machine.is_paused() {
                self.order(Wish::Resume);
            }
            self.feed();
            self.proceed();
            self.pass_time();
            self.step(Input::Tick);
            self.end_stop();
        }
        false
    }
}
