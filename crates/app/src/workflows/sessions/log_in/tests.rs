use std::time::Duration;

use futures_util::future::join_all;
use quivive_delivery::{Event as _, Fault, Stored};
use quivive_domain::guess::Guesses;
use quivive_domain::one_time::Purpose;
use quivive_domain::refresh::Presented;

use super::*;
use crate::testing::{
    NEW_PASSWORD, PASSWORD, Scene, Told, account, fake_hash, given, nobody, password,
};
use crate::workflows::passwords::confirm_password_reset::ConfirmPasswordReset;
use crate::workflows::sessions::refresh_tokens::RefreshTokens;

const WRONG: &str = "not the right one";
const LOCK: [&str; 2] = ["user.lock.attempted", "user.lock.succeeded"];
const REVOKED: [&str; 2] = ["device.revocation.attempted", "device.revocation.succeeded"];
const SIGNED_IN: [&str; 3] = ["device.registered", "session.created", "token.issued"];

fn log_in(text: &str) -> LogIn {
    LogIn {
        email: "Ada@Example.ORG".to_owned(),
        password: password(text),
        device_token: None,
    }
}

fn with_device(text: &str, tokens: &Tokens) -> LogIn {
    LogIn {
        device_token: tokens.device_token.clone(),
        ..log_in(text)
    }
}

async fn wrong(scene: &Scene, times: u32) -> Told<LogIn> {
    for _ in 1..times {
        scene
            .when(log_in(WRONG))
            .await
            .refused(Refusal::InvalidCredentials)
            .raised(&[]);
    }
    scene
        .when(log_in(WRONG))
        .await
        .refused(Refusal::InvalidCredentials)
}

#[tokio::test]
async fn the_right_password_gets_a_session_with_its_tokens() {
    let scene = given(account().verified());
    let told = scene
        .when(log_in(PASSWORD))
        .await
        .succeeded()
        .raised(&SIGNED_IN);
    assert_eq!(scene.open_sessions(), 1);
    assert_eq!(told.events[0].envelope.actor.kind, "anonymous");
    assert_eq!(told.events[1].envelope.actor.id, Some(scene.user.0));
    assert_eq!(
        told.event::<Attempted>().await.email.unwrap().as_str(),
        "Ada@Example.ORG"
    );
    let succeeded = told.event::<Succeeded>().await;
    assert_eq!(succeeded.email.as_str(), "ada@example.org");
    assert_eq!((succeeded.device_id, succeeded.mfa_used), (None, false));
    let log = format!("{:?}", scene.world.log());
    let tokens = told.reply();
    assert_eq!(tokens.session_id, succeeded.session_id);
    assert_eq!(tokens.expires_in, 900);
    for secret in [
        Some(tokens.access_token),
        Some(tokens.refresh_token),
        tokens.device_token,
    ] {
        assert!(!log.contains(secret.expect("given").expose_secret()));
    }
}

#[tokio::test]
async fn state_is_told_only_after_the_right_password() {
    for (person, refusal) in [
        (account(), Refusal::EmailNotVerified),
        (
            account().verified().state(AccountState::Inactive),
            Refusal::AccountInactive,
        ),
        (
            account().verified().state(AccountState::Locked),
            Refusal::AccountLocked,
        ),
    ] {
        let scene = given(person);
        scene
            .when(log_in(WRONG))
            .await
            .refused(Refusal::InvalidCredentials)
            .raised(&[]);
        scene
            .when(log_in(PASSWORD))
            .await
            .refused(refusal)
            .raised(&[]);
        assert_eq!(scene.open_sessions(), 0);
    }
}

#[tokio::test]
async fn every_answer_costs_one_comparison() {
    let locked = given(account().verified());
    wrong(&locked, 5).await;
    for (scene, refusal) in [
        (nobody(), Refusal::UserNotFound),
        (
            given(account().verified().without_password()),
            Refusal::InvalidCredentials,
        ),
        (
            given(account().verified().state(AccountState::Inactive)),
            Refusal::AccountInactive,
        ),
        (locked, Refusal::InvalidCredentials),
    ] {
        let (before, evaluated) = (scene.world.hashing(), scene.world.evaluated());
        scene.when(log_in(PASSWORD)).await.refused(refusal);
        assert_eq!(
            scene.world.hashing(),
            (before.0, before.1 + 1),
            "{refusal:?}"
        );
        // While the path is closed nothing is compared, so that a lock is no oracle.
        let compared = u64::from(refusal == Refusal::AccountInactive);
        assert_eq!(scene.world.evaluated(), evaluated + compared, "{refusal:?}");
    }
}

