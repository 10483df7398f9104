use quivive_delivery::Event as _;
use quivive_domain::guess::Guesses;
use secrecy::ExposeSecret as _;

use super::*;
use crate::access::Access;
use crate::testing::{
    NEW_PASSWORD, PASSWORD, Scene, State, account, given, given_to_administrators, password,
    refresh,
};
use crate::workflows::passwords::confirm_password_reset::{self, ConfirmPasswordReset};
use crate::workflows::sessions::log_in::{self, LogIn};
use crate::workflows::sessions::refresh_tokens::{self};

/// Somebody with a session of their own and two others.
async fn signed_in() -> (Scene, Tokens) {
    let scene = given(account().verified().with_sessions(2)).by_owner();
    let tokens = scene.signed_in().await;
    (scene, tokens)
}

fn change(scene: &Scene, session: SessionId, current: &str, new: &str) -> ChangePassword {
    ChangePassword {
        user: scene.user,
        change: Change::Own {
            session,
            current: password(current),
            new: password(new),
        },
    }
}

#[tokio::test]
async fn the_callers_session_goes_on_with_new_tokens_and_the_others_end() {
    let (scene, old) = signed_in().await;
    let changed = change(&scene, old.session_id, PASSWORD, NEW_PASSWORD);
    let told = scene.when(changed).await.succeeded().ends_sessions(2);
    assert_eq!(
        told.kinds()[2..],
        ["session.invalidated", "session.invalidated", "token.issued"]
    );
    assert_eq!(
        told.open("session.invalidated")["reason"],
        "password_change"
    );
    assert_eq!(told.open(Succeeded::META.kind)["initiated_by"], "user");
    let new = told.reply().expect("tokens");
    assert_eq!((new.session_id, scene.open_sessions()), (old.session_id, 1));

    let rejected = refresh_tokens::Refusal::TokenVersionRejected;
    scene
        .when(refresh(&old))
        .await
        .refused(rejected)
        .raised(&["token.rejected_due_to_rotation"]);
    scene.when(refresh(&new)).await.succeeded();
    let access = Access::new(std::sync::Arc::clone(scene.kernel.families()));
    assert!(
        access
            .authenticate(old.access_token.expose_secret())
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        access
            .authenticate(new.access_token.expose_secret())
            .await
            .unwrap()
            .is_some()
    );
    let account = scene.account();
    assert_eq!(
        (
            account.credential_epoch,
            account.security_version,
            account.token_version
        ),
        (2, 2, 2)
    );
}

#[tokio::test]
async fn the_callers_device_stays_and_the_others_are_forgotten() {
    let scene = given(account().verified()).by_owner();
    let (own, other) = (scene.signed_in().await, scene.signed_in().await);
    let changed = change(&scene, own.session_id, PASSWORD, NEW_PASSWORD);
    let told = scene.when(changed).await.succeeded().ends_sessions(1);
    let told = told.raised(&[
        "session.invalidated",
        "device.revocation.attempted",
        "device.revocation.succeeded",
        "token.issued",
    ]);
    let revoked = told.open("device.revocation.succeeded");
    assert_eq!(
        (&revoked["reason"], &revoked["sessions_ended"]),
        (&"password_change".into(), &1.into())
    );
    assert_eq!(
        scene.world.see(|s| (s.devices.len(), s.guesses.len())),
        (1, 2)
    );

    let log_in = |device: Option<&Tokens>, text: &str| LogIn {
        email: "ada@example.org".to_owned(),
        password: password(text),
        device_token: device.and_then(|tokens| tokens.device_token.clone()),
    };
    let invalid = log_in::Refusal::InvalidCredentials;
    for _ in 0..5 {
        scene.when(log_in(None, "wrong")).await.refused(invalid);
    }
    let with_other = log_in(Some(&other), NEW_PASSWORD);
    scene.when(with_other).await.refused(invalid);
    let with_own = log_in(Some(&own), NEW_PASSWORD);
    scene.when(with_own).await.succeeded();
}

