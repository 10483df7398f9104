use quivive_app::ports::{Accounts as _, Device, NewDevice, NewRefreshToken, Sessions as _};
use quivive_delivery::{CommitError, Write};
use quivive_domain::refresh::{GlobalVersion, RefreshToken, Use};
use quivive_domain::session::Session;
use quivive_domain::{Account, DeviceId, FamilyId, SessionId, TokenId, UserId};

use super::fixture::{Fixture, at, hash, new_account, password};

const FIRST: GlobalVersion = GlobalVersion {
    current: 1,
    floor: 1,
};

async fn reread(f: &Fixture, id: SessionId) -> Session {
    let found = f.db.view(id, at(9)).await.expect("a read");
    found.expect("the session is stored").session
}

async fn token(f: &Fixture, id: TokenId) -> RefreshToken {
    let found = f.db.refresh_token(id, at(9)).await.expect("a read");
    found.expect("the token is stored")
}

fn same<T: std::fmt::Debug>(left: &T, right: &T) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
}

pub(super) async fn a_view_is_the_session_its_account_and_the_versions(f: Fixture) {
    let account = f.account("ada").await;
    let session = Session {
        id: SessionId(f.id()),
        account: account.id,
        device: Some(DeviceId(f.id())),
        created_at: at(1),
        last_seen_at: at(2),
        idle_until: at(3),
        expires_at: at(4),
        ended_at: Some(at(6)),
    };
    f.must([f.db.insert_session(&session, None, 1)]).await;
    let view =
        f.db.view(session.id, at(9))
            .await
            .expect("a read")
            .expect("stored");
    same(&view.session, &session);
    same(&view.account, &account);
    assert_eq!(view.account.email.typed(), account.email.typed());
    assert_eq!(view.account.password, account.password);
    assert_eq!(view.global, FIRST);

    f.must([f.db.rotate_all(2, at(3), at(3))]).await;
    let rotated = GlobalVersion {
        current: 2,
        floor: 2,
    };
    let bare = f.session(&account, 1).await;
    let view =
        f.db.view(bare.id, at(3))
            .await
            .expect("a read")
            .expect("stored");
    same(&view.session, &bare);
    assert_eq!(view.global, rotated);
    assert!(
        f.db.view(SessionId(f.id()), at(9))
            .await
            .expect("a read")
            .is_none()
    );
    let orphan = f.session(&new_account(UserId(f.id()), "nobody"), 1).await;
    assert!(f.db.view(orphan.id, at(9)).await.expect("a read").is_none());
}

pub(super) async fn a_rotation_of_all_takes_the_next_version_and_no_deadline_moves(f: Fixture) {
    let version = async |now| f.db.global_version(at(now)).await.expect("a read");
    let versions = |current, floor| GlobalVersion { current, floor };
    assert_eq!(version(0).await, FIRST);
    f.must([f.db.rotate_all(2, at(100), at(10))]).await;
    f.misses(f.db.rotate_all(2, at(10), at(10))).await;
    f.misses(f.db.rotate_all(1, at(10), at(10))).await;
    assert_eq!(version(99).await, versions(2, 1));
    assert_eq!(
        version(100).await,
        versions(2, 2),
        "the moment itself is over"
    );
    // A breach, before the grace of the one before is over; then one with a long grace.
    f.must([f.db.rotate_all(3, at(20), at(20))]).await;
    f.must([f.db.rotate_all(4, at(500), at(30))]).await;
    for (now, floor) in [(19, 1), (20, 3), (100, 3), (499, 3), (500, 4)] {
        assert_eq!(version(now).await, versions(4, floor), "at {now}");
    }
    let next = || f.db.rotate_all(5, at(600), at(40));
    assert_eq!(f.race((0..50).map(|_| next()).collect()).await, 1);
    assert_eq!(version(600).await, versions(5, 5));
}

