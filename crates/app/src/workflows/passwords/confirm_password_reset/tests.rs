use futures_util::future::join_all;
use quivive_delivery::Event as _;
use quivive_domain::AccountState;

use super::*;
use crate::sessions::Tokens;
use crate::testing::{NEW_PASSWORD, PASSWORD, Scene, account, given, password};
use crate::workflows::passwords::request_password_reset::RequestPasswordReset;
use crate::workflows::sessions::log_in::{self, LogIn};

fn confirm(scene: &Scene, new: &str) -> ConfirmPasswordReset {
    ConfirmPasswordReset {
        token: scene.token(Purpose::ResetPassword),
        new_password: password(new),
    }
}

fn log_in(text: &str) -> LogIn {
    LogIn {
        email: "ada@example.org".to_owned(),
        password: password(text),
        device_token: None,
    }
}

/// T17.
#[tokio::test]
async fn a_reset_ends_everything_in_the_commit_that_changes_the_password() {
    let scene = given(account().with_sessions(3).with_reset_token());
    let told = scene
        .when(confirm(&scene, NEW_PASSWORD))
        .await
        .succeeded()
        .ends_sessions(3);
    let told = told.raised(&["session.invalidated"; 3]);
    assert_eq!(told.open("session.invalidated")["reason"], "password_reset");
    assert_eq!(told.events[1].envelope.actor.id, Some(scene.user.0));
    assert_eq!(
        told.event::<Succeeded>().await.email.as_str(),
        "ada@example.org"
    );
    assert_eq!(told.reply().user_id, scene.user);

    let account = scene.account();
    assert_eq!(
        (
            account.credential_epoch,
            account.security_version,
            account.token_version
        ),
        (2, 2, 2)
    );
    assert!(
        account.verified_at.is_some(),
        "the letter proved the address"
    );
    assert_eq!(scene.open_sessions(), 0);
    scene
        .when(log_in(PASSWORD))
        .await
        .refused(log_in::Refusal::InvalidCredentials);
    scene.when(log_in(NEW_PASSWORD)).await.succeeded();
}

#[tokio::test]
async fn a_second_use_is_refused() {
    let scene = given(account().with_reset_token());
    scene.when(confirm(&scene, NEW_PASSWORD)).await.succeeded();
    let told = scene
        .when(confirm(&scene, "marble thunder oboe lagoon"))
        .await;
    told.refused(Refusal::TokenAlreadyUsed).raised(&[]);
    assert_eq!(scene.account().security_version, 2);
}

/// T18, T19: also of links that are a moment too old.
#[tokio::test]
async fn one_line_for_each_refusal() {
    let valid = || account().verified().with_sessions(1).with_reset_token();
    for (person, new, refusal) in [
        (account().verified(), NEW_PASSWORD, Refusal::TokenNotFound),
        (
            valid().state(AccountState::Inactive),
            NEW_PASSWORD,
            Refusal::AccountInactive,
        ),
        (
            valid().state(AccountState::Locked),
            NEW_PASSWORD,
            Refusal::AccountInactive,
        ),
        (valid(), "password1234", Refusal::WeakPassword),
        (valid(), "ada@example.org 1", Refusal::WeakPassword),
        (valid(), PASSWORD, Refusal::PasswordReused),
    ] {
        let scene = given(person);
        scene
            .when(confirm(&scene, new))
            .await
            .refused(refusal)
            .raised(&[]);
        let account = scene.account();
        assert_eq!(
            (account.credential_epoch, account.security_version),
            (1, 1),
            "{refusal:?}"
        );
    }

    let scene = given(valid());
    scene.world.pass(std::time::Duration::from_mins(15));
    scene
        .when(confirm(&scene, NEW_PASSWORD))
        .await
        .refused(Refusal::TokenExpired);

    let scene = given(valid());
    let first = confirm(&scene, NEW_PASSWORD);
    let email = "ada@example.org".to_owned();
    scene.when(RequestPasswordReset { email }).await.succeeded();
    scene.when(first).await.refused(Refusal::TokenExpired);
    scene.when(confirm(&scene, NEW_PASSWORD)).await.succeeded();

    let scene = given(valid());
    scene
        .world
        .change(|s| s.accounts.get_mut(&scene.user).unwrap().credential_epoch = 2);
    scene
        .when(confirm(&scene, NEW_PASSWORD))
        .await
        .refused(Refusal::TokenExpired);

    let scene = given(valid());
    let orphan = confirm(&scene, NEW_PASSWORD);
    scene.world.change(|s| s.accounts.clear());
    scene.when(orphan).await.refused(Refusal::UserNotFound);
}

