use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quivive_delivery::seal::{self, Vault as _};
use quivive_domain::one_time::Purpose;
use quivive_domain::{Address, Role};

use super::*;
use crate::accounts::erasure::apply_again;
use crate::accounts::unverified;
use crate::kernel::account_vault_key;
use crate::ports::Tag;
use crate::subscribers::erasure;
use crate::testing::{
    PASSWORD, Scene, State, account, account_of, given, given_to_administrators, password,
};
use crate::workflows::accounts::change_email::ChangeEmail;
use crate::workflows::accounts::register_user::RegisterUser;
use crate::workflows::sessions::log_in::{self, LogIn};

fn erase(scene: &Scene) -> EraseAccount {
    EraseAccount {
        user: scene.user,
        cause: Cause::Asked(scene.proven()),
    }
}

fn erase_by(scene: &Scene, other: &Scene) -> EraseAccount {
    EraseAccount {
        user: scene.user,
        cause: Cause::Asked(other.proven()),
    }
}

fn log_in() -> LogIn {
    LogIn {
        email: "ada@example.org".to_owned(),
        password: password(PASSWORD),
        device_token: None,
    }
}

/// What the log has of the person that can be read.
async fn read(scene: &Scene) -> Vec<String> {
    let mut read = Vec::new();
    for event in scene.world.log() {
        let personal = seal::personal(&scene.world, &event).await.unwrap();
        let context = seal::context(&scene.world, &event).await.unwrap();
        let personal = personal.map(|json| String::from_utf8(json).unwrap());
        read.extend(personal.into_iter().chain(context.ip));
    }
    read
}

/// The index has what the log has, each event with these tags.
async fn react(scene: &Scene) {
    let tag = Some(Tag([7; 16]));
    let count = scene.world.log().len();
    scene.world.change(|s| s.index = vec![(tag, tag); count]);
    let families = Arc::clone(scene.kernel.families());
    let world = || Arc::new(scene.world.clone());
    let subscription = erasure::subscription(families, world(), world());
    scene.deliver(&subscription).await;
}

/// About whom the index still has tags.
fn tagged(scene: &Scene) -> BTreeSet<Option<String>> {
    let log = scene.world.log();
    let tagged = scene.world.tags().into_iter().zip(log);
    let tagged = tagged.filter(|(tags, _)| *tags != (None, None));
    tagged.map(|(_, event)| event.envelope.subject).collect()
}

#[tokio::test]
async fn nothing_is_left_that_says_who_it_was() {
    let scene = given(account().verified().with_reset_token()).by_owner();
    let tokens = scene.signed_in().await;
    let change = ChangeEmail {
        by: scene.proven(),
        new_email: Address::parse("ada@new.example").unwrap(),
    };
    assert!(scene.when(change).await.answer.is_ok());
    assert!(!read(&scene).await.is_empty());
    let told = scene.when(erase(&scene)).await.succeeded().raised(&[
        "user.email_change.failed",
        "session.invalidated",
        "device.revocation.attempted",
        "device.revocation.succeeded",
    ]);
    assert_eq!(told.open("session.invalidated")["reason"], "erasure");
    react(&scene).await;
    assert_eq!(read(&scene).await, Vec::<String>::new());
    assert_eq!(tagged(&scene), BTreeSet::new());
    let empty = |s: &State| {
        s.accounts.is_empty()
            && s.history.is_empty()
            && s.guesses.is_empty()
            && s.one_time.is_empty()
            && s.email_changes.is_empty()
            && s.letters.is_empty()
            && s.devices.is_empty()
    };
    assert!(scene.world.see(empty));
    assert_eq!(scene.world.see(|s| s.scrubbed), 1);
    assert!(!scene.opens(&tokens).await);
    let told = scene.when(log_in()).await;
    told.refused(log_in::Refusal::UserNotFound);
    // What is said of them from now on is lost as well.
    let told = scene.when(erase(&scene)).await;
    told.refused(Refusal::Forbidden).raised(&[]);
    let name = account_vault_key(scene.user.0);
    assert!(scene.world.existing(&name).await.unwrap().is_none());
}

#[tokio::test]
async fn the_address_is_free_again() {
    let scene = given(account().verified());
    scene.when(erase(&scene)).await.succeeded();
    let anew = RegisterUser {
        email: "ada@example.org".to_owned(),
        password: password(PASSWORD),
        display_name: None,
        locale: None,
    };
    scene.when(anew).await.succeeded();
}

#[tokio::test]
async fn one_line_for_each_refusal() {
    let root = given(account_of("root@example.org").verified().role(Role::Admin));
    let scene = root.clone().and(account().verified());
    let told = root.when(erase(&root)).await;
    told.refused(Refusal::LastAdministrator).raised(&[]);
    let theirs = erase_by(&root, &scene);
    let told = scene.when(theirs).await;
    told.refused(Refusal::Forbidden).raised(&[]);
    for late in [erase(&scene), erase_by(&scene, &root)] {
        let told = scene.after(600).when(late).await;
        told.refused(Refusal::StepUpRequired).raised(&[]);
    }
    assert_eq!(scene.account().email.typed(), "ada@example.org");
}

