use quivive_delivery::seal;
use quivive_domain::ApiKeyId;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::kernel::Actor;
use crate::testing::{Scene, account, given};

/// A person, and a registered type with a personal field, asked by a service.
fn scene() -> Scene {
    let mut scene = given(account().verified());
    let schema = json!({"type": "object", "properties": {
        "order": {"type": ["integer", "string", "null", "array"]},
        "buyer": {"type": "string", "x-personal": true},
    }});
    scene
        .kernel
        .catalogue()
        .register("custom.order", &[schema], Some("/order"));
    scene.request.actor = Actor::Service(ApiKeyId(Uuid::from_u128(9)));
    scene
}

fn given_event(data: &Value) -> Given {
    Given {
        kind: "custom.order".to_owned(),
        version: None,
        key: None,
        subject: None,
        time: None,
        data: data.as_object().cloned().unwrap_or_default(),
        once: None,
    }
}

async fn raise(scene: &Scene, given: Given) -> Vec<crate::kernel::Raised> {
    let event = judge(scene.kernel.catalogue(), given, scene.world.now()).expect("it fits");
    let raised = scene.kernel.raise(vec![event], scene.request.clone()).await;
    raised.expect("no fault")
}

#[tokio::test]
async fn what_is_personal_goes_with_the_key_of_whom_it_is_about() {
    let scene = scene();
    for (subject, key) in [
        (Some(scene.user.to_string()), format!("s:{}", scene.user)),
        // Nobody's: no key is made for an id that anybody could think of.
        (Some(Uuid::from_u128(5).to_string()), "m:2026-11".to_owned()),
        (Some("order 7".to_owned()), "m:2026-11".to_owned()),
        (None, "m:2026-11".to_owned()),
    ] {
        let given = Given {
            subject: subject.clone(),
            ..given_event(&json!({"buyer": "ada"}))
        };
        raise(&scene, given).await;
        let stored = scene.world.log().pop().expect("an event");
        assert_eq!(stored.envelope.subject, subject);
        assert_eq!(
            stored.personal.as_ref().map(|sealed| sealed.key.clone()),
            Some(key)
        );
        let opened = seal::personal(&scene.world, &stored).await.expect("a read");
        assert_eq!(opened.as_deref(), Some(&br#"{"buyer":"ada"}"#[..]));
        assert_eq!(stored.body, b"{}");
    }
}

#[tokio::test]
async fn events_are_ordered_by_what_is_said_or_pointed_at_or_by_the_subject() {
    let scene = scene();
    let subject = || Some("s".to_owned());
    for (given, key) in [
        (
            Given {
                key: Some("k".to_owned()),
                subject: subject(),
                ..given_event(&json!({"order": "o"}))
            },
            Some("custom:k"),
        ),
        (
            Given {
                subject: subject(),
                ..given_event(&json!({"order": "o"}))
            },
            Some("custom:o"),
        ),
        (given_event(&json!({"order": 7})), Some("custom:7")),
        (
            Given {
                subject: subject(),
                ..given_event(&json!({"order": null}))
            },
            Some("custom:s"),
        ),
        (given_event(&json!({})), None),
    ] {
        let raised = raise(&scene, given).await;
        let stored = scene.world.log().pop().expect("an event");
        let by_itself = format!("custom:{}", raised[0].id);
        assert_eq!(stored.envelope.key.as_str(), key.unwrap_or(&by_itself));
    }
    let list = given_event(&json!({"order": [1]}));
    let misfits = judge(scene.kernel.catalogue(), list, scene.world.now()).expect_err("no key");
    assert_eq!(misfits[0].pointer, "/data/order");
}

#[tokio::test]
async fn a_receipt_is_forgotten_after_seven_days_and_not_before() {
    let scene = scene();
    let again = || Given {
        once: Some(once(ApiKeyId(Uuid::from_u128(9)), "event", "1", "content")),
        ..given_event(&json!({"order": 1}))
    };
    let day = Duration::from_hours(24);
    let first = raise(&scene, again()).await;
    scene.world.pass(day * 6);
    forget_receipts(scene.kernel.families(), &scene.world)
        .await
        .expect("no fault");
    assert_eq!(raise(&scene, again()).await, first);
    scene.world.pass(day);
    forget_receipts(scene.kernel.families(), &scene.world)
        .await
        .expect("no fault");
    assert_ne!(raise(&scene, again()).await, first);
    assert_eq!(scene.world.log().len(), 2);
}

#[tokio::test]
async fn a_fault_appends_nothing_and_can_be_tried_again() {
    let scene = scene();
    let again = || Given {
        once: Some(once(ApiKeyId(Uuid::from_u128(9)), "event", "1", "content")),
        ..given_event(&json!({"order": 1}))
    };
    scene.world.fail("custom.order", 1, Fault::NoSpace);
    let event = judge(scene.kernel.catalogue(), again(), scene.world.now()).expect("it fits");
    let failed = scene.kernel.raise(vec![event], scene.request.clone()).await;
    assert!(matches!(
        failed,
        Err(crate::kernel::NotRaised::Fault(Fault::NoSpace))
    ));
    assert!(scene.world.log().is_empty() && scene.world.see(|s| s.receipts.is_empty()));
    raise(&scene, again()).await;
    assert_eq!(scene.world.kinds(), ["custom.order"]);
}
