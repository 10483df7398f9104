//! The machine against a model of the world: seeded, with faults, outages, hangs, lost answers, jumps of the clock, pauses,
//! stops, kills and take-overs between any two steps.
//!
//! **Cast.** A [`world::World`] is one process after another on one database, with one machine; of every fifth seed [`beside`] has
//! another machine in it, a replay of the first; [`fate`] says what becomes of it. [`checks`] says what must hold: at every
//! delivery, that its turn has come; after every change of the database, that a restart at this moment would lose nothing
//! and apply nothing twice; at the end, that every event is handled or waits behind a dead letter. The faults of
//! [`mutant`](super::mutant) are built in on purpose, and each must be found.
//!
//! A schedule follows from its seed alone. One that fails says its seed and its last steps; `SIMULATION_SEED=7` runs that
//! seed only, and `SIMULATION_SCHEDULES=100000` as many as that.

mod beside;
mod checks;
mod fate;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use beside::Beside;
use world::World;

use super::mutant::{self, Mutant};
use super::terms::{DeliveryState, Input};

/// Schedules of an ordinary test run.
const SCHEDULES: u64 = 1_000;
/// Seeds are shared out among so many threads.
const THREADS: u64 = 2;
/// Each fault must be found within so many.
const SCHEDULES_FOR_A_MUTANT: u64 = 1_000;
/// The last lines of its trace that a failure shows.
const LINES: usize = 60;

#[expect(
    clippy::disallowed_methods,
    reason = "how long a simulation runs is not the product's configuration"
)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What a seed is the schedule of.
enum Schedule {
    Alone(Box<World>),
    /// With replays beside it.
    Beside(Box<Beside>),
}

impl Schedule {
    fn of(seed: u64) -> Self {
        if seed % 5 == 3 {
            Self::Beside(Box::new(Beside::new(seed)))
        } else {
            Self::Alone(Box::new(World::new(seed)))
        }
    }

    fn traced(seed: u64) -> Self {
        let mut schedule = Self::of(seed);
        schedule.world().trace = Some(String::new());
        schedule
    }

    /// Of both, the one that is not the replay.
    fn world(&mut self) -> &mut World {
        match self {
            Self::Alone(world) => world,
            Self::Beside(both) => &mut both.live,
        }
    }

    fn run(&mut self) -> std::thread::Result<()> {
        catch_unwind(AssertUnwindSafe(|| match self {
            Self::Alone(world) => world.run(),
            Self::Beside(both) => both.run(),
        }))
    }

    fn trace(&mut self) -> String {
        let trace = match self {
            Self::Alone(world) => world.trace.take(),
            Self::Beside(both) => both.trace(),
        };
        trace.unwrap_or_default()
    }
}

fn fails(seed: u64) -> bool {
    Schedule::of(seed).run().is_err()
}

fn run(seed: u64) {
    if let Err(panic) = Schedule::of(seed).run() {
        let mut schedule = Schedule::traced(seed);
        let again = schedule.run();
        let trace = schedule.trace();
        let lines: Vec<_> = trace.lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            println!("{line}");
        }
        println!("SIMULATION_SEED={seed} fails; again: {}", again.is_err());
        resume_unwind(panic);
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_turn() {
    if let Some(seed) = number("SIMULATION_SEED") {
        return run(seed);
    }
    let schedules = number("SIMULATION_SCHEDULES").unwrap_or(SCHEDULES);
    std::thread::scope(|scope| {
        for first in 0..THREADS {
            let seeds = (first..schedules).step_by(usize::try_from(THREADS).unwrap());
            scope.spawn(|| seeds.for_each(run));
        }
    });
}

#[test]
fn every_fault_is_found() {
    let mut missed = Vec::new();
    for &mutant in Mutant::ALL {
        mutant::choose(Some(mutant));
        let found = (0..SCHEDULES_FOR_A_MUTANT).find(|seed| fails(*seed));
        println!("{mutant:?}: found by {found:?}");
        missed.extend(found.is_none().then_some(mutant));
    }
    mutant::choose(None);
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn a_seed_repeats_byte_for_byte() {
    let trace = |seed| {
        let mut schedule = Schedule::traced(seed);
        schedule.run().expect("it holds");
        schedule.trace()
    };
    for seed in 0..20 {
        let first = trace(seed);
        assert!(first.len() > 1000 && first == trace(seed), "seed {seed}");
    }
    assert_ne!(trace(0), trace(1));
}

#[test]
fn the_window_is_bounded_until_what_holds_it_gets_a_lane() {
    let mut world = World::new(3);
    world.heal();
    for _ in 0..10_000 {
        world.append();
    }
    for _ in 0..10_000 {
        world.feed();
    }
    assert_eq!(world.machine.wants(), None);
    let read = world.machine.state_of(&world.log[4095]).0;
    assert!(matches!(
        read,
        DeliveryState::Waiting | DeliveryState::Skipped
    ));
    world.now.tick = Duration::from_secs(1);
    world.step(Input::Tick);
    let more = world.machine.wants();
    assert!(more.is_some_and(|(read, room)| read == 4096 && room > 0));
}