pub(super) async fn a_refresh_token_comes_with_all_it_hangs_on(f: Fixture) {
    let account = f.account("ada").await;
    let session = f.session(&account, 1).await;
    let given = f.token(&session, FamilyId(f.id())).await;
    let found = token(&f, given.id).await;
    assert_eq!(
        (found.id, found.hash, found.family),
        (given.id, given.hash, given.family)
    );
    assert_eq!(
        (found.generation, found.user_version, found.global_version),
        (3, 4, 5)
    );
    assert_eq!((found.proved_at, found.expires_at), (at(7), at(5000)));
    assert_eq!(found.used, None);
    same(&found.session, &session);
    same(&found.account, &account);
    assert_eq!(found.account.password, account.password);
    assert_eq!(found.global, FIRST);

    f.must(f.db.set_password(&account, Some(&password("new")), 5, at(7)))
        .await;
    f.must([f.db.end(session.id, at(8))]).await;
    let found = token(&f, given.id).await;
    assert_eq!(found.account.token_version, 2, "as it is now");
    assert_eq!(found.session.ended_at, Some(at(8)));
    assert!(
        f.db.refresh_token(TokenId(f.id()), at(9))
            .await
            .expect("a read")
            .is_none()
    );
}

pub(super) async fn of_fifty_parallel_uses_of_a_token_one_succeeds(f: Fixture) {
    let account = f.account("ada").await;
    let session = f.session(&account, 1).await;
    let given = f.token(&session, FamilyId(f.id())).await;
    let successors: Vec<_> = (0..50).map(|_| TokenId(f.id())).collect();
    let uses = successors
        .iter()
        .map(|next| {
            f.db.use_refresh_token(given.id, *next, "k1", hash(&next.0), at(9))
        })
        .collect();
    assert_eq!(f.race(uses).await, 1);
    let one = token(&f, given.id).await.used.expect("it was used");
    assert!(successors.contains(&one.successor));
    assert_eq!((one.at, one.by), (at(9), hash(&one.successor.0)));
    f.misses(f.db.use_refresh_token(given.id, TokenId(f.id()), "k1", [0; 32], at(10)))
        .await;
    f.misses(f.db.use_refresh_token(TokenId(f.id()), given.id, "k1", [0; 32], at(10)))
        .await;
}

pub(super) async fn a_use_shows_whether_its_successor_was_used(f: Fixture) {
    let account = f.account("ada").await;
    let session = f.session(&account, 1).await;
    let family = FamilyId(f.id());
    let first = f.token(&session, family).await;
    let second = NewRefreshToken {
        id: TokenId(f.id()),
        generation: 4,
        ..first.clone()
    };
    let rotate =
        f.db.use_refresh_token(first.id, second.id, "k2", [7; 32], at(2));
    f.must([rotate, f.db.insert_refresh_token(&second, at(2))])
        .await;
    let mut expected = Use {
        at: at(2),
        by: [7; 32],
        successor: second.id,
        successor_key: "k2".to_owned(),
        successor_used: false,
    };
    assert_eq!(token(&f, first.id).await.used, Some(expected.clone()));
    assert_eq!(token(&f, second.id).await.used, None);
    f.must([f
        .db
        .use_refresh_token(second.id, TokenId(f.id()), "k3", [8; 32], at(3))])
        .await;
    expected.successor_used = true;
    assert_eq!(token(&f, first.id).await.used, Some(expected));
}

pub(super) async fn an_ended_session_is_neither_touched_nor_ended_again(f: Fixture) {
    let account = f.account("ada").await;
    let session = f.session(&account, 1).await;
    f.must([f.db.touch(session.id, None, at(500), at(20))])
        .await;
    let touched = Session {
        last_seen_at: at(20),
        idle_until: at(500),
        ..session
    };
    same(&reread(&f, touched.id).await, &touched);
    let ends = (0..50).map(|_| f.db.end(touched.id, at(30))).collect();
    assert_eq!(f.race(ends).await, 1);
    f.misses(f.db.end(touched.id, at(31))).await;
    f.misses(f.db.touch(touched.id, None, at(600), at(32)))
        .await;
    let ended = Session {
        ended_at: Some(at(30)),
        ..touched
    };
    same(&reread(&f, ended.id).await, &ended);
    f.misses(f.db.end(SessionId(f.id()), at(1))).await;
    f.misses(f.db.touch(SessionId(f.id()), None, at(1), at(1)))
        .await;
}

/// Commits each write after the account's fence, as every commit that grants anything begins, all at once; says how many were
/// done. The fence locks the account, so that what comes after it counts what the one before has left.
async fn race_fenced(f: &Fixture, account: &Account, writes: impl Iterator<Item = Write>) -> usize {
    let racing = writes.map(|write| f.commit(vec![f.db.fence(account, at(9)), write]));
    let done = futures_util::future::join_all(racing).await;
    let missed = |done: &&Result<_, _>| matches!(done, Err(CommitError::Missed(1)));
    let (done, missed) = (
        done.iter().filter(|done| done.is_ok()).count(),
        done.iter().filter(missed).count(),
    );
    assert_eq!(done + missed, 50);
    done
}

