use futures_util::future::join_all;
use quivive_domain::Role;

use super::*;
use crate::testing::{Scene, account, account_of, given, refresh};
use crate::workflows::sessions::refresh_tokens;

fn rotate(scene: &Scene, by: By) -> RotateUserTokens {
    RotateUserTokens {
        user: scene.user,
        by,
        reason: Rationale::parse("a lost telephone").expect("it fits"),
        devices: Devices::Kept,
    }
}

#[tokio::test]
async fn what_was_issued_before_is_good_for_nothing_and_a_new_sign_in_is() {
    let eve = given(account_of("eve@example.org").verified());
    let hers = eve.signed_in().await;
    let scene = eve.clone().and(account().verified()).by_owner();
    let (one, two) = (scene.signed_in().await, scene.signed_in().await);
    let told = scene
        .when(rotate(&scene, By::Owner))
        .await
        .succeeded()
        .raised(&["session.invalidated"; 2]);
    assert_eq!(told.open("session.invalidated")["reason"], "rotation");
    assert_eq!(
        told.open("token.user_rotation.succeeded"),
        serde_json::json!({"user_id": scene.user, "triggered_by": scene.user, "previous_version": 1, "new_version": 2,
            "reason": "a lost telephone"})
    );
    for tokens in [&one, &two] {
        assert!(!scene.opens(tokens).await);
        let told = scene
            .when(refresh(tokens))
            .await
            .refused(refresh_tokens::Refusal::TokenVersionRejected)
            .raised(&["token.rejected_due_to_rotation"]);
        let said = told.open("token.rejected_due_to_rotation");
        assert_eq!(said["rejection_reason"], "user_rotation");
        assert_eq!(
            (&said["token_version"], &said["required_version"]),
            (&1.into(), &2.into())
        );
    }
    assert_eq!(scene.open_sessions(), 0);
    let again = scene.signed_in().await;
    assert!(scene.opens(&again).await);
    let again = scene.when(refresh(&again)).await.succeeded().reply();
    assert!(scene.opens(&again).await);
    assert!(eve.opens(&hers).await, "somebody else's stay");
    eve.when(refresh(&hers)).await.succeeded();
}

#[tokio::test]
async fn an_administrator_who_has_just_proved_who_they_are_may_ask_for_it() {
    let root = given(account_of("root@example.org").verified().role(Role::Admin));
    let proven = root.proven();
    let scene = root.clone().and(account().verified());
    for stale in [false, true] {
        if stale {
            let late = scene
                .after(600)
                .when(rotate(&scene, By::Administrator(proven)))
                .await;
            late.refused(Refusal::StepUpRequired).raised(&[]);
        } else {
            let told = scene
                .when(rotate(&scene, By::Administrator(proven)))
                .await
                .succeeded();
            let said = told.open("token.user_rotation.succeeded");
            assert_eq!(said["triggered_by"], root.user.to_string());
        }
    }
    // Their own, too.
    let told = root
        .when(rotate(&root, By::Administrator(root.proven())))
        .await;
    assert_eq!(told.succeeded().reply().new_version, 2);
    let eve = By::Administrator(scene.proven());
    scene
        .when(rotate(&root, eve))
        .await
        .refused(Refusal::Forbidden);
    let nobody = RotateUserTokens {
        user: UserId(uuid::Uuid::from_u128(7)),
        ..rotate(&scene, By::System)
    };
    let told = scene.when(nobody).await.refused(Refusal::UserNotFound);
    assert_eq!(told.events[0].envelope.key.as_str(), "system:all");
}

#[tokio::test]
async fn fifty_at_once_are_fifty_increments() {
    let scene = given(account().verified().with_sessions(3));
    let all = (0..50).map(|_| scene.when(rotate(&scene, By::System)));
    let mut versions = Vec::new();
    for told in join_all(all).await {
        versions.push(told.succeeded().reply().new_version);
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..=51).collect::<Vec<_>>());
    assert_eq!(scene.account().token_version, 51);
}

/// Whose right password was read before the rotation gets no session of the old version.
#[tokio::test]
async fn a_sign_in_that_races_it_carries_the_new_version() {
    let scene = given(account().verified());
    let user = scene.user;
    scene.world.meanwhile("user.login.succeeded", 1, move |s| {
        let account = s.accounts.get_mut(&user).expect("there");
        account.security_version += 1;
        account.token_version += 1;
    });
    let tokens = scene.signed_in().await;
    assert!(scene.opens(&tokens).await);
    assert_eq!(scene.world.missed(), ["account fence"]);
}

#[tokio::test]
async fn who_loses_the_role_meanwhile_rotates_nobody() {
    let root = given(account_of("root@example.org").verified().role(Role::Admin));
    let (admin, proven) = (root.user, root.proven());
    let scene = root.and(account().verified());
    let kind = "token.user_rotation.succeeded";
    scene.world.meanwhile(kind, 1, move |s| {
        let admin = s.accounts.get_mut(&admin).expect("there");
        admin.roles = vec![Role::User];
        admin.security_version += 1;
    });
    scene
        .when(rotate(&scene, By::Administrator(proven)))
        .await
        .refused(Refusal::Forbidden);
    assert_eq!(scene.account().token_version, 1);
}
