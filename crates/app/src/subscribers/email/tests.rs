//! Which letters go out, and which do not.

use quivive_domain::one_time::Purpose;
use quivive_domain::refresh::Presented;
use quivive_domain::{Rationale, Role};
use secrecy::ExposeSecret as _;

use super::*;
use crate::kernel::Workflow;
use crate::step_up::By;
use crate::testing::{
    NEW_PASSWORD, PASSWORD, Scene, account, given, given_to_administrators, nobody, password,
};
use crate::workflows::accounts::change_email::ChangeEmail;
use crate::workflows::accounts::confirm_email_change::ConfirmEmailChange;
use crate::workflows::accounts::deactivate_user::DeactivateUser;
use crate::workflows::accounts::lock_user::LockUser;
use crate::workflows::accounts::reactivate_user::ReactivateUser;
use crate::workflows::accounts::register_user::RegisterUser;
use crate::workflows::accounts::request_email_verification::RequestEmailVerification;
use crate::workflows::accounts::unlock_user::UnlockUser;
use crate::workflows::accounts::verify_email::VerifyEmail;
use crate::workflows::passwords::confirm_password_reset::ConfirmPasswordReset;
use crate::workflows::passwords::request_password_reset::RequestPasswordReset;
use crate::workflows::sessions::log_in::LogIn;
use crate::workflows::sessions::refresh_tokens::RefreshTokens;
use crate::workflows::sessions::revoke_all_sessions::RevokeAllSessions;

const ADA: &str = "ada@example.org";

fn mail(scene: &Scene) -> Subscription {
    let letters = Letters::new(None).expect("built in");
    subscription(
        Arc::clone(scene.kernel.families()),
        Arc::new(scene.world.clone()),
        letters,
    )
}

async fn delivered(scene: &Scene) -> Vec<Outcome> {
    scene.deliver(&mail(scene)).await
}

/// The templates of all letters, oldest first.
fn templates(scene: &Scene) -> Vec<&'static str> {
    scene
        .world
        .sent()
        .iter()
        .map(|(letter, _)| letter.template)
        .collect()
}

fn facts(outcomes: &[Outcome]) -> Vec<&'static str> {
    let effects = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::DoneWith(effects) => Some(effects),
        _ => None,
    });
    effects
        .flat_map(|effects| &effects.facts)
        .map(|fact| fact.meta.name)
        .collect()
}

fn register(email: &str) -> RegisterUser {
    RegisterUser {
        email: email.to_owned(),
        password: password(PASSWORD),
        display_name: None,
        locale: None,
    }
}

fn log_in(text: &str) -> LogIn {
    LogIn {
        email: ADA.to_owned(),
        password: password(text),
        device_token: None,
    }
}

fn request_reset() -> RequestPasswordReset {
    RequestPasswordReset {
        email: ADA.to_owned(),
    }
}

async fn asked<W: Workflow>(scene: &Scene, workflow: W) -> Vec<Outcome> {
    let _ = scene.when(workflow).await;
    delivered(scene).await
}

#[tokio::test]
async fn each_letter_has_its_event() {
    let scene = nobody();
    let outcomes = asked(&scene, register("Ada@Example.ORG")).await;
    assert_eq!(
        (templates(&scene), facts(&outcomes)),
        (vec!["verify_email"], vec!["EmailDelivered"])
    );

    let scene = given(account());
    let email = ADA.to_owned();
    asked(&scene, RequestEmailVerification { email }).await;
    assert_eq!(templates(&scene), ["verify_email"]);

    let scene = given(account().with_verification_token());
    let token = scene.token(Purpose::VerifyEmail);
    asked(&scene, VerifyEmail { token }).await;
    assert_eq!(templates(&scene), ["welcome"]);

    let scene = given(account());
    asked(&scene, request_reset()).await;
    assert_eq!(templates(&scene), ["reset_password"]);

    let scene = given(account().with_reset_token());
    let (token, new_password) = (scene.token(Purpose::ResetPassword), password(NEW_PASSWORD));
    asked(
        &scene,
        ConfirmPasswordReset {
            token,
            new_password,
        },
    )
    .await;
    assert_eq!(templates(&scene), ["password_changed"]);

    let scene = given(account().verified());
    for _ in 0..5 {
        let _ = scene.when(log_in("wrong")).await;
    }
    delivered(&scene).await;
    assert_eq!(templates(&scene), ["account_locked"]);
    assert!(scene.world.sent()[0].0.text.contains("15 minutes"));

    let scene = given(account().verified());
    let tokens = scene.signed_in().await;
    let again = || RefreshTokens {
        token: Presented::parse(tokens.refresh_token.expose_secret()),
        device_token: None,
    };
    let _ = scene.when(again()).await;
    asked(&scene.from([198, 51, 100, 9], "curl/8"), again()).await;
    assert_eq!(templates(&scene), ["token_reuse"]);
}