pub(super) async fn of_parallel_sessions_no_more_than_the_limit_are_open(f: Fixture) {
    let (ada, bob) = (f.account("ada").await, f.account("bob").await);
    f.session(&bob, 1).await;
    let ended = f.session(&ada, 1).await;
    f.must([f.db.end(ended.id, at(2))]).await;
    let oldest = f.session(&ada, 3).await;
    let new = || Session {
        id: SessionId(f.id()),
        ..oldest.clone()
    };
    let inserts = (0..50).map(|_| f.db.insert_session(&new(), None, 4));
    assert_eq!(race_fenced(&f, &ada, inserts).await, 3);
    f.misses(f.db.insert_session(&new(), None, 0)).await;
    let both = [
        f.db.end(oldest.id, at(5)),
        f.db.insert_session(&new(), None, 4),
    ];
    f.must(both).await;
    assert_eq!(f.db.open_of(ada.id).await.expect("a read").len(), 4);
    assert_eq!(f.db.open_of(bob.id).await.expect("a read").len(), 1);
}

pub(super) async fn a_guard_says_whether_a_session_is_open(f: Fixture) {
    let (ada, bob) = (f.account("ada").await, f.account("bob").await);
    let kept = f.session(&ada, 1).await;
    let other = f.session(&ada, 2).await;
    f.session(&bob, 1).await;
    f.misses(f.db.no_session_but(ada.id, Some(kept.id))).await;
    f.must([
        f.db.end(other.id, at(50)),
        f.db.no_session_but(ada.id, Some(kept.id)),
    ])
    .await;
    f.misses(f.db.no_session_but(ada.id, None)).await;
    same(&reread(&f, kept.id).await, &kept);
    assert_eq!(reread(&f, other.id).await.ended_at, Some(at(50)));
    f.must([f.db.end(kept.id, at(60)), f.db.no_session_but(ada.id, None)])
        .await;
}

pub(super) async fn open_sessions_come_oldest_first(f: Fixture) {
    let account = f.account("ada").await;
    let mut sessions = Vec::new();
    for second in [30, 10, 40, 20] {
        sessions.push(f.session(&account, second).await);
    }
    f.session(&f.account("bob").await, 5).await;
    f.must([f.db.end(sessions[2].id, at(50))]).await;
    let open = f.db.open_of(account.id).await.expect("a read");
    let created: Vec<_> = open.iter().map(|session| session.created_at).collect();
    assert_eq!(created, [at(10), at(20), at(30)]);
    same(&open[2], &sessions[0]);
    assert!(
        f.db.open_of(UserId(f.id()))
            .await
            .expect("a read")
            .is_empty()
    );
}

pub(super) async fn listed_sessions_come_with_device_and_address(f: Fixture) {
    let account = f.account("ada").await;
    let known = device(&f, account.id);
    f.must([f.db.insert_device(&known, 2, at(1))]).await;
    let bare = f.session(&account, 1).await;
    let session = Session {
        id: SessionId(f.id()),
        device: Some(known.id),
        created_at: at(2),
        ..bare.clone()
    };
    let ip = |last| Some(std::net::IpAddr::from([192, 0, 2, last]));
    f.must([f.db.insert_session(&session, ip(1), 2)]).await;
    let ended = f.session(&account, 3).await;
    f.must([f.db.end(ended.id, at(4))]).await;
    f.session(&f.account("bob").await, 1).await;
    let list = async || f.db.list(account.id).await.expect("a read");
    let listed = list().await;
    assert_eq!(listed.len(), 2);
    same(&listed[0].session, &bare);
    assert_eq!((listed[0].device.as_deref(), listed[0].ip), (None, None));
    same(&listed[1].session, &session);
    let shown = (listed[1].device.as_deref(), listed[1].ip);
    assert_eq!(shown, (Some("Firefox on Linux"), ip(1)));
    f.must([f.db.touch(session.id, ip(2), at(50), at(5))]).await;
    let forgotten = f.db.device(account.id, known.token_hash).await;
    let forgotten = forgotten.expect("a read").expect("stored");
    f.must([f.db.remove_device(&forgotten)]).await;
    let shown = list().await.swap_remove(1);
    assert_eq!((shown.device, shown.ip), (None, ip(2)));
}

