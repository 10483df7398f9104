//! The index over a world's log, filled and asked.

use std::sync::Arc;
use std::time::Duration;

use quivive_domain::{Address, Role};

use super::*;
use crate::kernel::Actor;
use crate::ports::{Accounts as _, EventIndex as _};
use crate::testing::{PASSWORD, Scene, World, account, account_of, given};
use crate::workflows::sessions::log_in::LogIn;

fn tags(scene: &Scene) -> Tags {
    let world = Arc::new(scene.world.clone());
    Tags {
        log: world.clone(),
        vault: world.clone(),
        catalogue: Arc::clone(scene.kernel.catalogue()),
        clock: world,
    }
}

fn search(scene: &Scene) -> Search {
    Search::new(&scene.kernel, Arc::new(scene.world.clone()), tags(scene))
}

async fn fill(scene: &Scene) {
    let indexer = Indexer::new(Arc::new(scene.world.clone()), tags(scene));
    indexer.catch_up().await.unwrap();
}

fn request(ip: &str) -> Request {
    Request {
        ip: Some(ip.parse().unwrap()),
        actor: Actor::Anonymous,
        ..Request::system()
    }
}

async fn log_in(scene: &Scene, email: &str, ip: &str) {
    let command = LogIn {
        email: email.to_owned(),
        password: crate::testing::password(PASSWORD),
        device_token: None,
    };
    let _ = scene.kernel.execute(command, request(ip)).await;
}

/// Ada signs in from one place and in the next month from another; somebody without an account tries from there, too.
async fn two_months() -> Scene {
    let scene = given(account().verified()).and(account_of("root@example.org").role(Role::Admin));
    log_in(&scene, "ada@example.org", "192.0.2.1").await;
    scene.world.pass(Duration::from_hours(31 * 24));
    log_in(&scene, "ada@example.org", "::ffff:192.0.2.2").await;
    log_in(&scene, "Nobody@Example.org", "192.0.2.2").await;
    fill(&scene).await;
    scene
}

async fn found(scene: &Scene, name: &str, value: &str) -> Vec<u64> {
    let question = Question::read(name, value, scene.kernel.catalogue()).unwrap();
    let search = search(scene);
    let found = search.find(&question, u64::MAX, 100, request("192.0.2.9"));
    let found = found.await.unwrap();
    found.events.iter().map(|event| event.position).collect()
}

/// Where the log has an event, newest first.
fn positions(world: &World, which: impl Fn(&Stored) -> bool) -> Vec<u64> {
    let log = world.log();
    let wanted = log.iter().rev().filter(|event| which(event));
    wanted.map(|event| event.position).collect()
}

#[tokio::test]
async fn an_address_is_found_in_every_month_and_no_other_with_it() {
    let scene = two_months().await;
    let attempts = |subject: bool| {
        positions(&scene.world, |event| {
            event.personal.is_some()
                && event
                    .envelope
                    .subject
                    .as_deref()
                    .is_some_and(|s| s.contains(':'))
                    != subject
        })
    };
    let (ada, nobody) = (attempts(true), attempts(false));
    assert!(ada.len() >= 4 && nobody.len() == 2, "{ada:?} {nobody:?}");
    assert_eq!(found(&scene, "address", "ADA@example.org").await, ada);
    assert_eq!(found(&scene, "address", "nobody@example.org").await, nobody);
    assert_eq!(
        found(&scene, "address", "eve@example.org").await,
        [0_u64; 0]
    );
}

#[tokio::test]
async fn a_source_is_found_in_either_clothes() {
    let scene = two_months().await;
    let total = scene.world.log().len() as u64;
    let first = found(&scene, "ip", "192.0.2.1").await;
    let second = found(&scene, "ip", "::ffff:192.0.2.2").await;
    assert!(
        first
            .iter()
            .all(|position| *position < *second.last().unwrap())
    );
    let system = positions(&scene.world, |event| {
        event.position <= total && event.context.is_none()
    });
    assert_eq!(
        first.len() + second.len() + system.len(),
        usize::try_from(total).unwrap()
    );
}

#[tokio::test]
async fn a_destroyed_key_takes_its_month_out_of_the_search() {
    let scene = two_months().await;
    let all = found(&scene, "address", "ada@example.org").await;
    let oldest = scene.world.log().remove(0).recorded_at;
    scene.world.erase(&tag_key(oldest));
    let left = found(&scene, "address", "ada@example.org").await;
    assert!(!left.is_empty() && left.len() < all.len());
    assert!(all.starts_with(&left), "the newer month is whole");
}