#[tokio::test]
async fn who_ended_all_sessions_is_told() {
    let scene = given(account().verified().with_sessions(2));
    let revoke = || RevokeAllSessions {
        user: scene.user,
        by: By::Owner,
        except: None,
    };
    asked(&scene.by_owner(), revoke()).await;
    assert_eq!(templates(&scene), ["sessions_ended"]);
    assert!(scene.world.sent()[0].0.text.contains("As you asked"));
    asked(&scene.by_owner(), revoke()).await;
    assert_eq!(templates(&scene).len(), 2, "the first, again: none ended");

    let (scene, root) = given_to_administrators(account().verified().with_sessions(2));
    let by = By::Administrator(root.proven());
    let (user, except) = (scene.user, None);
    asked(&root, RevokeAllSessions { user, by, except }).await;
    assert!(scene.world.sent()[0].0.text.contains("An administrator"));
}

#[tokio::test]
async fn both_addresses_are_told_of_a_change() {
    let scene = given(account().verified()).by_owner();
    let change = ChangeEmail {
        by: scene.proven(),
        new_email: Address::parse("ada@new.example").unwrap(),
    };
    asked(&scene, change).await;
    let sent = |scene: &Scene| {
        let sent = scene.world.sent().into_iter();
        sent.map(|(letter, _)| (letter.template, letter.to))
            .collect::<Vec<_>>()
    };
    let new = || "ada@new.example".to_owned();
    assert_eq!(sent(&scene), [("email_change_confirm", new())]);
    let confirm = ConfirmEmailChange {
        token: scene.token(Purpose::ChangeEmail),
        session: None,
    };
    asked(&scene, confirm).await;
    let (outcome, mut rest) = (("email_changed", new()), sent(&scene));
    rest.drain(..1);
    assert_eq!(rest, [("email_changed", ADA.to_owned()), outcome]);
    let old = &scene.world.sent()[1].0;
    assert!(
        old.text
            .contains("https://id.example.org/email-revert?token=")
    );
    assert!(!scene.world.sent()[2].0.text.contains("email-revert"));
}

#[tokio::test]
async fn what_an_administrator_did_is_told() {
    let (scene, root) = given_to_administrators(account().verified());
    let (user, by) = (scene.user, root.proven());
    let reason = Rationale::parse("a reason that is none of the letter's business").unwrap();
    root.when(LockUser { user, by }).await.succeeded();
    root.when(UnlockUser { user, by }).await.succeeded();
    let deactivate = DeactivateUser {
        user,
        by,
        reason: reason.clone(),
    };
    root.when(deactivate).await.succeeded();
    let reactivate = ReactivateUser {
        user,
        by,
        reason: reason.clone(),
    };
    root.when(reactivate).await.succeeded();
    delivered(&scene).await;
    let expected = [
        "account_locked",
        "account_deactivated",
        "account_reactivated",
    ];
    assert_eq!(templates(&scene), expected);
    for (letter, _) in scene.world.sent() {
        assert!(letter.text.contains("An administrator"), "{}", letter.text);
        assert!(!letter.text.contains(reason.as_str()));
    }
}

#[tokio::test]
async fn a_letter_goes_to_the_stored_address_with_the_derived_link() {
    let scene = given(account());
    let typed = "  ADA@EXAMPLE.org".to_owned();
    asked(&scene, RequestPasswordReset { email: typed }).await;
    let (letter, key) = scene.world.sent().remove(0);
    assert_eq!(letter.to, ADA);
    let token = scene.token(Purpose::ResetPassword).expect("issued");
    let link = letter
        .text
        .lines()
        .find_map(|line| line.strip_prefix("https://id.example.org/reset?token="));
    assert_eq!(
        crate::testing::presented(link.expect("its link")),
        Some(token)
    );
    let event = scene.world.log().pop().expect("its event").envelope.id;
    assert_eq!(key, format!("email:{event}"));
}

