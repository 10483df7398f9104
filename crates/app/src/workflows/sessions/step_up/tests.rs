use std::time::Duration;

use futures_util::future::join_all;
use quivive_delivery::Time;
use secrecy::ExposeSecret as _;

use super::*;
use crate::access::{Access, Caller};
use crate::testing::{NEW_PASSWORD, PASSWORD, Scene, account, given, password, refresh};

fn step_up(scene: &Scene, tokens: &Tokens, guess: &str) -> StepUp {
    StepUp {
        user: scene.user,
        session: tokens.session_id,
        password: password(guess),
    }
}

async fn caller(scene: &Scene, tokens: &Tokens) -> Option<Caller> {
    let access = Access::new(std::sync::Arc::clone(scene.kernel.families()));
    let caller = access.authenticate(tokens.access_token.expose_secret());
    caller.await.expect("no fault")
}

async fn proved_at(scene: &Scene, tokens: &Tokens) -> Time {
    caller(scene, tokens).await.expect("good").proved_at
}

#[tokio::test]
async fn the_tokens_say_when_it_was_proved_and_older_ones_of_the_session_do_not() {
    let scene = given(account().verified()).by_owner();
    let signed_in_at = scene.world.now();
    let before = scene.signed_in().await;
    scene.world.pass(Duration::from_secs(700));
    let told = scene.when(step_up(&scene, &before, PASSWORD)).await;
    let told = told.succeeded().raised(&["token.issued"]);
    let said = told.open("user.step_up.succeeded");
    assert_eq!(said["session_id"], before.session_id.to_string());
    let proved = told.reply();
    assert_eq!(proved.session_id, before.session_id, "the same session");
    assert!(proved.device_token.is_none());
    let now = scene.world.now();
    assert_eq!(proved_at(&scene, &proved).await, now);
    let next = scene.when(refresh(&proved)).await.succeeded().reply();
    assert_eq!(proved_at(&scene, &next).await, now);
    // Who holds an older token of the session has proved nothing.
    assert_eq!(proved_at(&scene, &before).await, signed_in_at);
    let older = scene.when(refresh(&before)).await.succeeded().reply();
    assert_eq!(proved_at(&scene, &older).await, signed_in_at);
    let retried = scene.when(refresh(&before)).await.succeeded().reply();
    assert_eq!(proved_at(&scene, &retried).await, signed_in_at);
}

#[tokio::test]
async fn a_wrong_password_counts_as_a_sign_ins_does() {
    let scene = given(account().verified()).by_owner();
    let tokens = scene.signed_in().await;
    for _ in 0..5 {
        scene
            .when(step_up(&scene, &tokens, NEW_PASSWORD))
            .await
            .refused(Refusal::InvalidPassword);
    }
    scene
        .when(step_up(&scene, &tokens, PASSWORD))
        .await
        .refused(Refusal::TooManyAttempts)
        .raised(&[]);
    scene.world.pass(Duration::from_mins(15));
    scene
        .when(step_up(&scene, &tokens, PASSWORD))
        .await
        .succeeded();
}

#[tokio::test]
async fn fifty_guesses_at_once_are_five() {
    let scene = given(account().verified()).by_owner();
    let tokens = scene.signed_in().await;
    let before = scene.world.evaluated();
    let all = (0..50).map(|_| scene.when(step_up(&scene, &tokens, NEW_PASSWORD)));
    for told in join_all(all).await {
        assert!(told.answer.is_err());
    }
    assert!(scene.world.evaluated() - before <= 5);
}

#[tokio::test]
async fn a_session_that_ended_is_not_proved() {
    let scene = given(account().verified()).by_owner();
    let tokens = scene.signed_in().await;
    let (session, now) = (tokens.session_id, scene.world.now());
    let end = move |s: &mut crate::testing::State| {
        s.sessions.get_mut(&session).expect("there").ended_at = Some(now);
    };
    scene.world.meanwhile("user.step_up.succeeded", 1, end);
    scene
        .when(step_up(&scene, &tokens, PASSWORD))
        .await
        .refused(Refusal::SessionEnded)
        .raised(&[]);
    assert!(caller(&scene, &tokens).await.is_none());
}