pub(super) async fn what_is_over_is_due_and_expires_once(f: Fixture) {
    let account = f.account("ada").await;
    // They are idle after 100 seconds and over after 1,000.
    let idle = f.session(&account, 1).await;
    let used = f.session(&account, 2).await;
    let ended = f.session(&account, 3).await;
    f.must([f.db.end(ended.id, at(4))]).await;
    let due = async |second, limit| {
        let due = f.db.due(at(second), limit).await.expect("a read");
        due.into_iter()
            .map(|session| session.id)
            .collect::<Vec<_>>()
    };
    assert!(due(100, 9).await.is_empty());
    assert_eq!(due(101, 9).await, [idle.id]);
    f.must([f.db.touch(used.id, None, at(2000), at(90))]).await;
    assert_eq!(due(500, 9).await, [idle.id, used.id], "it is looked at");
    assert_eq!(due(500, 1).await, [idle.id]);
    f.misses(f.db.expire(used.id, at(500))).await;
    f.must([f.db.look_again(used.id)]).await;
    let ends = (0..50).map(|_| f.db.expire(idle.id, at(500))).collect();
    assert_eq!(f.race(ends).await, 1);
    assert_eq!(reread(&f, idle.id).await.ended_at, Some(at(500)));
    assert!(due(1001, 9).await.is_empty());
    assert_eq!(due(1002, 9).await, [used.id], "the earlier of both times");
    f.must([f.db.expire(used.id, at(1002))]).await;
    f.misses(f.db.expire(SessionId(f.id()), at(9000))).await;
    f.misses(f.db.expire(ended.id, at(9000))).await;
}

pub(super) async fn families_are_counted(f: Fixture) {
    let account = f.account("ada").await;
    let session = f.session(&account, 1).await;
    let (family, other) = (FamilyId(f.id()), FamilyId(f.id()));
    f.token(&session, other).await;
    let first = f.token(&session, family).await;
    let mut leaf = first.clone();
    for generation in 4..=5 {
        let next = NewRefreshToken {
            id: TokenId(f.id()),
            generation,
            ..leaf.clone()
        };
        f.must([
            f.db.use_refresh_token(leaf.id, next.id, "k1", [1; 32], at(2)),
            f.db.insert_refresh_token(&next, at(2)),
        ])
        .await;
        leaf = next;
    }
    for member in [first.id, leaf.id] {
        assert_eq!(f.db.family_size(member).await.expect("a read"), 5);
    }
    assert_eq!(f.db.family_size(TokenId(f.id())).await.expect("a read"), 0);
}

fn device(f: &Fixture, account: UserId) -> NewDevice {
    let id = DeviceId(f.id());
    NewDevice {
        id,
        account,
        token_hash: hash(&id.0),
        name: "Firefox on Linux".to_owned(),
        kind: "browser",
    }
}

pub(super) async fn a_device_is_found_by_its_token_within_its_account(f: Fixture) {
    let (ada, bob) = (UserId(f.id()), UserId(f.id()));
    let given = device(&f, ada);
    f.must([f.db.insert_device(&given, 2, at(1))]).await;
    f.misses(f.db.insert_device(&given, 2, at(2))).await;
    let found = f.db.device(ada, given.token_hash).await.expect("a read");
    let found = found.expect("stored");
    assert_eq!(
        (found.id, found.account, found.used_at),
        (given.id, ada, at(1))
    );
    assert!(
        f.db.device(bob, given.token_hash)
            .await
            .expect("a read")
            .is_none()
    );
    assert!(f.db.device(ada, [0; 32]).await.expect("a read").is_none());
}

pub(super) async fn of_parallel_devices_no_more_than_the_limit_are_remembered(f: Fixture) {
    let (account, bob) = (f.account("ada").await, UserId(f.id()));
    let ada = account.id;
    f.must([f.db.insert_device(&device(&f, bob), 1, at(1))])
        .await;
    let inserts = (0..50).map(|_| f.db.insert_device(&device(&f, ada), 3, at(1)));
    assert_eq!(race_fenced(&f, &account, inserts).await, 3);
    let oldest = devices(&f, ada).await.swap_remove(0);
    f.must([
        f.db.remove_device(&oldest),
        f.db.insert_device(&device(&f, ada), 3, at(2)),
    ])
    .await;
    assert_eq!(devices(&f, ada).await.len(), 3);
    assert_eq!(devices(&f, bob).await.len(), 1);
}

