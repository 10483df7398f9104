use quivive_delivery::Key;
use quivive_delivery::subscriber::{
    Choice, Condition, DeadLetters as _, ErrorClass, LaneState, StoredLane, StoredReplay,
    StoredSubscription, Subscriptions as _,
};

use uuid::Uuid;

use super::fixture::{Fixture, at};
use super::log::{append, positions};

async fn stored(f: &Fixture) -> Vec<(String, u64)> {
    let load = f.db.load().await.expect("a read");
    load.into_iter()
        .map(|StoredSubscription { name, position, .. }| (name, position))
        .collect()
}

pub(super) fn lane(f: &Fixture, key: &str) -> StoredLane {
    StoredLane {
        key: Key::new("account", key),
        done: 5,
        state: LaneState::Retrying,
        attempts: 2,
        due: at(10),
        since: at(1),
        event_id: f.id(),
        position: 0,
        event_type: String::new(),
        error_class: None,
        error: "connection refused".to_owned(),
    }
}

pub(super) async fn a_subscription_is_created_once(f: Fixture) {
    f.must([f.db.create("mail", 7), f.db.create("alerts", 0)])
        .await;
    f.misses(f.db.create("mail", 9)).await;
    assert_eq!(
        stored(&f).await,
        [("mail".to_owned(), 7), ("alerts".to_owned(), 0)]
    );
}

pub(super) async fn a_cursor_moves_forward_alone(f: Fixture) {
    f.must([f.db.create("mail", 7), f.db.create("alerts", 3)])
        .await;
    f.must([f.db.advance("mail", 9)]).await;
    f.must([f.db.advance("mail", 9)]).await;
    f.misses(f.db.advance("mail", 8)).await;
    f.misses(f.db.advance("nobody", 8)).await;
    assert_eq!(
        stored(&f).await,
        [("mail".to_owned(), 9), ("alerts".to_owned(), 3)]
    );
}

pub(super) async fn a_condition_is_kept_and_follows_a_new_name(f: Fixture) {
    f.must([f.db.create("mail", 7), f.db.create("alerts", 3)])
        .await;
    let condition = Condition {
        paused: true,
        running: true,
        suspect: 7,
        crashes: 2,
    };
    f.must([f.db.put_condition("mail", &condition)]).await;
    f.misses(f.db.put_condition("nobody", &condition)).await;
    f.must([f.db.rename("mail", "letters")]).await;
    let stored = f.db.load().await.expect("a read");
    let conditions: Vec<_> = stored
        .iter()
        .map(|stored| (stored.name.as_str(), stored.condition))
        .collect();
    assert_eq!(
        conditions,
        [("letters", condition), ("alerts", Condition::default())]
    );
}

pub(super) async fn the_oldest_lanes_are_told_by_state(f: Fixture) {
    f.must([f.db.create("mail", 7), f.db.create("alerts", 7)])
        .await;
    assert_eq!(f.db.oldest_lanes().await.expect("a read"), []);
    let since = |key: &str, secs, state| StoredLane {
        since: at(secs),
        state,
        ..lane(&f, key)
    };
    // Its key is done, ahead of the cursor: nothing waits.
    let done = StoredLane {
        event_id: Uuid::nil(),
        ..since("0", 1, LaneState::Retrying)
    };
    f.must([
        f.db.put_lane("mail", &done),
        f.db.put_lane("mail", &since("1", 9, LaneState::Retrying)),
        f.db.put_lane("mail", &since("2", 8, LaneState::Retrying)),
        f.db.put_lane("mail", &since("3", 7, LaneState::Parked)),
        f.db.put_lane("alerts", &since("1", 3, LaneState::Parked)),
    ])
    .await;
    assert_eq!(
        f.db.oldest_lanes().await.expect("a read"),
        [
            ("alerts".to_owned(), LaneState::Parked, at(3)),
            ("mail".to_owned(), LaneState::Parked, at(7)),
            ("mail".to_owned(), LaneState::Retrying, at(8)),
        ]
    );
    let mut counts = f.db.lane_counts().await.expect("a read");
    counts.sort_by_key(|(name, state, _)| (name.clone(), *state == LaneState::Retrying));
    let of_mail = |state| {
        let mut mail = counts
            .iter()
            .filter(|(name, is, _)| name == "mail" && *is == state);
        mail.next().map(|(_, _, count)| *count)
    };
    assert_eq!(of_mail(LaneState::Parked), Some(1));
    assert!(of_mail(LaneState::Retrying) > Some(0));
    assert_eq!(counts[0], ("alerts".to_owned(), LaneState::Parked, 1));
}

