//! What a crash, a deadline or another workflow makes of an attempt that is open.

use std::time::Duration;

use quivive_delivery::{Body, Event as _, Fault, Time, seal};

use super::super::{Commit, Failure, Recovered, wait};
use super::toys::{EMAIL, Failed, Noted, Proof, Refusal, Toy, event, kernel, reason, scene};
use crate::testing::{Scene, World};

const NOTHING: Recovered = Recovered {
    interrupted: 0,
    expired: 0,
};
const ONE_INTERRUPTED: Recovered = Recovered {
    interrupted: 1,
    expired: 0,
};
const ONE_EXPIRED: Recovered = Recovered {
    interrupted: 0,
    expired: 1,
};

/// A scene whose server stopped between an attempt and its outcome.
async fn crashed() -> Scene {
    let scene = scene();
    scene.world.fail(
        "toy.succeeded",
        1,
        Fault::Stopped("pulled the plug".to_owned()),
    );
    let told = scene
        .when(Toy::commits(&scene, |_, _| Commit::default()))
        .await;
    assert!(matches!(
        told.answer,
        Err(Failure::Fault(Fault::Stopped(_)))
    ));
    assert_eq!(scene.world.kinds(), ["toy.attempted"]);
    scene
}

/// A scene in which a toy waits for five minutes.
async fn waiting() -> Scene {
    let scene = scene();
    let toy = Toy::new(&scene, |cx| {
        let mut commit = Commit::default();
        commit.fact(&Noted { number: 1 });
        Box::pin(std::future::ready(wait(
            cx.now() + Duration::from_mins(5),
            commit,
            (),
        )))
    });
    let told = scene.when(toy).await;
    assert!(told.answer.is_ok(), "a reply, and no outcome yet");
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.noted"]);
    scene
}

fn proof(scene: &Scene) -> Proof {
    Proof {
        world: scene.world.clone(),
        user: scene.user,
    }
}

fn open_attempts(world: &World) -> usize {
    world.see(|state| state.attempts.len())
}

#[tokio::test]
async fn what_a_crash_left_open_is_closed_once_as_interrupted() {
    let scene = crashed().await;
    assert_eq!(
        scene.kernel.recover().await.unwrap(),
        NOTHING,
        "its own may be running still"
    );

    let restarted = kernel(&scene.world);
    assert_eq!(restarted.recover().await.unwrap(), ONE_INTERRUPTED);
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.failed"]);
    assert_eq!(reason(&scene.world), "interrupted");
    assert_eq!(restarted.recover().await.unwrap(), NOTHING);
    assert_eq!(kernel(&scene.world).recover().await.unwrap(), NOTHING);
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.failed"]);
}

#[tokio::test]
async fn the_event_that_closes_it_keeps_key_request_and_person() {
    let scene = crashed().await;
    kernel(&scene.world).recover().await.unwrap();
    let (attempted, failed) = (
        event(&scene.world, "toy.attempted"),
        event(&scene.world, "toy.failed"),
    );
    assert_eq!(failed.envelope.workflow_id, attempted.envelope.workflow_id);
    assert_eq!(
        failed.envelope.correlation_id,
        attempted.envelope.correlation_id
    );
    assert_eq!(failed.envelope.causation_id, Some(attempted.envelope.id));
    assert_eq!(failed.envelope.key, attempted.envelope.key);
    assert_eq!(failed.envelope.subject, attempted.envelope.subject);
    assert_eq!(failed.envelope.request_id, attempted.envelope.request_id);
    assert_eq!(failed.envelope.actor.kind, "system");
    assert!(failed.context.is_some());

    assert!(failed.personal.is_some(), "the address is sealed");
    let personal = seal::personal(&scene.world, &failed).await.unwrap();
    let failed = Failed::decode(&Body {
        open: failed.body,
        personal,
    });
    assert_eq!(failed.unwrap().email.as_str(), EMAIL);
}

#[tokio::test]
async fn two_servers_that_recover_at_once_close_it_once() {
    let scene = crashed().await;
    let (one, two) = (kernel(&scene.world), kernel(&scene.world));
    let (one, two) = tokio::join!(one.recover(), two.recover());
    assert_eq!(one.unwrap().interrupted + two.unwrap().interrupted, 1);
    assert_eq!(scene.world.missed(), ["open_attempt close"], "both tried");
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.failed"]);
}

#[tokio::test]
async fn an_attempt_past_its_deadline_is_closed_by_its_own_server() {
    let scene = crashed().await;
    assert_eq!(scene.after(59).kernel.recover().await.unwrap(), NOTHING);
    assert_eq!(
        scene.after(1).kernel.recover().await.unwrap(),
        ONE_INTERRUPTED
    );
}

#[tokio::test]
async fn no_space_while_recovering_is_told_and_tried_again() {
    let scene = crashed().await;
    scene.world.fail("toy.failed", 1, Fault::NoSpace);
    let restarted = kernel(&scene.world);
    assert!(matches!(restarted.recover().await, Err(Fault::NoSpace)));
    assert_eq!(restarted.recover().await.unwrap(), ONE_INTERRUPTED);
}

