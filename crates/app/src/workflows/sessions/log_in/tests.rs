mod guesses;
mod limits;

use std::time::Duration;

use futures_util::future::join_all;
use quivive_delivery::{Event as _, Fault, Stored};
use quivive_domain::guess::Guesses;
use quivive_domain::one_time::Purpose;
use quivive_domain::refresh::Presented;

use super::*;
use crate::testing::{
    NEW_PASSWORD, PASSWORD, Scene, State, Told, account, fake_hash, given, nobody, password,
};
use crate::workflows::passwords::confirm_password_reset::ConfirmPasswordReset;
use crate::workflows::sessions::refresh_tokens::RefreshTokens;

const WRONG: &str = "not the right one";
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
