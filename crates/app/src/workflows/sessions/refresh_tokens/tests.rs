use std::time::Duration;

use futures_util::future::join_all;
use quivive_delivery::{Event as _, Time};

use super::*;
use crate::testing::{Scene, account, given, refresh};
use crate::workflows::sessions::log_out::LogOut;

const THEFT: [&str; 3] = [
    "token.reuse_detected",
    "token.family_revoked",
    "session.invalidated",
];
const DAY: u64 = 24 * 3600;

fn same(one: &Tokens, two: &Tokens) -> bool {
    one.refresh_token.expose_secret() == two.refresh_token.expose_secret()
}

async fn signed_in() -> (Scene, Tokens) {
    let scene = given(account().verified().with_sessions(1));
    let tokens = scene.signed_in().await;
    (scene, tokens)
}

#[tokio::test]
async fn a_token_gets_its_successor() {
    let (scene, first) = signed_in().await;
    let told = scene
        .after(3600)
        .when(refresh(&first))
        .await
        .succeeded()
        .raised(&["token.issued"]);
    let said = told.open(Succeeded::META.kind);
    assert_eq!(
        (&said["generation"], &said["replayed"]),
        (&2.into(), &false.into())
    );
    assert_eq!(
        said["old_token_id"],
        Presented::parse(first.refresh_token.expose_secret())
            .unwrap()
            .id
            .to_string()
    );
    assert_eq!(said["token_id"], told.open("token.issued")["token_id"]);
    assert_eq!(told.events[1].envelope.actor.id, Some(scene.user.0));
    let log = format!("{:?}", scene.world.log());
    let second = told.reply();
    assert!(!same(&first, &second) && !log.contains(second.refresh_token.expose_secret()));
    assert_eq!(first.session_id, second.session_id);
    let idle_until = scene
        .world
        .see(|s| s.sessions[&first.session_id].idle_until);
    assert_eq!(
        idle_until,
        scene.world.now() + Duration::from_secs(14 * DAY)
    );
    scene.when(refresh(&second)).await.succeeded();
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_invalid() {
    let (scene, tokens) = signed_in().await;
    let good = Presented::parse(tokens.refresh_token.expose_secret()).unwrap();
    for (token, key) in [
        (None, "source:"),
        (
            Some(Presented::new(
                TokenId(uuid::Uuid::from_u128(7)),
                *good.secret(),
            )),
            "token:",
        ),
        (Some(Presented::new(good.id, [7; 32])), "token:"),
    ] {
        let device_token = None;
        let told = scene
            .when(RefreshTokens {
                token,
                device_token,
            })
            .await
            .refused(Refusal::TokenInvalid);
        assert!(
            told.events[0].envelope.key.as_str().starts_with(key),
            "{:?}",
            told.events[0].envelope.key
        );
    }
    scene.when(refresh(&tokens)).await.succeeded();
}

#[tokio::test]
async fn one_line_for_each_refusal() {
    let (scene, tokens) = signed_in().await;
    scene
        .after(14 * DAY)
        .when(refresh(&tokens))
        .await
        .refused(Refusal::SessionEnded)
        .raised(&[]);
    scene
        .after(16 * DAY)
        .when(refresh(&tokens))
        .await
        .refused(Refusal::TokenExpired)
        .raised(&[]);

    let (scene, tokens) = signed_in().await;
    for state in [AccountState::Inactive, AccountState::Locked] {
        scene
            .world
            .change(|s| s.accounts.get_mut(&scene.user).unwrap().state = state);
        scene
            .when(refresh(&tokens))
            .await
            .refused(Refusal::UserInactive)
            .raised(&[]);
    }

    let (scene, tokens) = signed_in().await;
    let log_out = LogOut::resolve(
        scene.kernel.families(),
        None,
        Some(tokens.refresh_token.expose_secret()),
    );
    scene
        .when(log_out.await.unwrap().unwrap())
        .await
        .succeeded();
    scene
        .when(refresh(&tokens))
        .await
        .refused(Refusal::SessionEnded)
        .raised(&[]);
}

#[tokio::test]
async fn a_token_that_a_rotation_left_behind_is_told_which_versions() {
    for (global, reason) in [(false, "user_rotation"), (true, "global_rotation")] {
        let (scene, tokens) = signed_in().await;
        scene.world.change(|s| {
            if global {
                s.rotations.insert(2, Time::UNIX_EPOCH);
            } else {
                s.accounts.get_mut(&scene.user).unwrap().token_version = 2;
            }
        });
        let told = scene
            .when(refresh(&tokens))
            .await
            .refused(Refusal::TokenVersionRejected);
        let told = told.raised(&["token.rejected_due_to_rotation"]);
        let said = told.open("token.rejected_due_to_rotation");
        assert_eq!(
            (&said["token_version"], &said["required_version"]),
            (&1.into(), &2.into())
        );
        assert_eq!(said["rejection_reason"], reason);
        assert_eq!(scene.open_sessions(), 2, "nothing is revoked");
        let again = scene.signed_in().await;
        scene.when(refresh(&again)).await.succeeded();
    }
}

#[tokio::test]
async fn a_grace_period_admits_the_version_before() {
    let (scene, tokens) = signed_in().await;
    scene.world.change(|s| s.rotations.insert(2, Time::MAX));
    let tokens = scene.when(refresh(&tokens)).await.succeeded().reply();
    scene
        .world
        .change(|s| s.rotations.insert(2, Time::UNIX_EPOCH));
    scene.when(refresh(&tokens)).await.succeeded();
}

#[tokio::test]
async fn an_honest_retry_gets_the_same_successor_again() {
    let (scene, first) = signed_in().await;
    let second = scene.when(refresh(&first)).await.succeeded().reply();
    let rows = scene.world.see(|s| s.refresh.len());
    let told = scene
        .after(10)
        .when(refresh(&first))
        .await
        .succeeded()
        .raised(&[]);
    assert_eq!(told.open(Succeeded::META.kind)["replayed"], true);
    assert!(same(&second, &told.reply()));
    assert_eq!(scene.world.see(|s| s.refresh.len()), rows, "no new leaf");
    scene.when(refresh(&second)).await.succeeded();
}

#[tokio::test]
async fn a_key_that_rotates_meanwhile_makes_no_theft_of_a_retry() {
    let (scene, first) = signed_in().await;
    let second = scene.when(refresh(&first)).await.succeeded().reply();
    scene.world.rotate_key("k2");
    let again = scene.when(refresh(&first)).await.succeeded().raised(&[]);
    assert!(same(&second, &again.reply()));
    let third = scene.when(refresh(&second)).await.succeeded().reply();
    let again = scene.when(refresh(&second)).await.succeeded().reply();
    assert!(same(&third, &again), "derived under the new one");
}

/// A token that opens nothing would look like a good one; and nobody stole anything.
#[tokio::test]
async fn a_successor_whose_key_is_gone_is_neither_made_up_nor_theft() {
    let (scene, first) = signed_in().await;
    let second = scene.when(refresh(&first)).await.succeeded().reply();
    scene.world.change(|s| {
        for row in s.refresh.values_mut() {
            if let Some((_, _, _, key)) = &mut row.used {
                "gone".clone_into(key);
            }
        }
    });
    scene
        .when(refresh(&first))
        .await
        .refused(Refusal::TokenExpired)
        .raised(&[]);
    scene.when(refresh(&second)).await.succeeded();
}

#[tokio::test]
async fn a_retry_is_left_behind_by_a_rotation_like_any_other() {
    let (scene, first) = signed_in().await;
    scene.when(refresh(&first)).await.succeeded();
    let user = scene.user;
    scene
        .world
        .change(|s| s.accounts.get_mut(&user).unwrap().token_version = 2);
    scene
        .when(refresh(&first))
        .await
        .refused(Refusal::TokenVersionRejected)
        .raised(&["token.rejected_due_to_rotation"]);
}

#[tokio::test]
async fn a_used_token_of_an_old_version_is_theft_still() {
    let (scene, first) = signed_in().await;
    scene.world.change(|s| s.rotations.insert(2, Time::MAX));
    let second = scene.when(refresh(&first)).await.succeeded().reply();
    scene
        .world
        .change(|s| s.rotations.insert(2, Time::UNIX_EPOCH));
    stolen(scene.after(11), &first, &second).await;
}

#[tokio::test]
async fn a_device_token_makes_a_retry_honest_from_anywhere() {
    let (scene, first) = signed_in().await;
    let with_device = || RefreshTokens {
        device_token: first.device_token.clone(),
        ..refresh(&first)
    };
    let second = scene.when(with_device()).await.succeeded().reply();
    let elsewhere = scene.from([198, 51, 100, 9], "another agent");
    assert!(same(
        &second,
        &elsewhere.when(with_device()).await.succeeded().reply()
    ));
    elsewhere
        .when(refresh(&first))
        .await
        .refused(Refusal::TokenReused);
}

/// Theft: the family and its session are gone, and the owner's other session is not.
async fn stolen(scene: &Scene, first: &Tokens, newest: &Tokens) {
    let told = scene
        .when(refresh(first))
        .await
        .refused(Refusal::TokenReused)
        .raised(&THEFT);
    let members = scene.world.see(|s| s.refresh.len());
    assert_eq!(told.open("token.family_revoked")["member_count"], members);
    assert_eq!(told.open("session.invalidated")["reason"], "token_reuse");
    assert_eq!(told.open("token.reuse_detected")["generation"], 1);
    assert_eq!(scene.open_sessions(), 1);
    scene
        .when(refresh(newest))
        .await
        .refused(Refusal::SessionEnded)
        .raised(&[]);
    scene
        .when(refresh(first))
        .await
        .refused(Refusal::SessionEnded)
        .raised(&[]);
}

#[tokio::test]
async fn too_late_is_theft() {
    let (scene, first) = signed_in().await;
    let second = scene.when(refresh(&first)).await.succeeded().reply();
    stolen(scene.after(11), &first, &second).await;
}

#[tokio::test]
async fn another_device_is_theft() {
    for (ip, agent) in [
        ([198, 51, 100, 9], "Mozilla/5.0 Firefox/140.0"),
        ([192, 0, 2, 1], "curl/8"),
    ] {
        let (scene, first) = signed_in().await;
        let second = scene.when(refresh(&first)).await.succeeded().reply();
        stolen(&scene.from(ip, agent), &first, &second).await;
    }
}

/// T24.
#[tokio::test]
async fn a_used_successor_is_theft() {
    let (scene, first) = signed_in().await;
    let second = scene.when(refresh(&first)).await.succeeded().reply();
    let third = scene.when(refresh(&second)).await.succeeded().reply();
    stolen(&scene, &first, &third).await;
}

/// T25.
#[tokio::test]
async fn twenty_tabs_at_once_get_one_successor() {
    let (scene, first) = signed_in().await;
    let told = join_all((0..20).map(|_| scene.when(refresh(&first)))).await;
    let replies: Vec<_> = told.into_iter().map(|t| t.succeeded().reply()).collect();
    assert!(replies.iter().all(|tokens| same(tokens, &replies[0])));
    assert_eq!(scene.world.see(|s| s.refresh.len()), 2, "one leaf");
    let issued = scene
        .world
        .kinds()
        .iter()
        .filter(|kind| *kind == "token.issued")
        .count();
    assert_eq!(issued, 2, "one at the login, one now");
}

/// T25.
#[tokio::test]
async fn of_two_devices_at_once_neither_keeps_the_session() {
    let (scene, first) = signed_in().await;
    let elsewhere = scene.from([198, 51, 100, 9], "curl/8");
    let (one, two) = tokio::join!(scene.when(refresh(&first)), elsewhere.when(refresh(&first)));
    let (won, lost) = if one.answer.is_ok() {
        (one, two)
    } else {
        (two, one)
    };
    let second = won.succeeded().reply();
    lost.refused(Refusal::TokenReused).raised(&THEFT);
    scene
        .when(refresh(&second))
        .await
        .refused(Refusal::SessionEnded);
}

#[tokio::test]
async fn a_session_that_ends_meanwhile_gets_no_token() {
    for retry in [false, true] {
        let (scene, first) = signed_in().await;
        if retry {
            scene.when(refresh(&first)).await.succeeded();
        }
        let rows = scene.world.see(|s| s.refresh.len());
        let (session, now) = (first.session_id, scene.world.now());
        scene.world.meanwhile(Succeeded::META.kind, 1, move |s| {
            s.sessions.get_mut(&session).unwrap().ended_at = Some(now);
        });
        scene
            .when(refresh(&first))
            .await
            .refused(Refusal::SessionEnded)
            .raised(&[]);
        assert_eq!(scene.world.missed(), ["session touch"]);
        assert_eq!(scene.world.see(|s| s.refresh.len()), rows);
    }
}