#[tokio::test]
async fn one_line_for_each_refusal() {
    let (scene, tokens) = signed_in().await;
    let session = tokens.session_id;
    let told = scene
        .when(change(&scene, session, "wrong", NEW_PASSWORD))
        .await;
    told.refused(Refusal::InvalidPassword).raised(&[]);
    let told = scene
        .when(change(&scene, session, PASSWORD, "password1234"))
        .await;
    told.refused(Refusal::WeakPassword).raised(&[]);
    let told = scene
        .when(change(&scene, session, PASSWORD, PASSWORD))
        .await;
    told.refused(Refusal::PasswordReused).raised(&[]);
    let gone = SessionId(uuid::Uuid::nil());
    let told = scene
        .when(change(&scene, gone, PASSWORD, NEW_PASSWORD))
        .await;
    told.refused(Refusal::UserNotFound).raised(&[]);
    let reserved = |s: &State| s.guesses.values().map(|g| g.reserved).sum::<u32>();
    assert_eq!(
        scene.world.see(reserved),
        0,
        "a right password takes no place"
    );
    let nobody = ChangePassword {
        user: UserId(uuid::Uuid::nil()),
        ..change(&scene, session, PASSWORD, NEW_PASSWORD)
    };
    scene
        .when(nobody)
        .await
        .refused(Refusal::UserNotFound)
        .raised(&[]);
    assert_eq!(
        (scene.account().security_version, scene.open_sessions()),
        (1, 3)
    );
}

#[tokio::test]
async fn the_last_five_may_not_return() {
    let (scene, tokens) = signed_in().await;
    let words = ["anvil", "brook", "cedar", "dune", "ember"];
    let new = |word: &str| format!("violet canyon spoon {word}");
    let mut current = PASSWORD.to_owned();
    for word in words {
        scene
            .when(change(&scene, tokens.session_id, &current, &new(word)))
            .await
            .succeeded();
        current = new(word);
    }
    for word in words {
        let told = scene
            .when(change(&scene, tokens.session_id, &current, &new(word)))
            .await;
        told.refused(Refusal::PasswordReused);
    }
    scene
        .when(change(&scene, tokens.session_id, &current, PASSWORD))
        .await
        .succeeded();
}

#[tokio::test]
async fn the_current_password_is_a_guess_like_any_other() {
    let (scene, tokens) = signed_in().await;
    let wrong = || change(&scene, tokens.session_id, "wrong", NEW_PASSWORD);
    for _ in 0..4 {
        scene
            .when(wrong())
            .await
            .refused(Refusal::InvalidPassword)
            .raised(&[]);
    }
    let told = scene.when(wrong()).await.refused(Refusal::InvalidPassword);
    told.raised(&["user.lock.attempted", "user.lock.succeeded"]);
    let right = || change(&scene, tokens.session_id, PASSWORD, NEW_PASSWORD);
    let (before, evaluated) = (scene.world.hashing(), scene.world.evaluated());
    scene
        .when(right())
        .await
        .refused(Refusal::InvalidPassword)
        .raised(&[]);
    assert_eq!(
        scene.world.hashing(),
        (before.0, before.1 + 1),
        "the same work for nothing"
    );
    assert_eq!(scene.world.evaluated(), evaluated);
    scene.world.pass(std::time::Duration::from_mins(15));
    scene.when(right()).await.succeeded();
}

#[tokio::test]
async fn it_counts_on_the_path_of_the_sessions_device() {
    let (scene, tokens) = signed_in().await;
    let device = scene.world.see(|s| s.devices[0].new.id.0);
    let until = scene.world.now() + std::time::Duration::from_mins(1);
    // A stranger closed the account's own path.
    let closed = scene.world.change(|s| {
        let account = s.guesses.get_mut(&scene.user.0).unwrap();
        (account.in_a_row, account.locked_until) = (100, Some(until));
        *account
    });
    let wrong = change(&scene, tokens.session_id, "wrong", NEW_PASSWORD);
    scene.when(wrong).await.refused(Refusal::InvalidPassword);
    scene.world.see(|s| {
        assert_eq!(s.guesses[&device].wrong, 1);
        assert_eq!(s.guesses[&scene.user.0], closed);
    });
    let right = change(&scene, tokens.session_id, PASSWORD, NEW_PASSWORD);
    scene.when(right).await.succeeded();
    scene.world.see(|s| {
        assert_eq!(s.guesses[&device].wrong, 0);
        let row_ended = Guesses {
            in_a_row: 0,
            ..closed
        };
        assert_eq!(s.guesses[&scene.user.0], row_ended, "and no lock is");
    });
}