pub(super) async fn a_lane_is_written_replaced_and_dropped(f: Fixture) {
    f.must([f.db.create("mail", 7), f.db.create("alerts", 7)])
        .await;
    let (one, two) = (lane(&f, "1"), lane(&f, "2"));
    f.must([f.db.put_lane("mail", &one), f.db.put_lane("mail", &two)])
        .await;
    f.must([f.db.put_lane("alerts", &one)]).await;
    assert_eq!(
        f.db.lanes("mail").await.expect("a read"),
        [one.clone(), two.clone()]
    );

    let changed = StoredLane {
        key: two.key.clone(),
        done: 6,
        state: LaneState::Parked,
        attempts: 12,
        due: at(20),
        since: at(2),
        event_id: f.id(),
        position: 7,
        event_type: "user.login.failed".to_owned(),
        error_class: Some(ErrorClass::RateLimited),
        error: "no such mailbox".to_owned(),
    };
    f.must([f.db.put_lane("mail", &changed)]).await;
    assert_eq!(
        f.db.lanes("mail").await.expect("a read"),
        [one.clone(), changed.clone()]
    );
    f.must([f.db.drop_lane("mail", &one.key)]).await;
    f.must([f.db.drop_lane("mail", &one.key)]).await;
    assert_eq!(f.db.lanes("mail").await.expect("a read"), [changed]);
    assert_eq!(
        f.db.lanes("alerts").await.expect("a read"),
        std::slice::from_ref(&one)
    );
    assert_eq!(f.db.lanes("nobody").await.expect("a read"), []);
    f.misses(f.db.put_lane("nobody", &one)).await;
}

pub(super) async fn a_renamed_subscription_keeps_its_cursor_and_lanes(f: Fixture) {
    f.must([f.db.create("mail", 7), f.db.create("alerts", 3)])
        .await;
    let lane = lane(&f, "1");
    f.must([f.db.put_lane("mail", &lane)]).await;
    f.misses(f.db.rename("mail", "alerts")).await;
    f.misses(f.db.rename("nobody", "somebody")).await;
    f.must([f.db.rename("mail", "letters")]).await;
    assert_eq!(
        stored(&f).await,
        [("letters".to_owned(), 7), ("alerts".to_owned(), 3)]
    );
    assert_eq!(f.db.lanes("letters").await.expect("a read"), [lane]);
    assert_eq!(f.db.lanes("mail").await.expect("a read"), []);
}

pub(super) async fn a_removed_subscription_takes_its_lanes_with_it(f: Fixture) {
    f.must([f.db.create("mail", 7), f.db.create("alerts", 3)])
        .await;
    let one = lane(&f, "1");
    f.must([f.db.put_lane("mail", &one), f.db.put_lane("alerts", &one)])
        .await;
    f.must(f.db.remove("mail")).await;
    assert_eq!(stored(&f).await, [("alerts".to_owned(), 3)]);
    assert_eq!(f.db.lanes("alerts").await.expect("a read"), [one]);
    f.must(f.db.remove("mail")).await;
    // Under the same name again, it has nothing of what it was.
    f.must([f.db.create("mail", 1)]).await;
    assert_eq!(f.db.lanes("mail").await.expect("a read"), []);
}

pub(super) async fn a_backlog_is_of_some_keys_within_its_bounds(f: Fixture) {
    let keys = ["1", "2", "1", "1", "3", "1"];
    let events: Vec<_> = keys.into_iter().map(|key| ("a.b", key)).collect();
    append(&f, &events).await;
    for (of, after, upto, limit, expected) in [
        (&["1"][..], 0, 6, 10, &[1, 3, 4, 6][..]),
        (&["1"], 1, 5, 10, &[3, 4]),
        (&["1"], 0, 6, 2, &[1, 3]),
        (&["1"], 0, 6, 0, &[]),
        (&["1"], 6, 6, 10, &[]),
        (&["1"], 4, u64::MAX, 10, &[6]),
        (&["2", "4"], 0, 6, 10, &[2]),
        (&["1", "3"], 1, 6, 3, &[3, 4, 5]),
        (&["4"], 0, 6, 10, &[]),
        (&[], 0, 6, 10, &[]),
    ] {
        let keys: Vec<_> = of.iter().map(|key| Key::new("account", key)).collect();
        let found = f.db.backlog(&keys, after, upto, limit).await;
        assert_eq!(
            positions(&found.expect("a read")),
            expected,
            "{limit} of {of:?} after {after} up to {upto}"
        );
    }
}

pub(super) async fn events_are_found_at_their_positions(f: Fixture) {
    append(&f, &[("a.b", "1"), ("a.b", "2"), ("a.b", "3")]).await;
    for (at, expected) in [(&[3, 1][..], &[1, 3][..]), (&[2, 9], &[2]), (&[], &[])] {
        let found = f.db.events_at(at).await.expect("a read");
        assert_eq!(positions(&found), expected);
    }
}

