//! Events that all wait for each other, against a target that fails, hangs and comes back as a seed says.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::breaker::Admits;
use super::reads::Bounds;
use super::step::Machine;
use super::terms::{Effect, Input, Now, Rules, Selection, Versions};
use super::verdict::{Rng, Verdict};
use crate::Time;
use crate::envelope::{Key, Priority, Stored};
use crate::fakes::envelope;
use crate::subscriber::{Batch, Condition, Order, Retry, SAVE_EVERY, StoredSubscription};

const RETRY: Retry = Retry {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(5),
    max_attempts: 2,
    ..Retry::NONE
};

fn rules() -> Rules {
    Rules {
        upto: None,
        selection: Selection {
            kinds: None,
            priority: Priority::Low,
        },
        versions: Versions::default(),
        order: Order::Log,
        concurrency: 16,
        growing_to: 0,
        retry: RETRY,
        save_every: SAVE_EVERY,
        batch: Some(Batch {
            max: 7,
            wait: Duration::from_millis(5),
        }),
        bounds: Bounds::DEFAULT,
        breaker: true,
    }
}

fn machine(now: Now) -> Machine {
    let stored = StoredSubscription {
        name: "relay".to_owned(),
        position: 0,
        condition: Condition {
            // The stop before was none.
            running: true,
            suspect: 3,
            ..Condition::default()
        },
        generation: 1,
    };
    Machine::new(rules(), stored, Vec::new(), 0, now)
}

fn event(position: u64, rng: &mut Rng) -> Arc<Stored> {
    let id = Uuid::from_u128(u128::from(position));
    let mut envelope = envelope(id, "any", "", Time::UNIX_EPOCH);
    envelope.key = Key::new("key", rng.up_to(4));
    envelope.priority = Priority::ALL[usize::try_from(rng.up_to(3)).unwrap()];
    Arc::new(Stored {
        position,
        epoch: 1,
        recorded_at: Time::UNIX_EPOCH,
        envelope,
        context: None,
        body: Vec::new(),
        personal: None,
        chain: [0; 32],
    })
}

/// What a target that is away makes of a call.
fn failure(rng: &mut Rng) -> Verdict {
    match rng.up_to(4) {
        0 => Verdict::TimedOut,
        1 => Verdict::Panicked,
        2 => Verdict::RetryAfter(Duration::from_secs(1), "busy".to_owned()),
        _ => Verdict::Retry("away".to_owned()),
    }
}

fn run(seed: u64) {
    const EVENTS: u64 = 300;
    let mut rng = Rng::seeded(seed);
    let mut now = Now {
        tick: Duration::ZERO,
        wall: Time::UNIX_EPOCH,
    };
    let (mut machine, mut effects) = (machine(now), Vec::new());
    let (mut read, mut done, mut failed) = (0, 0, 0);
    let mut under_way: Vec<Arc<Stored>> = Vec::new();
    let mut failed_at = None;
    for _ in 0..20_000 {
        if done == EVENTS {
            assert!(failed > 0, "seed {seed}: nothing failed");
            assert!(machine.is_at_rest() || machine.next_tick(now).is_some());
            assert_eq!(machine.cursor(), EVENTS);
            return;
        }
        now.tick += Duration::from_millis(rng.up_to(1_500));
        let mut input = Input::Tick;
        if let Some((after, room)) = machine
            .wants()
            .filter(|_| read < EVENTS && rng.up_to(2) > 0)
        {
            assert_eq!(after, read);
            let upto = (read + 1 + rng.up_to(room.min(20) - 1)).min(EVENTS);
            let events = (read + 1..=upto).map(|position| event(position, &mut rng));
            input = Input::Read(events.collect());
            read = upto;
        } else if !under_way.is_empty() && rng.up_to(2) == 0 {
            let fails = rng.up_to(3) == 0;
            let well = if fails {
                rng.up_to(under_way.len() as u64 - 1)
            } else {
                under_way.len() as u64
            };
            let mut ended = Vec::new();
            for (index, event) in under_way.drain(..).enumerate() {
                let verdict = if (index as u64) < well {
                    done += 1;
                    Verdict::Done
                } else {
                    failure(&mut rng)
                };
                ended.push((event, verdict));
            }
            if fails {
                failed += 1;
                failed_at = Some(now.tick);
            }
            input = Input::FinishedTogether(ended);
        }
        machine.step(input, now, &mut rng, &mut effects);
        machine.step(Input::Tick, now, &mut rng, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Deliver { event, .. } => {
                    assert!(under_way.is_empty(), "seed {seed}: two at once");
                    under_way.push(event);
                }
                Effect::DeliverTogether(events) => {
                    assert!(under_way.is_empty(), "seed {seed}: two at once");
                    under_way.extend(events.into_iter().map(|(event, _)| event));
                }
                Effect::Save(save) => {
                    assert!(save.lanes.is_empty() && save.letters.is_empty());
                    assert!(save.cursor.is_none_or(|cursor| cursor <= done));
                    let input = Input::Saved { committed: true };
                    // What it leads to comes with the next tick.
                    machine.step(input, now, &mut rng, &mut Vec::new());
                }
                other => panic!("seed {seed}: {other:?}"),
            }
            if !under_way.is_empty() && under_way[0].position == done + 1 {
                let rested = failed_at.is_none_or(|at| now.tick >= at + RETRY.base);
                assert!(rested, "seed {seed}: again at once");
            }
        }
        for (index, event) in under_way.iter().enumerate() {
            let expected = done + 1 + index as u64;
            assert_eq!(event.position, expected, "seed {seed}: out of order");
        }
        assert_eq!(
            machine.lanes_retrying() + machine.lanes_parked(),
            0,
            "seed {seed}: something was set aside"
        );
    }
    panic!("seed {seed}: {done} of {EVENTS} are done");
}

#[test]
fn events_that_wait_for_each_other_come_in_order_whatever_fails() {
    (0..200).for_each(run);
}

#[test]
fn what_can_never_work_pauses_it() {
    let mut rng = Rng::seeded(1);
    let now = Now {
        tick: Duration::from_secs(1),
        wall: Time::UNIX_EPOCH,
    };
    let (mut machine, mut effects) = (machine(now), Vec::new());
    let first = event(1, &mut rng);
    let second = event(2, &mut rng);
    let inputs = [
        Input::Read(vec![first.clone(), second.clone()]),
        Input::Finished {
            event: first,
            verdict: Verdict::GiveUp("never".to_owned()),
        },
        Input::Finished {
            event: second,
            verdict: Verdict::Pause("not now".to_owned()),
        },
    ];
    for input in inputs {
        machine.step(input, now, &mut rng, &mut effects);
        machine.step(Input::Tick, now, &mut rng, &mut effects);
        let later = Now {
            tick: now.tick + Duration::from_secs(1),
            ..now
        };
        machine.step(Input::Tick, later, &mut rng, &mut effects);
    }
    assert!(machine.is_paused());
    assert_eq!(machine.cursor(), 0);
    assert_eq!(machine.admits(Duration::from_hours(1)), Admits::Nothing);
}
