//! How many sessions and devices an account has, and which one makes room.

use quivive_domain::Role;

use super::*;
use crate::testing::account_of;

const REVOKED: [&str; 2] = ["device.revocation.attempted", "device.revocation.succeeded"];

#[tokio::test]
async fn the_eleventh_session_makes_the_oldest_go() {
    let scene = given(account().verified().with_sessions(10));
    let oldest = scene.world.see(|s| *s.sessions.keys().next().unwrap());
    let told = scene.when(log_in(PASSWORD)).await.succeeded();
    let evicted = told.open("session.evicted");
    assert_eq!(
        (&evicted["session_id"], &evicted["max_sessions"]),
        (&oldest.to_string().into(), &10.into())
    );
    assert_eq!(scene.open_sessions(), 10);
}

#[tokio::test]
async fn a_role_may_have_fewer_and_the_fewest_count() {
    let person = account().verified().role(Role::Admin).role(Role::Support);
    let scene = given(person.with_sessions(5));
    let mut settings = crate::Settings::for_url("https://id.example.org");
    settings.max_sessions_of = vec![(Role::Support, 4), (Role::Admin, 2)];
    let workflows = crate::switchboard::workflows().unwrap();
    let scene = Scene {
        kernel: scene.world.kernel_with(workflows, settings),
        ..scene
    };
    let told = scene.when(log_in(PASSWORD)).await.succeeded();
    assert_eq!(told.open("session.evicted")["max_sessions"], 2);
    assert_eq!(scene.open_sessions(), 2);
    evictions_are_exact(&scene);
    // Others have as many as before.
    let eve = scene.and(account_of("eve@example.org").verified().with_sessions(5));
    let eve_signs_in = LogIn {
        email: "eve@example.org".to_owned(),
        ..log_in(PASSWORD)
    };
    eve.when(eve_signs_in).await.succeeded();
    assert_eq!(eve.open_sessions(), 6);
}

/// Every session that ended has its one fact, and no other has.
fn evictions_are_exact(scene: &Scene) {
    let log = scene.world.log();
    let evicted = log.iter().filter(|e| e.envelope.kind == "session.evicted");
    let body = |e: &Stored| serde_json::from_slice::<serde_json::Value>(&e.body).unwrap();
    let mut told: Vec<_> = evicted.map(|e| body(e)["session_id"].clone()).collect();
    let mut ended: Vec<serde_json::Value> = scene.world.see(|s| {
        let ended = s.sessions.values().filter(|x| x.ended_at.is_some());
        ended.map(|x| x.id.to_string().into()).collect()
    });
    told.sort_by_key(ToString::to_string);
    ended.sort_by_key(ToString::to_string);
    assert_eq!(told, ended);
}

#[tokio::test(start_paused = true)]
async fn of_twenty_logins_at_once_all_succeed_and_ten_sessions_stay() {
    for before in [0, 9, 10] {
        let scene = given(account().verified().with_sessions(before));
        let told = join_all((0..20).map(|_| scene.when(log_in(PASSWORD)))).await;
        for told in told {
            told.succeeded();
        }
        assert_eq!(scene.open_sessions(), 10);
        assert_eq!(
            scene.world.see(|s| (s.devices.len(), s.guesses.len())),
            (10, 11)
        );
        evictions_are_exact(&scene);
    }
}

/// Turns are taken within a server; between servers the guards hold.
#[tokio::test]
async fn a_session_that_another_server_opens_meanwhile_counts() {
    for before in [9, 10] {
        let scene = given(account().verified().with_sessions(before));
        let other = Scene {
            kernel: scene.world.kernel(crate::switchboard::workflows().unwrap()),
            ..scene.clone()
        };
        scene.world.before(Succeeded::META.kind, 1, move |_| {
            let scene = other.clone();
            Box::pin(async move { drop(scene.signed_in().await) })
        });
        scene.when(log_in(PASSWORD)).await.succeeded();
        let guard = ["session insert", "session end"][before as usize - 9];
        assert_eq!(scene.world.missed(), [guard]);
        assert_eq!(scene.open_sessions(), 10);
        evictions_are_exact(&scene);
    }
}

/// A server that allows so many sessions that devices alone are counted.
fn with_many_sessions(scene: &Scene) -> Scene {
    let mut settings = crate::Settings::for_url("https://id.example.org");
    settings.lifetimes.max_sessions = 100;
    let workflows = crate::switchboard::workflows().unwrap();
    Scene {
        kernel: scene.world.kernel_with(workflows, settings),
        ..scene.clone()
    }
}

