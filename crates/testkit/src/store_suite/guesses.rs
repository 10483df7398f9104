use std::time::Duration;

use quivive_app::ports::{Guesses as _, NewDevice, Path, Sessions as _};
use quivive_delivery::{CommitError, Write};
use quivive_domain::guess::{Admission, AfterWrong, GuessPolicy, Guesses as Counters};
use quivive_domain::{DeviceId, UserId};

use super::fixture::{Fixture, TICK, at, hash};

const POLICY: GuessPolicy = GuessPolicy {
    limit: 2,
    window: Duration::from_mins(1),
    first_lock: Duration::from_secs(90),
    next_locks: Duration::from_mins(10),
    hard_limit: 4,
};

/// Puts a path into any state; the port alone would need a story for each.
const SET: &str = "INSERT INTO guess (id, window_from, reserved, wrong, in_a_row, locks, locked_until) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

fn set(path: Path, c: &Counters) -> Write {
    let params = vec![
        path.id().into(),
        c.window_from.into(),
        c.reserved.into(),
        c.wrong.into(),
        c.in_a_row.into(),
        c.locks.into(),
        c.locked_until.into(),
    ];
    Write::one(SET, params)
}

/// States on both sides of every edge of the rules, as of `at(1000)`.
fn states() -> Vec<Counters> {
    let now = at(1000);
    let over = now - POLICY.window;
    let mut states = Vec::new();
    for window_from in [over - TICK, over, over + TICK, now] {
        for locked_until in [None, Some(now - TICK), Some(now), Some(now + TICK)] {
            for (reserved, wrong) in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 2)] {
                for in_a_row in [wrong, POLICY.hard_limit - 1, POLICY.hard_limit] {
                    states.push(Counters {
                        window_from,
                        reserved,
                        wrong,
                        in_a_row,
                        locks: reserved,
                        locked_until,
                    });
                }
            }
        }
    }
    states
}

/// Puts a path into every state, commits `write` for each, and gives back what it was, whether it was done, and what it is.
async fn for_every_state(
    f: &Fixture,
    write: impl Fn(Path, &Counters) -> Write,
) -> Vec<(Counters, bool, Counters)> {
    let paths: Vec<_> = states()
        .into_iter()
        .flat_map(|state| {
            let (account, stranger) = (UserId(f.id()), f.id());
            [
                (Path::Account(account), state),
                (Path::Stranger(stranger), state),
            ]
        })
        .collect();
    f.must(paths.iter().map(|(path, state)| set(*path, state)))
        .await;
    let mut submitted = Vec::new();
    for (path, state) in &paths {
        submitted.push(f.commit(vec![write(*path, state)]));
    }
    let mut seen = Vec::new();
    for ((path, before), commit) in paths.iter().zip(submitted) {
        let done = match commit.await {
            Ok(_) => true,
            Err(CommitError::Missed(0)) => false,
            Err(other) => panic!("{other:?}"),
        };
        seen.push((*before, done, counters(f, *path).await));
    }
    seen
}

async fn counters(f: &Fixture, path: Path) -> Counters {
    let found = f.db.counters(path).await.expect("a read");
    found.expect("the path is open")
}

pub(super) async fn a_path_is_opened_once(f: Fixture) {
    let path = Path::Device(DeviceId(f.id()));
    assert!(f.db.counters(path).await.expect("a read").is_none());
    f.misses(f.db.reserve(path, &POLICY, at(1))).await;
    f.must([f.db.open(path, at(1))]).await;
    let fresh = Counters {
        window_from: at(1),
        reserved: 0,
        wrong: 0,
        in_a_row: 0,
        locks: 0,
        locked_until: None,
    };
    assert_eq!(counters(&f, path).await, fresh);
    f.must([f.db.reserve(path, &POLICY, at(2))]).await;
    f.must([f.db.open(path, at(3))]).await;
    assert_eq!(
        counters(&f, path).await,
        Counters {
            reserved: 1,
            ..fresh
        }
    );
}

