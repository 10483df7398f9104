use std::time::Duration;

use futures_util::future::join_all;
use quivive_domain::Role;

use super::*;
use crate::testing::{account, account_of, given, refresh};
use crate::workflows::sessions::refresh_tokens;

fn rotate(reason: &str, grace_s: Option<u64>) -> RotateAllTokens {
    RotateAllTokens {
        by: None,
        reason: Rationale::parse(reason).expect("it fits"),
        grace: grace_s.map(Duration::from_secs),
    }
}

#[tokio::test]
async fn tokens_of_before_are_good_until_the_grace_is_over_and_newer_ones_after() {
    let scene = given(account().verified());
    let (idle, old) = (scene.signed_in().await, scene.signed_in().await);
    let told = scene.when(rotate("yearly", None)).await.succeeded();
    assert_eq!(
        told.open("token.global_rotation.succeeded"),
        serde_json::json!({"triggered_by": "system", "previous_version": 1, "new_version": 2, "reason": "yearly",
            "grace_period_seconds": 300})
    );
    let reply = told.raised(&[]).reply();
    assert_eq!((reply.previous_version, reply.new_version), (1, 2));
    let new = scene
        .after(299)
        .when(refresh(&old))
        .await
        .succeeded()
        .reply();
    assert!(scene.opens(&idle).await && scene.opens(&new).await);
    let scene = scene.after(1);
    assert!(!scene.opens(&idle).await && scene.opens(&new).await);
    scene
        .when(refresh(&idle))
        .await
        .refused(refresh_tokens::Refusal::TokenVersionRejected)
        .raised(&["token.rejected_due_to_rotation"]);
    scene.when(refresh(&new)).await.succeeded();
    assert_eq!(scene.open_sessions(), 2, "nobody's session ends");
    let again = scene.signed_in().await;
    assert!(scene.opens(&again).await);
    scene.when(refresh(&again)).await.succeeded();
}

#[tokio::test]
async fn what_a_breach_cut_off_no_later_rotation_admits_again() {
    let scene = given(account().verified());
    let old = scene.signed_in().await;
    scene.when(rotate("yearly", Some(1000))).await.succeeded();
    let newer = scene.signed_in().await;
    let told = scene.after(10).when(rotate(BREACH, None)).await.succeeded();
    assert_eq!(told.reply().grace, Duration::ZERO);
    for grace in [300, 0, 2_000] {
        for tokens in [&old, &newer] {
            assert!(!scene.opens(tokens).await);
            scene
                .when(refresh(tokens))
                .await
                .refused(refresh_tokens::Refusal::TokenVersionRejected);
        }
        let fresh = scene.signed_in().await;
        scene.when(rotate("yearly", Some(grace))).await.succeeded();
        assert_eq!(scene.opens(&fresh).await, grace > 0, "{grace}");
    }
    // The first deadline, long after the breach, changes nothing either.
    scene.world.pass(Duration::from_secs(1_000));
    let fresh = scene.signed_in().await;
    assert!(scene.opens(&fresh).await && !scene.opens(&newer).await);
}

#[tokio::test]
async fn deadlines_do_not_move() {
    let scene = given(account().verified());
    let first = scene.signed_in().await;
    scene.when(rotate("a", Some(100))).await.succeeded();
    let second = scene.signed_in().await;
    scene.when(rotate("b", Some(50))).await.succeeded();
    scene.world.pass(Duration::from_secs(50));
    assert!(!scene.opens(&first).await, "a higher version was cut off");
    assert!(!scene.opens(&second).await);

    let scene = given(account().verified());
    let first = scene.signed_in().await;
    scene.when(rotate("a", Some(100))).await.succeeded();
    let second = scene.signed_in().await;
    scene
        .after(90)
        .when(rotate("b", Some(100)))
        .await
        .succeeded();
    scene.world.pass(Duration::from_secs(10));
    assert!(!scene.opens(&first).await && scene.opens(&second).await);
    scene.world.pass(Duration::from_secs(90));
    assert!(!scene.opens(&second).await);
}

#[tokio::test]
async fn fifty_at_once_are_fifty_increments() {
    let scene = given(account().verified());
    let all = (0..50).map(|_| scene.when(rotate("race", Some(0))));
    let mut versions = Vec::new();
    for told in join_all(all).await {
        let reply = told.succeeded().reply();
        assert_eq!(reply.new_version, reply.previous_version + 1);
        versions.push(reply.new_version);
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..=51).collect::<Vec<_>>());
}

/// Another node knows nothing of our turns.
#[tokio::test]
async fn the_version_of_another_node_is_counted_on() {
    let scene = given(account().verified());
    let kind = "token.global_rotation.succeeded";
    scene.world.meanwhile(kind, 1, |s| {
        s.rotations.insert(2, quivive_delivery::Time::UNIX_EPOCH);
    });
    let reply = scene.when(rotate("race", None)).await.succeeded().reply();
    assert_eq!((reply.previous_version, reply.new_version), (2, 3));
}

#[tokio::test]
async fn one_line_for_each_refusal() {
    let scene = given(account().verified().role(Role::Admin));
    for (reason, grace) in [(BREACH, 1), ("yearly", 30 * 24 * 3600 + 1)] {
        scene
            .when(rotate(reason, Some(grace)))
            .await
            .refused(Refusal::InvalidGrace)
            .raised(&[]);
    }
    let by = |proven| RotateAllTokens {
        by: Some(proven),
        ..rotate("yearly", None)
    };
    let proven = scene.proven();
    let scene = scene.after(600).by_administrator();
    scene
        .when(by(proven))
        .await
        .refused(Refusal::StepUpRequired)
        .raised(&[]);
    let told = scene.when(by(scene.proven())).await.succeeded();
    let said = told.open("token.global_rotation.succeeded");
    assert_eq!(said["triggered_by"], scene.user.to_string());
    let eve = scene.clone().and(account_of("eve@example.org").verified());
    eve.when(by(eve.proven()))
        .await
        .refused(Refusal::Forbidden)
        .raised(&[]);
    assert_eq!(scene.world.see(|s| s.rotations.len()), 2);
}

#[tokio::test]
async fn who_loses_the_role_meanwhile_rotates_nothing() {
    let scene = given(account().verified().role(Role::Admin)).by_administrator();
    let user = scene.user;
    let kind = "token.global_rotation.succeeded";
    scene.world.meanwhile(kind, 1, move |s| {
        let admin = s.accounts.get_mut(&user).expect("there");
        admin.roles = vec![Role::User];
        admin.security_version += 1;
    });
    let command = RotateAllTokens {
        by: Some(scene.proven()),
        ..rotate("yearly", None)
    };
    scene.when(command).await.refused(Refusal::Forbidden);
    assert_eq!(scene.world.see(|s| s.rotations.len()), 1);
}

/// What is asked for rules, not what is configured.
#[tokio::test]
async fn the_grace_that_was_asked_for_is_the_one() {
    for grace in [10, 800] {
        let scene = given(account().verified());
        let old = scene.signed_in().await;
        let told = scene.when(rotate("yearly", Some(grace))).await.succeeded();
        assert_eq!(told.reply().grace, Duration::from_secs(grace));
        let scene = scene.after(grace - 1);
        assert!(scene.opens(&old).await);
        let scene = scene.after(1);
        assert!(!scene.opens(&old).await);
    }
}