#[tokio::test]
async fn a_token_that_is_used_too_old_or_of_a_lost_key_gets_no_letter() {
    let used = given(account());
    used.when(request_reset()).await.succeeded();
    let (token, new_password) = (used.token(Purpose::ResetPassword), password(NEW_PASSWORD));
    used.when(ConfirmPasswordReset {
        token,
        new_password,
    })
    .await
    .succeeded();
    delivered(&used).await;
    assert_eq!(
        templates(&used),
        ["password_changed"],
        "and no link to what was used"
    );

    let late = given(account());
    late.when(request_reset()).await.succeeded();
    late.world.pass(std::time::Duration::from_mins(15));
    delivered(&late).await;
    assert!(templates(&late).is_empty());

    let lost = given(account());
    lost.when(request_reset()).await.succeeded();
    lost.world.change(|s| {
        s.one_time
            .values_mut()
            .for_each(|(token, _)| token.key = "gone".to_owned());
    });
    delivered(&lost).await;
    assert!(templates(&lost).is_empty());
}

#[tokio::test]
async fn who_has_an_account_already_is_told_once_an_hour() {
    let scene = given(account());
    for _ in 0..3 {
        asked(&scene, register(ADA)).await;
    }
    assert_eq!(templates(&scene), ["already_registered"]);
    scene.world.pass(std::time::Duration::from_hours(1));
    delivered(&scene).await;
    assert_eq!(templates(&scene).len(), 2);

    let weak = RegisterUser {
        password: password("password1234"),
        ..register(ADA)
    };
    let scene = given(account());
    asked(&scene, weak).await;
    assert!(templates(&scene).is_empty(), "nothing was registered twice");
}

#[tokio::test]
async fn the_first_device_is_no_news_and_the_second_is() {
    let scene = given(account().verified());
    scene.signed_in().await;
    delivered(&scene).await;
    assert!(templates(&scene).is_empty());
    scene.signed_in().await;
    delivered(&scene).await;
    assert!(templates(&scene).contains(&"new_device"));
}

#[tokio::test]
async fn after_a_new_password_no_device_is_the_first() {
    let scene = given(account().verified().with_reset_token());
    let (token, new_password) = (scene.token(Purpose::ResetPassword), password(NEW_PASSWORD));
    let reset = ConfirmPasswordReset {
        token,
        new_password,
    };
    scene.when(reset).await.succeeded();
    scene.when(log_in(NEW_PASSWORD)).await.succeeded();
    delivered(&scene).await;
    assert_eq!(templates(&scene), ["password_changed", "new_device"]);
}

#[tokio::test]
async fn nobody_gets_no_letter() {
    let scene = nobody();
    let outcomes = asked(&scene, request_reset()).await;
    assert!(outcomes.is_empty() && templates(&scene).is_empty());
}

#[tokio::test]
async fn what_the_mail_server_says_decides_what_is_left_behind() {
    let scene = given(account());
    scene
        .world
        .mail_error(Some(MailError::Transient("try later".to_owned())));
    let outcomes = asked(&scene, register(ADA)).await;
    assert!(matches!(outcomes.as_slice(), [Outcome::Retry(_)]));
    assert!(
        scene.world.see(|s| s.letters.is_empty()),
        "what was not sent is not counted"
    );

    scene
        .world
        .mail_error(Some(MailError::Permanent("no such mailbox".to_owned())));
    assert_eq!(facts(&delivered(&scene).await), ["EmailDeliveryFailed"]);
}

/// The keys of a person can be gone while their events are read: then nothing is told, rather than something else.
#[tokio::test]
async fn an_event_that_cannot_be_read_gets_no_other_letter() {
    let scene = given(account().role(Role::Support));
    scene.when(request_reset()).await.succeeded();
    scene.world.erase(&format!("s:{}", scene.user));
    delivered(&scene).await;
    assert!(templates(&scene).is_empty(), "{:?}", templates(&scene));
}

/// It is for the engine to see: an event whose fields are lost is not one that calls for no letter.
#[tokio::test]
async fn an_event_that_does_not_fit_its_type_is_poison() {
    let scene = given(account());
    scene.when(request_reset()).await.succeeded();
    scene.when(register(ADA)).await;
    let mut tried = 0;
    for mut event in scene.world.log() {
        let kind = event.envelope.kind.clone();
        if ![
            "user.password_reset_request.succeeded",
            "user.registration.failed",
        ]
        .contains(&kind.as_str())
        {
            continue;
        }
        event.body = b"{}".to_vec();
        let outcome = scene.react(&mail(&scene), event).await;
        // It is known to be a letter's, and says what it lacks.
        let Outcome::Poison(why) = outcome else {
            panic!("{kind}: {outcome:?}");
        };
        assert_ne!(why, "no letter is for this type", "{kind}");
        tried += 1;
    }
    assert_eq!(tried, 2);
    assert!(templates(&scene).is_empty());
}