pub(super) async fn a_replay_is_written_once_and_a_generation_only_rises(f: Fixture) {
    f.must([f.db.create("mail", 9)]).await;
    let replay = StoredReplay {
        name: "mail@2".to_owned(),
        subscription: "mail".to_owned(),
        generation: 2,
        from: 3,
        to: Some(7),
        by: f.id(),
    };
    let whole = StoredReplay {
        name: "other@5".to_owned(),
        subscription: "other".to_owned(),
        to: None,
        ..replay.clone()
    };
    f.must([f.db.put_replay(&replay), f.db.put_replay(&whole)])
        .await;
    f.misses(f.db.put_replay(&replay)).await;
    let second = StoredReplay {
        name: "mail@3".to_owned(),
        ..replay.clone()
    };
    f.misses(f.db.put_replay(&second)).await;
    let replays = f.db.replays().await.expect("a read");
    assert_eq!(replays, [replay.clone(), whole]);
    f.must([f.db.end_replay("mail@2")]).await;
    f.misses(f.db.end_replay("mail@2")).await;
    f.must([f.db.set_generation("mail", 2)]).await;
    f.misses(f.db.set_generation("mail", 2)).await;
    f.misses(f.db.set_generation("mail", 1)).await;
    f.misses(f.db.set_generation("nobody", 9)).await;
    let stored = f.db.load().await.expect("a read");
    assert_eq!(stored[0].generation, 2);
}

/// Two dead letters of `mail` and two of `alerts`, of which the first is like the second of `mail`.
async fn letters(f: &Fixture) -> [StoredLane; 3] {
    f.must([f.db.create("mail", 7), f.db.create("alerts", 7)])
        .await;
    let parked = |key: &str, kind: &str, class, secs| StoredLane {
        state: LaneState::Parked,
        due: at(secs),
        position: 6,
        event_type: kind.to_owned(),
        error_class: Some(class),
        ..lane(f, key)
    };
    let (one, two, three) = (
        parked("1", "a.b", ErrorClass::Poison, 5),
        parked("2", "a.b", ErrorClass::Permanent, 6),
        parked("3", "c.d", ErrorClass::Permanent, 7),
    );
    f.must([
        f.db.put_lane("mail", &one),
        f.db.put_lane("mail", &two),
        f.db.put_lane("mail", &lane(f, "4")),
        f.db.put_lane("alerts", &two),
        f.db.put_lane("alerts", &three),
    ])
    .await;
    [one, two, three]
}

pub(super) async fn dead_letters_are_told_by_what_they_have_in_common(f: Fixture) {
    let [one, two, three] = letters(&f).await;
    let any = Choice::default;
    let found = async |name: Option<&str>, choice: Choice| -> Vec<(String, Key)> {
        let found = f.db.dead_letters(name, &choice, None, 10).await;
        let found = found.expect("a read").into_iter();
        found
            .map(|letter| (letter.subscription, letter.lane.key))
            .collect()
    };
    let place = |name: &str, lane: &StoredLane| (name.to_owned(), lane.key.clone());
    let all = [
        place("alerts", &two),
        place("alerts", &three),
        place("mail", &one),
        place("mail", &two),
    ];
    assert_eq!(found(None, any()).await, all);
    assert_eq!(found(Some("mail"), any()).await, all[2..]);
    assert_eq!(found(Some("nobody"), any()).await, []);
    for (choice, wanted) in [
        (
            Choice {
                key: Some(two.key.clone()),
                ..any()
            },
            vec![all[0].clone(), all[3].clone()],
        ),
        (
            Choice {
                event_id: Some(three.event_id),
                ..any()
            },
            vec![all[1].clone()],
        ),
        (
            Choice {
                event_type: Some("c.d".to_owned()),
                ..any()
            },
            vec![all[1].clone()],
        ),
        (
            Choice {
                error_class: Some(ErrorClass::Poison),
                ..any()
            },
            vec![all[2].clone()],
        ),
        (
            Choice {
                since: Some(at(6)),
                until: Some(at(7)),
                ..any()
            },
            vec![all[0].clone(), all[3].clone()],
        ),
    ] {
        assert_eq!(found(None, choice.clone()).await, wanted, "{choice:?}");
    }
    let page = f.db.dead_letters(None, &any(), Some(&all[1]), 1).await;
    let page = page.expect("a read");
    assert_eq!((page.len(), &page[0].lane), (1, &one));
}

pub(super) async fn dead_letters_are_counted_by_kind(f: Fixture) {
    letters(&f).await;
    let any = Choice::default();
    let groups = f.db.dead_letter_groups(None, &any).await.expect("a read");
    let groups: Vec<_> = groups
        .iter()
        .map(|g| {
            let (class, kind) = (g.error_class.code(), g.event_type.as_str());
            (g.subscription.as_str(), class, kind, g.count, g.oldest)
        })
        .collect();
    assert_eq!(
        groups,
        [
            ("alerts", "permanent", "a.b", 1, at(6)),
            ("alerts", "permanent", "c.d", 1, at(7)),
            ("mail", "permanent", "a.b", 1, at(6)),
            ("mail", "poison", "a.b", 1, at(5)),
        ]
    );
}