#[tokio::test]
async fn what_is_not_genuine_is_not_found() {
    let scene = given(account().with_reset_token().with_verification_token());
    let id = scene.token(Purpose::ResetPassword).unwrap().id;
    let forged = Presented::parse(&Presented::assemble(id, &[7; 32]));
    let unknown = Presented::parse(&Presented::assemble(
        TokenId(uuid::Uuid::from_u128(7)),
        &[7; 32],
    ));
    for (token, key) in [
        (None, "source:"),
        (forged, "token:"),
        (unknown, "token:"),
        (scene.token(Purpose::VerifyEmail), "token:"),
    ] {
        let new_password = password(NEW_PASSWORD);
        let told = scene
            .when(ConfirmPasswordReset {
                token,
                new_password,
            })
            .await
            .refused(Refusal::TokenNotFound);
        assert!(
            told.events[0].envelope.key.as_str().starts_with(key),
            "{key}"
        );
    }
    let genuine = confirm(&scene, NEW_PASSWORD);
    scene.world.change(|s| {
        s.one_time
            .values_mut()
            .for_each(|(t, _)| t.key = "gone".to_owned());
    });
    scene.when(genuine).await.refused(Refusal::TokenNotFound);
}

#[tokio::test]
async fn it_opens_the_path_that_wrong_passwords_closed() {
    let scene = given(account().verified().with_reset_token());
    for _ in 0..5 {
        scene
            .when(log_in("wrong"))
            .await
            .refused(log_in::Refusal::InvalidCredentials);
    }
    let told = scene.when(confirm(&scene, NEW_PASSWORD)).await.succeeded();
    let told = told.raised(&["user.unlock.attempted", "user.unlock.succeeded"]);
    let unlocked = told.open("user.unlock.succeeded");
    assert_eq!(
        (&unlocked["reason"], &unlocked["automatic"]),
        (&"password_reset".into(), &true.into())
    );
    scene.when(log_in(NEW_PASSWORD)).await.succeeded();
}

#[tokio::test]
async fn it_opens_a_path_that_was_closed_for_good() {
    let scene = given(account().verified().with_reset_token());
    let until = scene.world.now() + std::time::Duration::from_mins(1);
    scene.world.change(|s| {
        s.guesses
            .values_mut()
            .for_each(|g| (g.in_a_row, g.locked_until) = (100, Some(until)));
    });
    scene.when(confirm(&scene, NEW_PASSWORD)).await.succeeded();
    scene.when(log_in(NEW_PASSWORD)).await.succeeded();
}

fn with_device(text: &str, tokens: &Tokens) -> LogIn {
    LogIn {
        device_token: tokens.device_token.clone(),
        ..log_in(text)
    }
}

/// The paths on which passwords can be tried.
fn paths(scene: &Scene) -> Vec<uuid::Uuid> {
    scene.world.see(|s| s.guesses.keys().copied().collect())
}

#[tokio::test]
async fn the_token_of_an_old_device_is_no_path_of_its_own_any_more() {
    let scene = given(account().verified().with_reset_token());
    let tokens: Tokens = scene.signed_in().await;
    let told = scene.when(confirm(&scene, NEW_PASSWORD)).await.succeeded();
    let told = told.raised(&[
        "session.invalidated",
        "device.revocation.attempted",
        "device.revocation.succeeded",
    ]);
    let revoked = told.open("device.revocation.succeeded");
    assert_eq!(
        (&revoked["reason"], &revoked["sessions_ended"]),
        (&"password_reset".into(), &1.into())
    );
    assert!(scene.world.see(|s| s.devices.is_empty()));
    assert_eq!(paths(&scene), [scene.user.0]);

    for _ in 0..5 {
        scene
            .when(log_in("wrong"))
            .await
            .refused(log_in::Refusal::InvalidCredentials);
    }
    let evaluated = scene.world.evaluated();
    scene
        .when(with_device(NEW_PASSWORD, &tokens))
        .await
        .refused(log_in::Refusal::InvalidCredentials);
    assert_eq!(scene.world.evaluated(), evaluated);
}