pub(super) async fn a_strangers_path_opens_by_itself_and_is_forgotten(f: Fixture) {
    let (tried, again) = (Path::Stranger(f.id()), Path::Stranger(f.id()));
    let account = Path::Account(UserId(f.id()));
    f.must([f.db.open(account, at(1))]).await;
    for path in [tried, again] {
        assert!(f.db.counters(path).await.expect("a read").is_none());
        f.must([f.db.reserve(path, &POLICY, at(1))]).await;
        f.must([f.db.wrong(path, &POLICY, None, at(2))]).await;
    }
    let one_wrong = Counters {
        reserved: 1,
        wrong: 1,
        in_a_row: 1,
        ..cleared(at(1))
    };
    assert_eq!(counters(&f, tried).await, one_wrong);
    let places = (0..50).map(|_| f.db.reserve(again, &POLICY, at(3)));
    assert_eq!(f.race(places.collect()).await, POLICY.limit as usize - 1);

    let day = 90 * 24 * 3600;
    assert!(!f.db.has_forgettable(at(day)).await.expect("a read"));
    assert!(f.db.has_forgettable(at(day + 1)).await.expect("a read"));
    f.must([f.db.forget(at(day + 1))]).await;
    assert!(f.db.counters(tried).await.expect("a read").is_none());
    assert_eq!(counters(&f, again).await.reserved, POLICY.limit);
    f.must([f.db.forget(at(day + 3))]).await;
    assert!(f.db.counters(again).await.expect("a read").is_none());
    assert_eq!(
        counters(&f, account).await,
        cleared(at(1)),
        "an account's path stays"
    );
}

pub(super) async fn a_closed_path_is_gone(f: Fixture) {
    let (closed, other) = (
        Path::Device(DeviceId(f.id())),
        Path::Device(DeviceId(f.id())),
    );
    f.must([f.db.open(closed, at(1)), f.db.open(other, at(1))])
        .await;
    let closings = (0..50).map(|_| f.db.close(closed)).collect();
    assert_eq!(f.race(closings).await, 1);
    assert!(f.db.counters(closed).await.expect("a read").is_none());
    f.misses(f.db.reserve(closed, &POLICY, at(2))).await;
    f.misses(f.db.wrong(closed, &POLICY, None, at(2))).await;
    f.misses(f.db.clear(closed, at(2), at(2))).await;
    f.must([f.db.give_back(closed, at(2))]).await;
    assert_eq!(counters(&f, other).await, cleared(at(1)));
}

pub(super) async fn a_place_is_given_exactly_when_the_rule_says_open(f: Fixture) {
    let now = at(1000);
    let reserve = |path, _: &Counters| f.db.reserve(path, &POLICY, now);
    for (before, done, after) in for_every_state(&f, reserve).await {
        let open = POLICY.admission(&before, now) == Admission::Open;
        assert_eq!(done, open, "{before:?}");
        let expected = if !open {
            before
        } else if before.window_from <= POLICY.window_cutoff(now) {
            Counters {
                window_from: now,
                reserved: 1,
                wrong: 0,
                ..before
            }
        } else {
            Counters {
                reserved: before.reserved + 1,
                ..before
            }
        };
        assert_eq!(after, expected, "after {before:?}");
    }
}

pub(super) async fn a_wrong_guess_locks_exactly_when_the_rule_says_so(f: Fixture) {
    let now = at(1000);
    let rule = |before: &Counters| match POLICY.after_wrong(before, now) {
        AfterWrong::Open => None,
        AfterWrong::LockedUntil(until) => Some(until),
    };
    let count = |path, before: &Counters| f.db.wrong(path, &POLICY, rule(before), now);
    for (before, done, after) in for_every_state(&f, count).await {
        let until = rule(&before);
        let expected = Counters {
            wrong: before.wrong + 1,
            in_a_row: before.in_a_row + 1,
            locks: before.locks + u32::from(until.is_some()),
            locked_until: until.or(before.locked_until),
            ..before
        };
        assert!(done, "{before:?}");
        assert_eq!(after, expected, "after {before:?}");
    }
    let contrary = |path, before: &Counters| {
        let until = rule(before).is_none().then_some(at(2000));
        f.db.wrong(path, &POLICY, until, now)
    };
    for (before, done, after) in for_every_state(&f, contrary).await {
        assert!(!done, "{before:?}");
        assert_eq!(after, before);
    }
}

pub(super) async fn two_hundred_parallel_reservations_get_exactly_the_limit(f: Fixture) {
    let policy = GuessPolicy::default();
    let account = f.account("ada").await;
    let path = Path::Account(account.id);
    let reserve = |_| f.db.reserve(path, &policy, at(1));
    assert_eq!(
        f.race((0..200).map(reserve).collect()).await,
        policy.limit as usize
    );
    assert_eq!(counters(&f, path).await.reserved, policy.limit);

    let later = at(1) + policy.window;
    let reserve = |_| f.db.reserve(path, &policy, later);
    assert_eq!(
        f.race((0..200).map(reserve).collect()).await,
        policy.limit as usize
    );
    let over = counters(&f, path).await;
    assert_eq!((over.reserved, over.window_from), (policy.limit, later));
}

