//! How many wrong passwords a path takes, and whose path it is.

use super::*;

const LOCK: [&str; 2] = ["user.lock.attempted", "user.lock.succeeded"];

/// T10, T13.
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

/// Else those under way, and as many again, could be evaluated before the path locks.
#[tokio::test]
async fn the_right_password_leaves_guesses_under_way_their_places() {
    let scene = given(account().verified());
    wrong(&scene, 1).await;
    scene.world.change(|s| {
        s.guesses.get_mut(&scene.user.0).unwrap().reserved = 4;
    });
    scene.when(log_in(PASSWORD)).await.succeeded();
    let counted = scene.world.see(|s| s.guesses[&scene.user.0]);
    assert_eq!((counted.reserved, counted.wrong), (3, 0));
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

/// T13.
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

/// T13.
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

/// T10.
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
