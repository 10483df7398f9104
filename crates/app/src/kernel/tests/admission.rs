//! Who is let in, and who is told to come again before anything is written.

use std::time::Duration;

use quivive_delivery::Fault;

use super::toys::scene;
use super::{Failure, Request, Scene, hashing};
use crate::kernel::workflow::UNDER_WAY;
use crate::workflows::passwords::request_password_reset::RequestPasswordReset;

#[tokio::test]
async fn a_full_hashing_queue_is_told_before_anything_is_written() {
    let scene = scene();
    scene.world.hashing_places(0);
    let told = scene.when(hashing(&scene)).await;
    assert!(matches!(
        told.answer,
        Err(Failure::NotAdmitted(Fault::Busy { .. }))
    ));
    assert!(scene.world.log().is_empty());
}

#[tokio::test]
async fn only_so_many_are_under_way_and_the_server_itself_is_never_refused() {
    let scene = scene();
    let request = || RequestPasswordReset {
        email: "ada@example.org".to_owned(),
    };
    let others: Vec<_> = std::iter::from_fn(|| scene.kernel.gate.enter()).collect();
    assert_eq!(others.len(), UNDER_WAY.most);
    let told = scene.when(request()).await;
    assert!(matches!(
        told.answer,
        Err(Failure::NotAdmitted(Fault::Busy { .. }))
    ));
    assert!(scene.world.log().is_empty());
    scene.when(hashing(&scene)).await.succeeded();
    let itself = scene.kernel.execute(request(), Request::system()).await;
    assert!(itself.is_ok(), "it has places of its own");
    drop(others);
    scene.when(request()).await.succeeded();
    assert_eq!(scene.kernel.gate.inside(), 0);
}

#[tokio::test(start_paused = true)]
async fn while_most_that_hash_are_turned_away_the_others_may_not_wait_long_for_each_other() {
    let scene = scene();
    let late = async |scene: &Scene| {
        // Who was turned away before they come says nothing of them.
        tokio::time::advance(Duration::from_millis(1)).await;
        let crowd: Vec<_> = (0..200).map(|_| scene.kernel.gate.enter()).collect();
        let told = scene.when(hashing(scene)).await;
        assert!(matches!(told.answer, Err(Failure::NotAdmitted(_))));
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(crowd);
        let room: Vec<_> = std::iter::from_fn(|| scene.kernel.gate.enter()).collect();
        room.len()
    };
    scene.world.hashing_places(0);
    assert_eq!(
        late(&scene).await,
        UNDER_WAY.most,
        "one of one is not many yet"
    );
    assert_eq!(late(&scene).await, UNDER_WAY.least);
}

#[tokio::test(start_paused = true)]
async fn while_hashing_starves_under_a_flood_few_others_are_let_in_a_second() {
    let scene = scene();
    let let_in = async || {
        let mut let_in = 0;
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(10)).await;
            let told = scene.when(hashing(&scene)).await;
            assert!(matches!(told.answer, Err(Failure::NotAdmitted(_))));
            let_in += (0..10).filter_map(|_| scene.kernel.gate.enter()).count();
        }
        let_in
    };
    scene.world.hashing_places(0);
    let_in().await;
    assert_eq!(let_in().await, 1_000, "it gets on");
    scene.world.hashing_starves();
    let_in().await;
    let few = let_in().await;
    assert!((150..=170).contains(&few), "{few}");
}