#[tokio::test]
async fn the_eleventh_device_makes_the_one_longest_unused_go() {
    let scene = with_many_sessions(&given(account().verified()));
    let mut devices = Vec::new();
    for _ in 0..10 {
        devices.push(scene.after(60).signed_in().await);
    }
    // The first signs in and out again and the second's session goes on, so it is the third's turn.
    let again = scene.when(with_device(PASSWORD, &devices[0])).await;
    let again = again.succeeded().raised(&SIGNED_IN[1..]).reply();
    scene.world.change(|s| {
        s.sessions.remove(&devices[0].session_id);
        s.sessions.remove(&again.session_id);
    });
    let refresh = RefreshTokens {
        token: Presented::parse(devices[1].refresh_token.expose_secret()),
        device_token: None,
    };
    scene.after(60).when(refresh).await.succeeded();
    let third = scene
        .world
        .see(|s| s.sessions[&devices[2].session_id].device.unwrap());
    let told = scene.when(log_in(PASSWORD)).await.succeeded();
    assert_eq!(told.kinds()[2..4], REVOKED);
    let revoked = told.open(REVOKED[1]);
    assert_eq!(revoked["device_id"], third.to_string());
    assert_eq!(revoked["reason"], "too_many_devices");
    scene.world.see(|s| {
        assert_eq!((s.devices.len(), s.guesses.len()), (10, 11));
        assert!(!s.guesses.contains_key(&third.0));
    });
}

#[tokio::test]
async fn a_device_that_another_server_registers_meanwhile_counts() {
    for before in [9, 10] {
        let scene = with_many_sessions(&given(account().verified()));
        for _ in 0..before {
            scene.after(60).signed_in().await;
        }
        let other = with_many_sessions(&scene);
        scene.world.before(Succeeded::META.kind, 1, move |_| {
            let scene = other.clone();
            Box::pin(async move { drop(scene.signed_in().await) })
        });
        scene.when(log_in(PASSWORD)).await.succeeded();
        let guard = ["device insert", "guess close"][before - 9];
        assert_eq!(scene.world.missed(), [guard]);
        let registered_and_revoked = ["device.registered", REVOKED[1]]
            .map(|kind| scene.world.kinds().iter().filter(|k| *k == kind).count());
        assert_eq!(registered_and_revoked, [before + 2, before - 8]);
        assert_eq!(scene.world.see(|s| s.devices.len()), 10);
    }
}

#[tokio::test]
async fn a_device_that_is_forgotten_meanwhile_is_a_new_one() {
    let scene = given(account().verified());
    let tokens = scene.signed_in().await;
    // Others guess on the account's own path: what is settled on the device's is none of theirs.
    let others = account_path(&scene, |path| (path.reserved, path.wrong) = (4, 3));
    scene
        .world
        .meanwhile(Succeeded::META.kind, 1, forget_the_device);
    let told = scene.when(with_device(PASSWORD, &tokens)).await;
    let told = told.succeeded().raised(&SIGNED_IN);
    assert_eq!(told.scene.world.missed(), ["guess clear"]);
    assert_eq!(account_path(&scene, |_| {}), others);
}

#[tokio::test]
async fn a_wrong_guess_on_a_device_that_is_forgotten_meanwhile_is_none_on_the_accounts_path() {
    let scene = given(account().verified());
    let tokens = scene.signed_in().await;
    let others = account_path(&scene, |path| (path.reserved, path.wrong) = (4, 4));
    scene
        .world
        .meanwhile(Failed::META.kind, 1, forget_the_device);
    let told = scene.when(with_device(NEW_PASSWORD, &tokens)).await;
    told.refused(Refusal::InvalidCredentials).raised(&[]);
    assert_eq!(scene.world.missed(), ["guess wrong"]);
    assert_eq!(account_path(&scene, |_| {}), others, "nor is it locked");
}

fn forget_the_device(state: &mut State) {
    let device = state.devices.remove(0);
    state.guesses.remove(&device.new.id.0);
}

/// The counters of the account's own path, after a change.
fn account_path(scene: &Scene, change: impl FnOnce(&mut Guesses)) -> Guesses {
    let id = scene.user.0;
    scene.world.change(|state| {
        let path = state.guesses.get_mut(&id).expect("it is open");
        change(path);
        *path
    })
}