#[tokio::test]
async fn a_session_whose_device_was_forgotten_has_the_accounts_path() {
    let (scene, tokens) = signed_in().await;
    scene.world.change(|s| {
        let device = s.devices.remove(0);
        s.guesses.remove(&device.new.id.0);
    });
    let wrong = change(&scene, tokens.session_id, "wrong", NEW_PASSWORD);
    scene.when(wrong).await.refused(Refusal::InvalidPassword);
    assert_eq!(scene.world.see(|s| s.guesses[&scene.user.0].wrong), 1);
    let right = change(&scene, tokens.session_id, PASSWORD, NEW_PASSWORD);
    scene.when(right).await.succeeded();
}

#[tokio::test]
async fn a_login_meanwhile_is_ended_with_the_others() {
    let (scene, tokens) = signed_in().await;
    let other = scene.clone();
    scene.world.before(Succeeded::META.kind, 1, move |_| {
        let scene = other.clone();
        Box::pin(async move { drop(scene.signed_in().await) })
    });
    let told = scene
        .when(change(&scene, tokens.session_id, PASSWORD, NEW_PASSWORD))
        .await;
    let told = told.succeeded().ends_sessions(3);
    assert_eq!(told.scene.world.missed(), ["session no_session_but"]);
    assert_eq!((scene.open_sessions(), scene.world.hashing().0), (1, 1));
}

#[tokio::test]
async fn a_session_that_ends_meanwhile_changes_nothing() {
    let (scene, tokens) = signed_in().await;
    let (session, now) = (tokens.session_id, scene.world.now());
    scene.world.meanwhile(Succeeded::META.kind, 1, move |s| {
        s.sessions.get_mut(&session).unwrap().ended_at = Some(now);
    });
    let told = scene
        .when(change(&scene, session, PASSWORD, NEW_PASSWORD))
        .await;
    told.refused(Refusal::UserNotFound).raised(&[]);
    assert_eq!(scene.account().security_version, 1);
}

fn demand(scene: &Scene, root: &Scene) -> ChangePassword {
    ChangePassword {
        user: scene.user,
        change: Change::Demanded(root.proven()),
    }
}

#[tokio::test]
async fn what_an_administrator_demands_leaves_the_letter_alone() {
    let (scene, root) = given_to_administrators(account().verified().with_reset_token());
    let tokens = scene.signed_in().await;
    let older = scene.token(Purpose::ResetPassword);
    let told = root.when(demand(&scene, &root)).await.succeeded().raised(&[
        "session.invalidated",
        "device.revocation.attempted",
        "device.revocation.succeeded",
        "user.password_reset_request.attempted",
        "user.password_reset_request.succeeded",
    ]);
    let said = told.open(Succeeded::META.kind);
    assert_eq!(
        (&said["initiated_by"], &said["sessions_ended"]),
        (&"admin".into(), &1.into())
    );
    assert!(told.reply().is_none());
    assert!(!scene.opens(&tokens).await);
    let log_in = |text| LogIn {
        email: "ada@example.org".to_owned(),
        password: password(text),
        device_token: None,
    };
    let told = scene.when(log_in(PASSWORD)).await;
    told.refused(log_in::Refusal::InvalidCredentials);

    let reset = |token, new| ConfirmPasswordReset {
        token,
        new_password: password(new),
    };
    let told = scene.when(reset(older, NEW_PASSWORD)).await;
    told.refused(confirm_password_reset::Refusal::TokenExpired);
    let link = || scene.token(Purpose::ResetPassword);
    let told = scene.when(reset(link(), PASSWORD)).await;
    told.refused(confirm_password_reset::Refusal::PasswordReused);
    scene.when(reset(link(), NEW_PASSWORD)).await.succeeded();
    scene.when(log_in(NEW_PASSWORD)).await.succeeded();
}

#[tokio::test]
async fn one_line_for_each_refusal_of_a_demand() {
    let (scene, root) = given_to_administrators(account().verified());
    let told = scene.when(demand(&scene, &scene)).await;
    told.refused(Refusal::Forbidden).raised(&[]);
    let late = demand(&scene, &root);
    let told = root.after(600).when(late).await;
    told.refused(Refusal::StepUpRequired).raised(&[]);
    let nobody = ChangePassword {
        user: UserId(uuid::Uuid::nil()),
        ..demand(&scene, &root)
    };
    root.when(nobody).await.refused(Refusal::UserNotFound);
    assert!(scene.account().password.is_some());
}
