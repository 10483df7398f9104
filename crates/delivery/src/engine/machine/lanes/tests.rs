//! What the simulation meets once in ten thousand schedules.

use std::time::Duration;

use super::*;
use crate::fakes::envelope;

const KEY: &str = "a";

fn now() -> Now {
    Now {
        tick: Duration::ZERO,
        wall: Time::UNIX_EPOCH,
    }
}

fn event(position: u64) -> Arc<Stored> {
    let id = Uuid::from_u128(position.into());
    Arc::new(Stored {
        position,
        epoch: 1,
        recorded_at: Time::UNIX_EPOCH,
        envelope: envelope(id, "order.placed", KEY, Time::UNIX_EPOCH),
        context: None,
        body: Vec::new(),
        personal: None,
        chain: [0; 32],
    })
}

/// An event that hangs.
fn hanging(event: &Arc<Stored>) -> Taken {
    Taken {
        event: Arc::clone(event),
        attempts: 1,
        panics: 0,
        running: true,
        leads: true,
        followers: Vec::new(),
    }
}

#[test]
fn the_row_of_a_lane_that_was_is_not_that_of_the_next() {
    let mut lanes = Lanes::load(Order::Key, Bounds::DEFAULT, Vec::new(), 0, now());
    let (first, second) = (event(1), event(5));
    let key = lanes.open(&hanging(&first), now());
    // A save is under way while the lane is caught up, and the key has trouble again.
    let rows = lanes.take_rows();
    assert_eq!(rows.len(), 1);
    lanes.pass(&key, &first, now());
    lanes.take_passed(4);
    lanes.open(&hanging(&second), now());
    lanes.hold_row(key.clone());
    lanes.saved(&rows, now());
    assert_eq!(lanes.limit(9), 4, "a restart would not find the second");
    lanes.let_go(&key, true);
    assert_eq!(lanes.limit(9), 9);
}