pub(super) async fn of_parallel_wrong_guesses_one_locks_and_all_are_counted(f: Fixture) {
    let policy = GuessPolicy::default();
    let account = f.account("ada").await;
    let path = Path::Account(account.id);
    let until = at(1) + policy.first_lock;
    let open = |_| f.db.wrong(path, &policy, None, at(1));
    assert_eq!(
        f.race((0..50).map(open).collect()).await,
        4,
        "below the limit"
    );
    let lock = |_| f.db.wrong(path, &policy, Some(until), at(1));
    assert_eq!(f.race((0..50).map(lock).collect()).await, 1);
    f.must([f.db.wrong(path, &policy, None, at(2))]).await;
    let locked = counters(&f, path).await;
    assert_eq!((locked.wrong, locked.in_a_row, locked.locks), (6, 6, 1));
    assert_eq!(locked.locked_until, Some(until));
}

pub(super) async fn a_right_password_clears_unless_locked(f: Fixture) {
    let (now, reserved_at) = (at(1000), at(1000) - POLICY.window);
    let clear = |path, _: &Counters| f.db.clear(path, reserved_at, now);
    for (before, done, after) in for_every_state(&f, clear).await {
        let locked = before.locked_until.is_some_and(|until| until > now);
        assert_eq!(done, !locked, "{before:?}");
        // Of a window that began later, no place is its own.
        let own = u32::from(before.window_from <= reserved_at);
        let under_way = Counters {
            reserved: before.reserved.saturating_sub(before.wrong + own),
            ..cleared(before.window_from)
        };
        assert_eq!(after, if locked { before } else { under_way });
    }
}

pub(super) async fn a_place_is_given_back_to_its_own_window_and_never_that_of_a_wrong_guess(
    f: Fixture,
) {
    let reserved_at = at(1000) - POLICY.window;
    let give_back = |path, _: &Counters| f.db.give_back(path, reserved_at);
    for (before, done, after) in for_every_state(&f, give_back).await {
        let held = before.window_from <= reserved_at && before.reserved > before.wrong;
        let reserved = before.reserved - u32::from(held);
        assert!(done, "{before:?}");
        assert_eq!(after, Counters { reserved, ..before }, "{before:?}");
    }
    let path = Path::Account(f.account("ada").await.id);
    f.must([f.db.reserve(path, &POLICY, at(7))]).await;
    let backs = (0..50).map(|_| f.db.give_back(path, at(7))).collect();
    assert_eq!(f.race(backs).await, 50);
    assert_eq!(counters(&f, path).await.reserved, 0);
}

pub(super) async fn the_end_of_a_row_leaves_the_rest(f: Fixture) {
    let end = |path: Path, _: &Counters| f.db.end_row(UserId(path.id()));
    for (before, done, after) in for_every_state(&f, end).await {
        let in_a_row = 0;
        assert!(done, "{before:?}");
        assert_eq!(after, Counters { in_a_row, ..before });
    }
}

fn cleared(now: quivive_delivery::Time) -> Counters {
    Counters {
        window_from: now,
        reserved: 0,
        wrong: 0,
        in_a_row: 0,
        locks: 0,
        locked_until: None,
    }
}

pub(super) async fn unlocking_reaches_the_devices_of_the_account_alone(f: Fixture) {
    let locked = Counters {
        window_from: at(0),
        reserved: 5,
        wrong: 5,
        in_a_row: 100,
        locks: 3,
        locked_until: Some(at(9000)),
    };
    let (ada, bob) = (UserId(f.id()), UserId(f.id()));
    let mut paths = vec![Path::Account(ada), Path::Account(bob)];
    for owner in [ada, ada, bob] {
        let id = DeviceId(f.id());
        let device = NewDevice {
            id,
            account: owner,
            token_hash: hash(&id.0),
            name: "Firefox on Linux".to_owned(),
            kind: "browser",
        };
        f.must([f.db.insert_device(&device, 2, at(0))]).await;
        paths.push(Path::Device(id));
    }
    f.must(paths.iter().map(|path| set(*path, &locked))).await;
    f.must([f.db.unlock(ada, at(7))]).await;
    let now = cleared(at(7));
    for (path, expected) in paths.into_iter().zip([now, locked, now, now, locked]) {
        assert_eq!(counters(&f, path).await, expected, "{path:?}");
    }
    f.must([f.db.unlock(UserId(f.id()), at(8))]).await;
}