#[tokio::test]
async fn an_administrator_sees_to_it() {
    let (scene, root) = given_to_administrators(account().verified().role(Role::Admin));
    let theirs = erase_by(&scene, &root);
    root.when(theirs).await.succeeded();
    react(&scene).await;
    let left = |s: &State| s.accounts.keys().copied().collect::<Vec<_>>();
    assert_eq!(scene.world.see(left), [root.user]);
    let nobody = erase_by(&scene, &root);
    let told = root.when(nobody).await;
    told.refused(Refusal::Forbidden).raised(&[]);
}

#[tokio::test]
async fn who_loses_the_role_meanwhile_erases_nobody() {
    let (scene, root) = given_to_administrators(account().verified());
    let user = root.user;
    let lost = move |s: &mut State| {
        let root = s.accounts.get_mut(&user).unwrap();
        root.roles = vec![Role::User];
        root.security_version += 1;
    };
    scene.world.meanwhile("user.erasure.succeeded", 1, lost);
    let theirs = erase_by(&scene, &root);
    let told = root.when(theirs).await;
    told.refused(Refusal::Forbidden).raised(&[]);
    assert_eq!(scene.account().email.typed(), "ada@example.org");
}

#[tokio::test]
async fn of_two_administrators_who_go_at_once_one_stays() {
    let root = given(account_of("root@example.org").verified().role(Role::Admin));
    let ada = root.clone().and(account().verified().role(Role::Admin));
    let goes = [&root, &ada].into_iter().cycle().take(20);
    let told = join_all(goes.map(|scene| scene.when(erase(scene)))).await;
    assert_eq!(told.iter().filter(|told| told.answer.is_ok()).count(), 1);
    assert_eq!(ada.world.see(|s| s.accounts.len()), 1);
}

#[tokio::test]
async fn a_sign_in_that_races_it_gets_no_session() {
    let scene = given(account().verified()).by_owner();
    let sign_ins = join_all((0..5).map(|_| scene.when(log_in())));
    let (_, told) = tokio::join!(sign_ins, scene.when(erase(&scene)));
    told.succeeded();
    assert_eq!(scene.open_sessions(), 0);
}

#[tokio::test]
async fn who_comes_back_with_an_older_database_is_erased_again() {
    let scene = given(account().verified().role(Role::Admin));
    let other = account_of("root@example.org").verified().role(Role::Admin);
    let other = scene.clone().and(other);
    assert_eq!(apply_again(&scene.kernel).await.unwrap(), 0);
    scene.signed_in().await;
    let older = scene.world.see(State::clone);
    scene.when(erase(&scene)).await.succeeded();
    react(&scene).await;
    assert_eq!(apply_again(&scene.kernel).await.unwrap(), 0);

    scene.world.change(|s| *s = older);
    // The only administrator that the older one has: they go all the same.
    scene
        .world
        .change(|s| s.accounts.get_mut(&other.user).unwrap().roles = Vec::new());
    assert_eq!(apply_again(&scene.kernel).await.unwrap(), 1);
    let left = |s: &State| s.accounts.keys().copied().collect::<Vec<_>>();
    assert_eq!(scene.world.see(left), [other.user]);
    assert_eq!(scene.open_sessions(), 0);
    assert!(scene.token(Purpose::ResetPassword).is_none());
    let last = scene.world.log().pop().unwrap();
    assert_eq!(last.envelope.actor.kind, "system");
}

#[tokio::test]
async fn who_never_verified_the_address_goes_after_a_week() {
    let scene = given(account().verified());
    let eve = scene.clone().and(account_of("eve@example.org"));
    let root = account_of("root@example.org").role(Role::Admin);
    let root = scene.clone().and(root);
    let created = scene.world.now();
    let all = [&scene, &eve, &root].map(|one| one.user);
    scene.world.change(|s| {
        for one in all {
            s.accounts.get_mut(&one).unwrap().created_at = created;
        }
    });
    let left = || all.map(|one| scene.world.see(|s| s.accounts.contains_key(&one)));
    scene
        .world
        .pass(Duration::from_hours(7 * 24) - Duration::from_secs(1));
    unverified::expire(&scene.kernel).await.unwrap();
    assert_eq!(left(), [true; 3]);
    scene.world.pass(Duration::from_secs(1));
    unverified::expire(&scene.kernel).await.unwrap();
    assert_eq!(left(), [true, false, true]);
    let kinds = ["user.erasure.attempted", "user.erasure.succeeded"];
    assert_eq!(scene.world.kinds(), kinds);
    let last = scene.world.log().pop().unwrap();
    assert_eq!(last.envelope.actor.kind, "system");
    unverified::expire(&scene.kernel).await.unwrap();
    assert_eq!(scene.world.kinds(), kinds);
}

#[tokio::test]
async fn who_verifies_it_meanwhile_stays() {
    let eve = given(account());
    let (user, now) = (eve.user, eve.world.now());
    eve.world.meanwhile("user.erasure.succeeded", 1, move |s| {
        s.accounts.get_mut(&user).unwrap().verified_at = Some(now);
    });
    unverified::expire(&eve.kernel).await.unwrap();
    let kinds = ["user.erasure.attempted", "user.erasure.failed"];
    assert_eq!(eve.world.kinds(), kinds);
    assert!(eve.account().verified_at.is_some());
}
