use std::sync::Arc;

use quivive_delivery::Ids as _;
use quivive_domain::api_key::{ApiKey, DEFAULT_LIFETIME};
use quivive_domain::{ApiKeyId, Role};
use secrecy::ExposeSecret as _;

use super::Restore;
use crate::testing::{Scene, account, account_of, given, refresh};

fn restore(scene: &Scene) -> Restore {
    Restore {
        kernel: Arc::clone(&scene.kernel),
        position: 7,
        epoch: 2,
        done: scene.world.write("restore done", &[], |_| 1),
    }
}

fn with_api_key(scene: &Scene) -> ApiKeyId {
    let (id, now) = (ApiKeyId(scene.world.next()), scene.world.now());
    let key = ApiKey {
        id,
        owner: scene.user,
        name: "billing".to_owned(),
        scopes: Vec::new(),
        created_at: now,
        expires_at: now + DEFAULT_LIFETIME,
        revoked_at: None,
        used_at: None,
    };
    scene
        .world
        .change(|s| s.api_keys.insert(id, (key, [0; 32])));
    id
}

#[tokio::test]
async fn nothing_that_was_given_before_is_good_afterwards() {
    let ada = given(account().verified().role(Role::Admin));
    let bob = ada.clone().and(account_of("bob@example.org").verified());
    let key = with_api_key(&ada);
    let (mine, theirs) = (ada.signed_in().await, bob.signed_in().await);
    assert!(ada.opens(&mine).await && bob.opens(&theirs).await);
    // A known device without a session is one all the same.
    bob.world.change(|s| {
        for session in s.sessions.values_mut().filter(|x| x.account == bob.user) {
            session.ended_at = Some(session.created_at);
        }
    });

    let told = ada.when(restore(&ada)).await;
    told.answer.as_ref().expect("it is done");
    let said = told.open("operator.restore.succeeded");
    assert_eq!(said, serde_json::json!({"position": 7, "epoch": 2}));
    assert!(!ada.opens(&mine).await && !bob.opens(&theirs).await);
    assert_eq!(ada.open_sessions() + bob.open_sessions(), 0);
    let known = ada.world.see(|s| s.devices.len());
    assert_eq!(known, 0, "every device is forgotten");
    assert!(ada.world.see(|s| s.api_keys[&key].0.revoked_at.is_some()));
    for tokens in [&mine, &theirs] {
        assert!(ada.when(refresh(tokens)).await.answer.is_err());
    }
    let again = ada.signed_in().await;
    assert!(ada.opens(&again).await);
    assert_ne!(
        again.refresh_token.expose_secret(),
        mine.refresh_token.expose_secret()
    );
    let kinds = ada.world.kinds();
    for kind in [
        "operator.signing_key_rotation.succeeded",
        "token.global_rotation.succeeded",
        "session.invalidated",
        "device.revocation.succeeded",
        "api_key.revocation.succeeded",
    ] {
        assert!(kinds.contains(&kind.to_owned()), "{kind} of {kinds:?}");
    }
    assert_eq!(
        ada.world.see(|s| s.attempts.len()),
        0,
        "each workflow has its outcome"
    );
}

#[tokio::test]
async fn where_the_database_fails_it_failed_and_is_asked_for_again() {
    let scene = given(account().verified());
    scene.world.fail_reads(true);
    let told = scene.when(restore(&scene)).await;
    assert!(told.answer.is_err());
    scene.world.fail_reads(false);
    let kinds = scene.world.kinds();
    assert!(kinds.contains(&"operator.restore.failed".to_owned()));
    scene
        .when(restore(&scene))
        .await
        .answer
        .expect("it is done");
}