#[tokio::test]
async fn guesses_at_no_account_are_counted_like_those_at_one() {
    let (stranger, owner) = (nobody(), given(account().verified()));
    for guess in 1..=7 {
        let told = stranger
            .when(log_in(WRONG))
            .await
            .refused(Refusal::UserNotFound);
        owner
            .when(log_in(WRONG))
            .await
            .refused(Refusal::InvalidCredentials);
        let key = told.events[0].envelope.key.as_str().to_owned();
        let counted = |scene: &Scene| {
            let now = scene.world.now();
            scene.world.see(|s| {
                let all: Vec<_> = s.guesses.values().copied().collect();
                assert_eq!(all.len(), 1, "{key}");
                Guesses {
                    window_from: now,
                    ..all[0]
                }
            })
        };
        let (one, other) = (counted(&stranger), counted(&owner));
        assert_eq!(one, other, "guess {guess}");
        assert_eq!(one.wrong, guess.min(5));
    }
    // Its lock says nothing: there is nobody to tell.
    assert!(
        !stranger
            .world
            .kinds()
            .iter()
            .any(|kind| kind.starts_with("user.lock"))
    );
}

#[tokio::test]
async fn who_has_no_account_is_a_digest_of_the_address_or_the_source() {
    let scene = nobody();
    let told = scene
        .when(log_in(PASSWORD))
        .await
        .refused(Refusal::UserNotFound);
    let again = scene
        .when(log_in(WRONG))
        .await
        .refused(Refusal::UserNotFound);
    let key = told.events[0].envelope.key.clone();
    assert!(key.as_str().starts_with("address:"), "{key:?}");
    assert!(
        told.events
            .iter()
            .chain(&again.events)
            .all(|e| e.envelope.key == key)
    );
    assert!(
        told.events[0]
            .personal
            .as_ref()
            .is_some_and(|sealed| sealed.key == "m:2026-11")
    );
    let odd = LogIn {
        email: "ada@example@org".to_owned(),
        ..log_in(PASSWORD)
    };
    let told = scene.when(odd).await.refused(Refusal::UserNotFound);
    assert!(told.events[0].envelope.key.as_str().starts_with("source:"));
}

#[tokio::test]
async fn the_fifth_wrong_password_locks_and_the_right_one_is_refused_until_then() {
    let scene = given(account().verified());
    let locked = wrong(&scene, 5).await.raised(&LOCK);
    let lock = locked.open("user.lock.succeeded");
    let until = scene.world.now() + Duration::from_mins(15);
    assert_eq!(lock["locked_until"], until.to_string());
    assert_eq!(
        (&lock["failed_attempts"], &lock["automatic"]),
        (&5.into(), &true.into())
    );
    let told = scene
        .when(log_in(PASSWORD))
        .await
        .refused(Refusal::InvalidCredentials)
        .raised(&[]);
    assert_eq!(
        told.open("user.login.failed")["user_id"],
        scene.user.to_string()
    );
    scene
        .after(15 * 60 - 1)
        .when(log_in(PASSWORD))
        .await
        .refused(Refusal::InvalidCredentials);
    scene.after(1).when(log_in(PASSWORD)).await.succeeded();
}

#[tokio::test]
async fn the_lock_is_in_the_commit_of_the_failure() {
    let scene = given(account().verified());
    wrong(&scene, 4).await.raised(&[]);
    scene.world.fail("user.lock.succeeded", 1, Fault::NoSpace);
    assert!(scene.when(log_in(WRONG)).await.answer.is_err());
    let counted = scene.world.see(|s| s.guesses[&scene.user.0]);
    assert_eq!((counted.wrong, counted.locked_until), (4, None));
    let failed = scene
        .world
        .kinds()
        .iter()
        .filter(|kind| *kind == Failed::META.kind)
        .count();
    assert_eq!(failed, 4);
}