#[tokio::test]
async fn a_guess_that_is_under_way_on_a_device_does_not_outlive_it() {
    let (attempted, failed) = (log_in::Attempted::META.kind, log_in::Failed::META.kind);
    for (text, moment, refused) in [
        (PASSWORD, attempted, true),
        (NEW_PASSWORD, attempted, false),
        (PASSWORD, log_in::Succeeded::META.kind, true),
        ("wrong", failed, true),
        (NEW_PASSWORD, failed, false),
    ] {
        let scene = given(account().verified().with_reset_token());
        let tokens = scene.signed_in().await;
        let other = scene.clone();
        scene.world.before(moment, 1, move |_| {
            let scene = other.clone();
            Box::pin(async move {
                scene.when(confirm(&scene, NEW_PASSWORD)).await.succeeded();
            })
        });
        let told = scene.when(with_device(text, &tokens)).await;
        let context = format!("{text} at {moment}");
        assert_eq!(told.answer.is_err(), refused, "{context}");
        let devices = scene.world.see(|s| s.devices.len());
        assert_eq!(devices, usize::from(!refused), "{context}");
        assert_eq!(paths(&scene).len(), 1 + devices, "{context}");
        // One that was not reserved yet counts on the path that is left; one that was is gone with the device's.
        let on_account = scene.world.see(|s| s.guesses[&scene.user.0]);
        let wrong = u32::from(refused && moment == attempted);
        assert_eq!(
            (on_account.wrong, on_account.reserved),
            (wrong, wrong),
            "{context}"
        );
    }
}

/// In and out again between what the reset reads and what it writes: the session left no trace, the device would.
#[tokio::test]
async fn a_device_that_is_registered_meanwhile_is_forgotten_too() {
    let scene = given(account().verified().with_reset_token());
    let other = scene.clone();
    scene.world.before(Succeeded::META.kind, 1, move |_| {
        let scene = other.clone();
        Box::pin(async move {
            let tokens = scene.signed_in().await;
            let now = scene.world.now();
            scene.world.change(|s| {
                s.sessions.get_mut(&tokens.session_id).unwrap().ended_at = Some(now);
            });
        })
    });
    let told = scene.when(confirm(&scene, NEW_PASSWORD)).await;
    told.succeeded()
        .raised(&["device.revocation.attempted", "device.revocation.succeeded"]);
    assert_eq!(scene.world.missed(), ["device no_device_but"]);
    assert!(scene.world.see(|s| s.devices.is_empty()));
}

/// As many sessions as before, but not the same ones.
#[tokio::test]
async fn a_session_that_took_the_place_of_another_meanwhile_is_the_one_that_ends() {
    let scene = given(account().verified().with_sessions(10).with_reset_token());
    let other = scene.clone();
    scene.world.before(Succeeded::META.kind, 1, move |_| {
        let scene = other.clone();
        Box::pin(async move { drop(scene.signed_in().await) })
    });
    let told = scene.when(confirm(&scene, NEW_PASSWORD)).await;
    told.succeeded().ends_sessions(10);
    assert_eq!(scene.world.missed(), ["session end"]);
    let kinds = scene.world.kinds();
    let ends = kinds
        .iter()
        .filter(|kind| ["session.evicted", "session.invalidated"].contains(&kind.as_str()));
    assert_eq!(ends.count(), 11, "each ended session has its one fact");
}

/// T16.
#[tokio::test]
async fn of_fifty_at_once_one_succeeds() {
    let scene = given(account().verified().with_sessions(3).with_reset_token());
    let token = scene.token(Purpose::ResetPassword);
    let told = join_all((0..50).map(|number| {
        scene.when(ConfirmPasswordReset {
            token: token.clone(),
            new_password: password(&format!("{NEW_PASSWORD} {number}")),
        })
    }));
    let (won, lost): (Vec<_>, Vec<_>) = told.await.into_iter().partition(|t| t.answer.is_ok());
    assert_eq!((won.len(), lost.len()), (1, 49));
    for told in lost {
        told.refused(Refusal::TokenAlreadyUsed).raised(&[]);
    }
    assert_eq!(
        (scene.account().security_version, scene.open_sessions()),
        (2, 0)
    );
    let invalidated = scene
        .world
        .kinds()
        .iter()
        .filter(|kind| *kind == "session.invalidated")
        .count();
    assert_eq!(invalidated, 3);
}

#[tokio::test]
async fn a_login_meanwhile_is_ended_too() {
    let scene = given(account().verified().with_reset_token());
    let other = scene.clone();
    scene.world.before(Succeeded::META.kind, 1, move |_| {
        let scene = other.clone();
        Box::pin(async move { drop(scene.signed_in().await) })
    });
    scene
        .when(confirm(&scene, NEW_PASSWORD))
        .await
        .succeeded()
        .ends_sessions(1);
    assert_eq!(scene.world.missed(), ["session no_session_but"]);
    assert_eq!((scene.open_sessions(), scene.world.hashing().0), (0, 1));
}