#[tokio::test]
async fn an_attempt_whose_person_was_erased_is_closed_and_stays_erased() {
    let scene = crashed().await;
    scene
        .world
        .fail("proof.failed", 1, Fault::Stopped("again".to_owned()));
    let _ = scene.when(proof(&scene)).await;
    scene.world.erase(&format!("s:{}", scene.user));
    let recovered = kernel(&scene.world).recover().await.unwrap();
    assert_eq!((recovered.interrupted, open_attempts(&scene.world)), (2, 0));
    assert_eq!(
        scene.world.kinds()[..2],
        ["toy.attempted", "proof.attempted"]
    );

    let failed = event(&scene.world, "toy.failed");
    let sealed = failed.personal.as_ref().expect("an empty address");
    assert_eq!(sealed.key, "m:2026-11");
    let personal = seal::personal(&scene.world, &failed).await.unwrap();
    let open = failed.body;
    let failed = Failed::decode(&Body { open, personal }).unwrap();
    assert_eq!(failed.email.as_str(), "");
    let erased = seal::Vault::existing(&scene.world, &format!("s:{}", scene.user)).await;
    assert!(erased.unwrap().is_none(), "the key was made again");
}

#[tokio::test]
async fn a_waiting_attempt_outlives_a_restart_and_expires_once() {
    let scene = waiting().await;
    let restarted = kernel(&scene.world);
    assert_eq!(restarted.recover().await.unwrap(), NOTHING);
    let deadline = scene
        .world
        .see(|state| state.attempts.values().next().map(|a| a.deadline));
    assert_eq!(deadline, Some(scene.world.now() + Duration::from_mins(5)));

    scene.world.pass(Duration::from_mins(5));
    let (one, two) = tokio::join!(scene.kernel.recover(), restarted.recover());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(
        [one, two].contains(&ONE_EXPIRED) && [one, two].contains(&NOTHING),
        "{one:?} {two:?}"
    );
    assert_eq!(
        scene.world.kinds(),
        ["toy.attempted", "toy.noted", "toy.failed"]
    );
    assert_eq!(reason(&scene.world), "proof_expired");
}

#[tokio::test]
async fn another_workflow_concludes_a_waiting_attempt_in_its_own_commit() {
    let scene = waiting().await;
    let (attempted, before) = (event(&scene.world, "toy.attempted"), scene.world.now());
    scene.world.pass(Duration::from_secs(10));
    scene.when(proof(&scene)).await.succeeded();
    assert_eq!(
        scene.world.kinds()[2..],
        ["proof.attempted", "proof.succeeded", "toy.succeeded"]
    );
    assert_eq!(open_attempts(&scene.world), 0);

    let (proved, concluded) = (
        event(&scene.world, "proof.succeeded"),
        event(&scene.world, "toy.succeeded"),
    );
    assert_eq!(
        concluded.envelope.workflow_id,
        attempted.envelope.workflow_id
    );
    assert_eq!(concluded.envelope.causation_id, Some(attempted.envelope.id));
    assert_eq!(concluded.envelope.key, attempted.envelope.key);
    assert_ne!(proved.envelope.workflow_id, concluded.envelope.workflow_id);
    let time: Time = concluded.envelope.time;
    assert_eq!(time, before + Duration::from_secs(10));

    scene.world.pass(Duration::from_mins(5));
    assert_eq!(scene.kernel.recover().await.unwrap(), NOTHING);
}

#[tokio::test]
async fn neither_is_concluded_when_the_commit_fails() {
    let scene = waiting().await;
    scene.world.fail("proof.succeeded", 1, Fault::NoSpace);
    let told = scene.when(proof(&scene)).await;
    assert!(matches!(told.answer, Err(Failure::Fault(Fault::NoSpace))));
    assert_eq!(scene.world.kinds()[2..], ["proof.attempted"]);
    assert_eq!(open_attempts(&scene.world), 2);
}

#[tokio::test]
async fn of_two_that_conclude_an_attempt_one_does() {
    let scene = waiting().await;
    let (one, two) = tokio::join!(scene.when(proof(&scene)), scene.when(proof(&scene)));
    let refused = [&one, &two]
        .iter()
        .filter(|t| matches!(t.answer, Err(Failure::Refused(Refusal::Unwanted))))
        .count();
    assert_eq!(refused, 1);
    assert_eq!(scene.world.missed(), ["open_attempt close"], "both tried");
    let concluded = scene
        .world
        .kinds()
        .iter()
        .filter(|kind| *kind == "toy.succeeded")
        .count();
    assert_eq!(concluded, 1);
}

#[tokio::test]
async fn one_that_expires_while_it_is_concluded_has_one_outcome() {
    let scene = waiting().await;
    scene.world.pass(Duration::from_mins(5));
    let (told, recovered) = tokio::join!(scene.when(proof(&scene)), scene.kernel.recover());
    let outcomes = scene
        .world
        .kinds()
        .iter()
        .filter(|k| *k == "toy.succeeded" || *k == "toy.failed")
        .count();
    assert_eq!(outcomes, 1, "{:?} {recovered:?}", told.kinds());
    assert_eq!(open_attempts(&scene.world), 0);
}