#[tokio::test]
async fn the_next_locks_take_an_hour_until_a_success_clears() {
    let scene = given(account().verified());
    for minutes in [15, 60, 60] {
        let locked = wrong(&scene, 5).await.raised(&LOCK);
        let until = scene.world.now() + Duration::from_secs(minutes * 60);
        assert_eq!(
            locked.open("user.lock.succeeded")["locked_until"],
            until.to_string()
        );
        scene.world.pass(Duration::from_secs(minutes * 60));
    }
    wrong(&scene, 4).await.raised(&[]);
    scene.when(log_in(PASSWORD)).await.succeeded();
    let locked = wrong(&scene, 5).await.raised(&LOCK);
    assert_eq!(locked.open("user.lock.succeeded")["failed_attempts"], 5);
    let until = scene.world.now() + Duration::from_mins(15);
    assert_eq!(
        locked.open("user.lock.succeeded")["locked_until"],
        until.to_string()
    );
}

#[tokio::test]
async fn wrong_passwords_of_an_earlier_window_do_not_count() {
    let scene = given(account().verified());
    wrong(&scene, 4).await;
    wrong(scene.after(15 * 60), 4).await.raised(&[]);
    wrong(&scene, 1).await.raised(&LOCK);
}

#[tokio::test]
async fn a_device_that_signed_in_before_has_a_counter_of_its_own() {
    let scene = given(account().verified());
    let tokens = scene.signed_in().await;
    wrong(&scene, 5).await.raised(&LOCK);
    let told = scene.when(with_device(PASSWORD, &tokens)).await.succeeded();
    assert_eq!(
        told.kinds()[2..],
        ["session.created", "token.issued"],
        "no new device"
    );
    scene
        .when(log_in(PASSWORD))
        .await
        .refused(Refusal::InvalidCredentials);

    for _ in 0..5 {
        scene
            .when(with_device(WRONG, &tokens))
            .await
            .refused(Refusal::InvalidCredentials);
    }
    scene
        .when(with_device(PASSWORD, &tokens))
        .await
        .refused(Refusal::InvalidCredentials);
    scene
        .after(15 * 60)
        .when(log_in(PASSWORD))
        .await
        .succeeded();
}

#[tokio::test]
async fn after_a_hundred_in_a_row_only_a_known_device_passes() {
    let scene = given(account().verified());
    let tokens = scene.signed_in().await;
    scene
        .world
        .change(|s| s.guesses.get_mut(&scene.user.0).unwrap().in_a_row = 100);
    scene
        .after(24 * 3600)
        .when(log_in(PASSWORD))
        .await
        .refused(Refusal::InvalidCredentials);
    scene.when(with_device(PASSWORD, &tokens)).await.succeeded();
    scene.when(log_in(PASSWORD)).await.succeeded();
}

#[tokio::test]
async fn a_known_device_ends_the_row_of_wrong_guesses_and_no_lock() {
    let scene = given(account().verified());
    let tokens = scene.signed_in().await;
    wrong(&scene, 5).await.raised(&LOCK);
    let locked = scene.world.see(|s| s.guesses[&scene.user.0]);
    for text in [WRONG, PASSWORD] {
        let in_a_row = scene.world.see(|s| s.guesses[&scene.user.0].in_a_row);
        assert_eq!(in_a_row, 5, "only a success ends it");
        let _ = scene.when(with_device(text, &tokens)).await;
    }
    let now = scene.world.see(|s| s.guesses[&scene.user.0]);
    let in_a_row = 0;
    assert_eq!(now, Guesses { in_a_row, ..locked });
}

#[tokio::test]
async fn a_device_token_of_somebody_else_is_worth_nothing() {
    let scene = given(crate::testing::account_of("eve@example.org").verified());
    let eve = scene.signed_in().await;
    let scene = scene.and(account().verified());
    for _ in 0..5 {
        scene
            .when(with_device(WRONG, &eve))
            .await
            .refused(Refusal::InvalidCredentials);
    }
    scene
        .when(with_device(PASSWORD, &eve))
        .await
        .refused(Refusal::InvalidCredentials);
    assert_eq!(scene.world.see(|s| s.guesses[&scene.user.0].wrong), 5);
}