pub(super) async fn a_device_says_when_it_last_signed_in(f: Fixture) {
    let (ada, bob) = (UserId(f.id()), UserId(f.id()));
    for (owner, second) in [(ada, 30), (ada, 10), (bob, 5)] {
        f.must([f.db.insert_device(&device(&f, owner), 3, at(second))])
            .await;
    }
    let used = |found: &[Device]| found.iter().map(|d| d.used_at).collect::<Vec<_>>();
    let found = devices(&f, ada).await;
    assert_eq!(used(&found), [at(30), at(10)]);
    f.must([f.db.use_device(&found[1], at(40))]).await;
    assert_eq!(used(&devices(&f, ada).await), [at(30), at(40)]);
    assert_eq!(used(&devices(&f, bob).await), [at(5)]);
}

pub(super) async fn a_device_is_forgotten_once_and_a_guard_says_whether_one_is_left(f: Fixture) {
    let (ada, bob) = (UserId(f.id()), UserId(f.id()));
    for owner in [ada, ada, bob] {
        f.must([f.db.insert_device(&device(&f, owner), 2, at(1))])
            .await;
    }
    let found = devices(&f, ada).await;
    let (kept, other) = (&found[0], &found[1]);
    f.misses(f.db.no_device_but(ada, Some(kept.id))).await;
    let removals = (0..50).map(|_| f.db.remove_device(other)).collect();
    assert_eq!(f.race(removals).await, 1);
    f.misses(f.db.use_device(other, at(2))).await;
    f.must([f.db.no_device_but(ada, Some(kept.id))]).await;
    f.misses(f.db.no_device_but(ada, None)).await;
    let of_another = Device {
        account: bob,
        ..kept.clone()
    };
    f.misses(f.db.remove_device(&of_another)).await;
    f.misses(f.db.use_device(&of_another, at(2))).await;
    f.must([f.db.remove_device(kept), f.db.no_device_but(ada, None)])
        .await;
    assert_eq!(devices(&f, bob).await.len(), 1);
}

pub(super) async fn who_has_access_is_found_until_it_ends(f: Fixture) {
    let (ada, bob) = (f.account("ada").await, f.account("bob").await);
    f.account("cid").await;
    let session = f.session(&ada, 1).await;
    // A device of nobody opens nothing.
    for owner in [ada.id, bob.id, UserId(f.id())] {
        f.must([f.db.insert_device(&device(&f, owner), 2, at(1))])
            .await;
    }
    let with_access = async |limit| {
        let mut users = f.db.with_access(limit).await.expect("a read");
        users.sort();
        users
    };
    let mut both = [ada.id, ada.id, bob.id];
    both.sort();
    assert_eq!(with_access(10).await, both);
    f.must([f.db.end(session.id, at(2))]).await;
    let mut devices = [ada.id, bob.id];
    devices.sort();
    assert_eq!(with_access(10).await, devices);
    assert_eq!(with_access(1).await.len(), 1);
    for owner in devices {
        let of = f.db.devices(owner).await.expect("a read");
        f.must([f.db.remove_device(&of[0])]).await;
    }
    assert!(with_access(10).await.is_empty());
}

/// Oldest first.
async fn devices(f: &Fixture, account: UserId) -> Vec<Device> {
    let mut devices = f.db.devices(account).await.expect("a read");
    devices.sort_by_key(|device| device.id);
    devices
}

pub(super) async fn an_id_is_given_once(f: Fixture) {
    let account = f.account("ada").await;
    let session = f.session(&account, 1).await;
    let again = Session {
        created_at: at(99),
        ..session.clone()
    };
    f.misses(f.db.insert_session(&again, None, u32::MAX)).await;
    same(&reread(&f, session.id).await, &session);
    let given = f.token(&session, FamilyId(f.id())).await;
    let again = NewRefreshToken {
        hash: [0; 32],
        ..given.clone()
    };
    f.misses(f.db.insert_refresh_token(&again, at(1))).await;
    assert_eq!(token(&f, given.id).await.hash, given.hash);
}
