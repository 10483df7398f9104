use quivive_delivery::Catalogue;
use uuid::Uuid;

use super::*;
use crate::switchboard::workflows;

const LIFETIME: Duration = Duration::from_mins(15);

fn at(second: i64) -> Time {
    Time::from_second(second).expect("in range")
}

fn session(n: u128) -> SessionId {
    SessionId(Uuid::from_u128(n))
}

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

fn token(sid: u128, sub: u128, iat: i64) -> AccessClaims {
    AccessClaims {
        iss: String::new(),
        aud: String::new(),
        sub: user(sub),
        iat,
        exp: iat + 900,
        jti: Uuid::nil(),
        sid: session(sid),
        roles: Vec::new(),
        gv: 1,
        uv: 1,
        client_id: String::new(),
        amr: Vec::new(),
        auth_time: iat,
    }
}

/// From second 100 on, followed now.
fn known(max: usize) -> Revocations {
    let revocations = Revocations::bounded(max);
    revocations.begin(1, at(100));
    revocations.followed(Instant::now());
    revocations
}

const LOOK_UP: Verdict = Verdict::LookUp { after: None };

#[tokio::test(start_paused = true)]
async fn memory_judges_what_it_covers_and_nothing_else() {
    let revocations = known(10);
    let judge = |claims: &AccessClaims| revocations.judge(claims, at(200));
    assert_eq!(judge(&token(1, 1, 101)), Verdict::Good);
    assert_eq!(judge(&token(1, 1, 100)), LOOK_UP, "as old as the view");
    let old = AccessClaims {
        gv: 0,
        ..token(1, 1, 101)
    };
    assert_eq!(judge(&old), LOOK_UP, "a version of before the start");

    revocations.note(Said::Ended(session(1)), at(150), LIFETIME);
    revocations.note(Said::Changed(user(2)), at(150), LIFETIME);
    assert_eq!(judge(&token(1, 1, 101)), Verdict::Bad);
    assert_eq!(judge(&token(3, 1, 101)), Verdict::Good, "another session");
    let after = Some(at(150));
    assert_eq!(judge(&token(4, 2, 149)), Verdict::LookUp { after });
    assert_eq!(
        judge(&token(4, 2, 150)),
        Verdict::LookUp { after },
        "or before, in that second"
    );
    assert_eq!(judge(&token(4, 2, 151)), Verdict::Good);
    // By a clock that was set back.
    revocations.note(Said::Changed(user(2)), at(140), LIFETIME);
    assert_eq!(judge(&token(4, 2, 149)), Verdict::LookUp { after });

    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(judge(&token(3, 1, 101)), Verdict::Good);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(judge(&token(3, 1, 101)), LOOK_UP, "nobody follows");
    assert_eq!(
        judge(&token(1, 1, 101)),
        Verdict::Bad,
        "that is known all the same"
    );
    revocations.followed(Instant::now());
    assert_eq!(judge(&token(3, 1, 101)), Verdict::Good);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_known_before_it_begins() {
    let revocations = Revocations::bounded(10);
    let judge = || revocations.judge(&token(1, 1, 101), at(200));
    revocations.followed(Instant::now());
    assert_eq!(judge(), LOOK_UP);
    revocations.note(Said::Ended(session(2)), at(90), LIFETIME);
    revocations.begin(1, at(100));
    assert_eq!(judge(), Verdict::Good);
}

/// A session that ended is counted once, though both tell of it.
#[tokio::test(start_paused = true)]
async fn what_is_noted_twice_is_remembered_once() {
    let revocations = known(10);
    for second in [150, 151] {
        revocations.note(Said::Ended(session(1)), at(second), LIFETIME);
    }
    assert_eq!(revocations.read().order.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_means_everybody() {
    let revocations = known(10);
    revocations.note(Said::Anything, at(150), LIFETIME);
    let judge = |iat| revocations.judge(&token(1, 1, iat), at(200));
    assert_eq!((judge(150), judge(151)), (LOOK_UP, Verdict::Good));
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_looked_up() {
    let revocations = known(3);
    let note = |n: u128, second| {
        revocations.note(Said::Ended(session(n)), at(second), LIFETIME);
    };
    for n in 1..=4 {
        note(n, 150 + i64::try_from(n).unwrap());
    }
    let judge = |n, iat| revocations.judge(&token(n, 9, iat), at(200));
    assert_eq!(judge(1, 120), LOOK_UP, "it made room");
    for n in 2..=4 {
        assert_eq!(judge(n, 120), Verdict::Bad);
    }
    assert_eq!(judge(5, 151), LOOK_UP, "the one that made room could be it");
    assert_eq!(judge(5, 152), Verdict::Good);
    assert_eq!(revocations.read().said.len(), 3);
    for n in 5..=1_000_u128 {
        note(n, 160);
    }
    let remembered = revocations.read();
    assert_eq!((remembered.said.len(), remembered.order.len()), (3, 3));
}

/// They are not counted twice, however often an account changes.
#[tokio::test(start_paused = true)]
async fn one_account_that_changes_all_the_time_takes_a_bounded_place() {
    let revocations = known(3);
    for second in 150..1_000 {
        revocations.note(Said::Changed(user(1)), at(second), LIFETIME);
    }
    assert_eq!(revocations.read().order.len(), 3);
    let after = Some(at(999));
    let judge = |iat| revocations.judge(&token(1, 1, iat), at(1_000));
    assert_eq!(
        (judge(999), judge(1_000)),
        (Verdict::LookUp { after }, Verdict::Good)
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_remembered_for_longer_than_what_it_is_about() {
    let revocations = known(10);
    revocations.note(Said::Ended(session(1)), at(150), LIFETIME);
    revocations.note(Said::Ended(session(2)), at(1_049), LIFETIME);
    assert_eq!(revocations.read().said.len(), 2);
    revocations.note(Said::Ended(session(3)), at(1_050), LIFETIME);
    assert_eq!(revocations.read().said.len(), 2);
    // The token has ended; one that says otherwise is looked up.
    assert_eq!(revocations.judge(&token(1, 1, 150), at(1_050)), LOOK_UP);
}

#[tokio::test(start_paused = true)]
async fn the_floor_is_the_highest_version_whose_grace_is_over() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let revocations = known(10);
        let rotations = [(2, 400), (3, 300), (4, 900), (5, 600)];
        for (version, cut_off_at) in order.map(|n| rotations[n]) {
            let cut_off_at = at(cut_off_at);
            let said = Said::Rotated {
                version,
                cut_off_at,
            };
            for _ in 0..2 {
                revocations.note(said, at(200), LIFETIME);
            }
        }
        assert_eq!(revocations.read().rotations, [(3, at(300)), (5, at(600))]);
        let verdict = |gv, now| {
            let claims = AccessClaims {
                gv,
                ..token(1, 1, 201)
            };
            revocations.judge(&claims, at(now))
        };
        for (gv, now, want) in [
            (1, 299, Verdict::Good),
            (1, 300, Verdict::Bad),
            (2, 300, Verdict::Bad),
            (3, 599, Verdict::Good),
            (4, 600, Verdict::Bad),
            (5, 900, Verdict::Good),
        ] {
            assert_eq!(verdict(gv, now), want, "version {gv} at {now}");
        }
        let more = Said::Rotated {
            version: 6,
            cut_off_at: at(700),
        };
        revocations.note(more, at(650), LIFETIME);
        assert_eq!(revocations.read().rotations, [(5, at(600)), (6, at(700))]);
    }
}

#[test]
fn whatever_is_said_of_accounts_has_tokens_looked_up_unless_it_is_harmless_by_name() {
    let workflows = workflows().unwrap();
    let catalogue: &Catalogue = workflows.catalogue();
    for kind in [
        "operator.bootstrap.succeeded",
        "session.evicted",
        "session.invalidated",
        "session.terminated",
        "token.global_rotation.succeeded",
        "token.user_rotation.succeeded",
        "user.lock.succeeded",
        "user.password_change.succeeded",
        "user.password_reset_confirm.succeeded",
    ] {
        assert!(
            catalogue.find(kind).is_some() && Said::concerns(kind),
            "{kind}"
        );
    }
    for kind in ["user.that_comes_later.succeeded", "role.that_comes_later"] {
        assert!(Said::concerns(kind), "{kind}");
    }
    let others = [
        "user.lock.attempted",
        "user.login.failed",
        "session.created",
        "email.delivered",
    ];
    for kind in HARMLESS.iter().chain(&others) {
        assert!(
            catalogue.find(kind).is_some() && !Said::concerns(kind),
            "{kind}"
        );
    }
}