#[tokio::test(start_paused = true)]
async fn of_twenty_guesses_at_once_five_are_evaluated_and_one_locks() {
    let scene = given(account().verified());
    let told = join_all((0..20).map(|_| scene.when(log_in(WRONG)))).await;
    let refused = |t: &Told<LogIn>| {
        matches!(
            t.answer,
            Err(crate::Failure::Refused(Refusal::InvalidCredentials))
        )
    };
    assert!(told.iter().all(refused));
    let counted = scene.world.see(|s| s.guesses[&scene.user.0]);
    assert_eq!((counted.wrong, counted.in_a_row, counted.locks), (5, 5, 1));
    let locks = scene
        .world
        .kinds()
        .iter()
        .filter(|kind| *kind == LOCK[1])
        .count();
    assert_eq!((locks, scene.world.evaluated()), (1, 5));
}

#[tokio::test]
async fn a_login_with_the_old_password_that_a_reset_overtakes_gets_no_session() {
    let scene = given(account().verified().with_sessions(1).with_reset_token());
    let other = scene.clone();
    scene.world.before(Succeeded::META.kind, 1, move |_| {
        let (scene, token) = (other.clone(), other.token(Purpose::ResetPassword));
        Box::pin(async move {
            let new_password = password(NEW_PASSWORD);
            scene
                .when(ConfirmPasswordReset {
                    token,
                    new_password,
                })
                .await
                .succeeded()
                .ends_sessions(1);
        })
    });
    scene
        .when(log_in(PASSWORD))
        .await
        .refused(Refusal::InvalidCredentials)
        .raised(&[]);
    assert_eq!(scene.world.missed(), ["account fence"]);
    assert_eq!(scene.open_sessions(), 0);
    assert!(scene.world.see(|s| s.refresh.is_empty()));
    scene.when(log_in(NEW_PASSWORD)).await.succeeded();
}

#[tokio::test]
async fn a_login_that_a_lock_overtakes_gets_no_session() {
    let scene = given(account().verified());
    let (user, until) = (scene.user.0, scene.world.now() + Duration::from_mins(1));
    scene.world.meanwhile(Succeeded::META.kind, 9, move |s| {
        s.guesses.get_mut(&user).unwrap().locked_until = Some(until);
    });
    assert!(matches!(
        scene.when(log_in(PASSWORD)).await.answer,
        Err(crate::Failure::Conflict)
    ));
    assert_eq!(scene.open_sessions(), 0);
    assert_eq!(scene.world.see(|s| s.guesses[&user].reserved), 0);
}

#[tokio::test]
async fn a_hash_of_long_ago_is_made_anew() {
    let scene = given(account().verified().with_old_hash());
    scene.when(log_in(PASSWORD)).await.succeeded();
    assert_eq!(scene.account().password, Some(fake_hash(PASSWORD, 1)));
    assert_eq!(scene.world.hashing(), (1, 1));
    scene.when(log_in(PASSWORD)).await.succeeded();
    assert_eq!(scene.world.hashing(), (1, 2));
}

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
    scene.world.meanwhile(Succeeded::META.kind, 1, |s| {
        let device = s.devices.remove(0);
        s.guesses.remove(&device.new.id.0);
    });
    let told = scene.when(with_device(PASSWORD, &tokens)).await;
    told.succeeded().raised(&SIGNED_IN);
    assert_eq!(scene.world.missed(), ["guess clear"]);
}

#[tokio::test]
async fn a_login_whose_person_is_erased_after_a_crash_is_closed() {
    let scene = given(account().verified());
    scene.world.fail(Succeeded::META.kind, 1, Fault::NoSpace);
    assert!(scene.when(log_in(PASSWORD)).await.answer.is_err());
    scene.world.erase(&format!("s:{}", scene.user));
    let restarted = scene.world.kernel(crate::switchboard::workflows().unwrap());
    assert_eq!(restarted.recover().await.unwrap().interrupted, 1);
    assert_eq!(
        scene.world.kinds(),
        [Attempted::META.kind, Failed::META.kind]
    );
}