#[tokio::test]
async fn keys_of_months_that_the_log_still_has_are_kept() {
    let scene = two_months().await;
    let all = found(&scene, "address", "ada@example.org").await;
    // Those of the four months before are destroyed, and no other.
    for month in ["2026-10", "2026-09", "2026-01", "2018-02"] {
        tags(&scene).vault.key(&format!("t:{month}")).await.unwrap();
    }
    assert_eq!(tags(&scene).forget().await.unwrap(), 4);
    assert_eq!(tags(&scene).forget().await.unwrap(), 0);
    assert_eq!(found(&scene, "address", "ada@example.org").await, all);
}

#[tokio::test]
async fn what_is_personal_is_asked_for_on_record_and_nothing_else_is() {
    let scene = two_months().await;
    let events = scene.world.log().len();
    found(&scene, "type", "UserLoginFailed").await;
    found(&scene, "subject", "nobody").await;
    assert_eq!(scene.world.log().len(), events);
    found(&scene, "address", "ada@example.org").await;
    found(&scene, "ip", "192.0.2.1").await;
    let log = scene.world.log();
    let notes: Vec<_> = log[events..]
        .iter()
        .map(|event| {
            assert_eq!(event.envelope.kind, "audit.log_created");
            assert!(event.context.is_some(), "it says from where");
            let data: serde_json::Value = serde_json::from_slice(&event.body).unwrap();
            assert_eq!(data["action"], "events_searched");
            data["user_id"].as_str().map(str::to_owned)
        })
        .collect();
    let ada = Address::parse("ada@example.org").unwrap();
    let ada = scene.world.by_address(&ada).await.unwrap().unwrap();
    assert_eq!(notes, [Some(ada.id.to_string()), None]);
}

#[tokio::test]
async fn pages_go_on_below_the_last_event_and_say_how_far_the_index_reaches() {
    let scene = two_months().await;
    let reaches = scene.world.reaches().await.unwrap();
    assert_eq!(reaches, scene.world.log().len() as u64);
    log_in(&scene, "ada@example.org", "192.0.2.1").await;
    let question = Question::read("type", "UserLoginAttempted", scene.kernel.catalogue()).unwrap();
    let page = async |below, limit| {
        let search = search(&scene);
        let found = search.find(&question, below, limit, Request::system());
        found.await.unwrap()
    };
    let all = page(u64::MAX, 10).await;
    assert_eq!(
        (all.events.len(), all.has_more, all.indexed_up_to),
        (3, false, reaches)
    );
    let first = page(u64::MAX, 2).await;
    assert!(first.events.len() == 2 && first.has_more);
    let rest = page(first.events[1].position, 2).await;
    assert!(rest.events.len() == 1 && !rest.has_more);
    assert_eq!(rest.events[0].position, all.events[2].position);
    fill(&scene).await;
    assert_eq!(page(u64::MAX, 10).await.events.len(), 4);
}

#[tokio::test]
async fn the_indexer_follows_the_log_and_rests_when_it_does() {
    let scene = two_months().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let indexer = Indexer::new(Arc::new(scene.world.clone()), tags(&scene));
    let followed = async {
        log_in(&scene, "ada@example.org", "192.0.2.1").await;
        let head = scene.world.log().len() as u64;
        while scene.world.reaches().await.unwrap() < head {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    tokio::join!(indexer.run(stop.clone()), followed);
    assert_eq!(scene.world.tags().len(), scene.world.log().len());
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let catalogue = crate::switchboard::workflows().unwrap();
    let read = |name, value: &str| Question::read(name, value, catalogue.catalogue()).unwrap_err();
    assert_eq!(read("type", "user.*"), Unanswerable::NoSuchType);
    assert_eq!(read("workflow_id", "1"), Unfit::NoUuid.into());
    assert_eq!(read("correlation_id", ""), Unfit::NoUuid.into());
    assert_eq!(read("subject", ""), Unfit::Length.into());
    assert_eq!(read("subject", &"x".repeat(129)), Unfit::Length.into());
    assert_eq!(read("address", "ada"), Unanswerable::NoAddress);
    assert_eq!(read("ip", "192.0.2"), Unanswerable::NoIp);
    assert_eq!(read("key", "x"), Unfit::Unknown.into());
    let address = Address::parse("ada@example.org").unwrap();
    assert!(Question::Address(address).is_personal());
}
