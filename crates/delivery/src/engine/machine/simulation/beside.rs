//! A subscription and a replay of it: two machines on one log and one database, in one process.
//!
//! Each is a [`World`] with all that must hold of one. Beside that: a replay of a range ends with all of it, and delivers
//! nothing else; a generation takes the place of the other only when it is as far and has no key in trouble, paused if that was;
//! and what is new goes on while the replay does not.

use std::fmt::Write as _;
use std::sync::Arc;

use super::super::decisions::{Fate, Wish};
use super::super::terms::Input;
use super::super::verdict::Rng;
use super::world::{STEPS, STEPS_TO_END, World, letters};
use crate::subscriber::Choice;

pub(super) struct Beside {
    pub(super) live: World,
    replay: Option<Replay>,
    rng: Rng,
}

struct Replay {
    world: World,
    /// The last position of a range. `None`: it takes the place of the other when it has caught up.
    to: Option<u64>,
    /// Its runner has ended, and that of the one whose place it takes; the commit that says so has not.
    leaving: bool,
}

impl Beside {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            live: World::new(seed),
            replay: None,
            // Not the numbers of the world.
            rng: Rng::seeded(!seed),
        }
    }

    pub(super) fn run(&mut self) {
        for _ in 0..STEPS {
            match self.rng.up_to(999) {
                0..150 => self.append(),
                150..240 => self.pass_time(),
                240..255 => self.begin(),
                255..330 => self.see_through(),
                330..340 => self.each(|world| world.outage = !world.outage),
                340..344 => self.stop(),
                344..350 => self.kill(),
                _ => self.act(),
            }
            self.end_stop();
        }
        self.get_by_without_the_replay();
        self.each(World::heal);
        for _ in 0..STEPS_TO_END {
            if self.replay.is_none() {
                break;
            }
            self.go_on();
        }
        let ended = self.replay.is_none();
        assert!(ended, "seed {}: a replay does not end", self.live.seed);
        self.live.finish();
    }

    /// Does something with both.
    fn each(&mut self, act: impl Fn(&mut World)) {
        act(&mut self.live);
        self.of_replay(act);
    }

    fn of_replay(&mut self, act: impl Fn(&mut World)) {
        let Some(replay) = &mut self.replay else {
            return;
        };
        replay.world.trace = self.live.trace.as_ref().map(|_| String::new());
        act(&mut replay.world);
        self.copy_trace();
    }

    /// Says in the trace what the replay did.
    fn copy_trace(&mut self) {
        let done = self.replay.as_mut().and_then(|r| r.world.trace.take());
        if let (Some(trace), Some(done)) = (&mut self.live.trace, done) {
            for line in done.lines() {
                let _ = writeln!(trace, "replay: {line}");
            }
        }
    }

    pub(super) fn trace(&mut self) -> Option<String> {
        self.copy_trace();
        self.live.trace.take()
    }

    fn is_leaving(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.leaving)
    }

    /// Whether the subscription has a runner: it has none while another takes its place.
    fn is_live(&self) -> bool {
        let mut replay = self.replay.iter();
        !replay.any(|replay| replay.leaving && replay.to.is_none())
    }

    fn append(&mut self) {
        let event = self.live.compose();
        self.each(|world| world.take(Arc::clone(&event)));
    }

    fn pass_time(&mut self) {
        let passing = self.live.some_time();
        self.each(|world| world.pass(passing));
        self.step(|| Input::Tick);
    }

    /// Gives all that run an input.
    fn step(&mut self, input: impl Fn() -> Input) {
        if self.is_live() {
            self.live.step(input());
        }
        if !self.is_leaving() {
            self.of_replay(|world| world.step(input()));
        }
    }

    /// One of both does something.
    fn act(&mut self) {
        let act = match self.rng.up_to(99) {
            0..30 => World::feed,
            30..90 => World::proceed,
            90..94 => World::decide,
            94 => World::expire,
            95 => |world: &mut World| world.order(Wish::Pause),
            _ => |world: &mut World| world.order(Wish::Resume),
        };
        if self.rng.up_to(1) == 0 {
            if self.is_live() {
                act(&mut self.live);
            }
        } else if !self.is_leaving() {
            self.of_replay(act);
        }
    }

    fn begin(&mut self) {
        let head = self.live.log.len() as u64;
        if self.replay.is_some() || self.live.stopping || head == 0 {
            return;
        }
        let (from, to) = if self.rng.up_to(1) == 0 {
            (1, None)
        } else {
            let from = 1 + self.rng.up_to(head - 1);
            (from, Some(from + self.rng.up_to(head - from)))
        };
        let world = self.live.again(from, to);
        self.replay = Some(Replay {
            world,
            to,
            leaving: false,
        });
    }

    /// As the task does that sees a replay through.
    fn see_through(&mut self) {
        let Some(replay) = &mut self.replay else {
            return;
        };
        if self.live.stopping {
            return;
        }
        if !replay.leaving {
            let upto = replay.to.unwrap_or_else(|| self.live.machine.cursor());
            let machine = &replay.world.machine;
            if !machine.has_replayed(machine.cursor(), upto) {
                return;
            }
            check_replayed(&replay.world, upto);
            replay.leaving = true;
            replay.world.leave();
            if replay.to.is_none() {
                self.live.leave();
            }
            return;
        }
        if !self.live.healed && self.live.chance(15) {
            // The commit fails, and is tried again.
            return;
        }
        let Some(replay) = self.replay.take() else {
            return;
        };
        if let Some(trace) = &mut self.live.trace {
            let _ = writeln!(trace, "the replay ends, to {:?}", replay.to);
        }
        if replay.to.is_none() {
            let mut next = replay.world;
            next.database.condition = self.live.machine.bequeathed();
            next.trace = self.live.trace.take();
            next.start();
            next.check_trust();
            let (now, before) = (next.machine.is_paused(), self.live.machine.is_paused());
            assert_eq!(now, before, "seed {}: paused", next.seed);
            self.live = next;
        }
    }

    fn kill(&mut self) {
        if let Some(replay) = &mut self.replay {
            replay.leaving = false;
        }
        self.each(World::kill);
    }

    fn stop(&mut self) {
        if self.live.stopping || self.is_leaving() {
            return;
        }
        self.each(|world| world.stopping = true);
        self.step(|| Input::Stop);
    }

    /// The process is gone when both have stopped.
    fn end_stop(&mut self) {
        let mut replay = self.replay.iter();
        if self.live.has_stopped() && replay.all(|replay| replay.world.has_stopped()) {
            self.each(World::end_stop);
        }
    }

    /// The replay does nothing at all; what is new does not wait for it.
    fn get_by_without_the_replay(&mut self) {
        let Some(replay) = self.replay.as_mut().filter(|replay| !replay.leaving) else {
            return;
        };
        if self.live.stopping {
            return;
        }
        self.live.heal();
        let all = |world: &World| world.machine.cursor() == world.log.len() as u64;
        let ended = self.live.go_on_until(all);
        replay.world.now = self.live.now;
        self.live.check_flow(ended);
    }

    /// Both go on, and an operator sees to what waits for one.
    fn go_on(&mut self) {
        let (live, leaving) = (self.is_live(), self.is_leaving());
        let go_on = |world: &mut World| {
            if world.machine.is_paused() {
                world.order(Wish::Resume);
            }
            world.feed();
            world.proceed();
        };
        if live {
            go_on(&mut self.live);
        }
        if !leaving {
            self.of_replay(|world| {
                go_on(world);
                if world.machine.lanes_parked() > 0 && world.unanswered.is_empty() {
                    world.order(letters(Choice::default(), Fate::Redrive(None)));
                }
            });
        }
        self.pass_time();
        self.end_stop();
        self.see_through();
    }
}

/// All that was asked for up to there has come to an end: none waits, none is parked.
fn check_replayed(world: &World, upto: u64) {
    let seed = world.seed;
    for (event, known) in world.log.iter().zip(&world.known) {
        let ended = known.handled || known.discarded || known.expiring || known.expired;
        let position = event.position;
        assert!(
            position > upto || !known.wanted || ended,
            "seed {seed}: it ends without {position}"
        );
    }
}
