//! What the kernel promises, shown with toy workflows.

mod admission;
mod in_commit;
mod recovery;
mod toys;
mod versions;

use std::future::Future as _;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::join_all;
use quivive_delivery::{Fault, Time};
use quivive_domain::guess::Guesses;
use uuid::Uuid;

use super::workflow::RESERVE_WAITERS;
use super::{Commit, Failure, Request, refuse_with, succeed};
use crate::testing::{PASSWORD, Scene, password};
use crate::workflows::accounts::lock_user;
use toys::{Broken, Noted, Refusal, Succeeded, Toy, event, reason, scene};

/// A write that shows whether its commit was applied, guarded by nothing.
fn mark(scene: &Scene) -> impl Fn() -> quivive_delivery::Write + Send + Sync + 'static {
    let world = scene.world.clone();
    move || {
        world.write("mark", &[], |state| {
            let next = state.rotations.keys().last().map_or(1, |last| last + 1);
            state.rotations.insert(next, Time::UNIX_EPOCH);
            1
        })
    }
}

fn marks(scene: &Scene) -> usize {
    scene.world.see(|state| state.rotations.len() - 1)
}

#[tokio::test]
async fn an_attempt_and_one_outcome_in_order_under_one_workflow_id() {
    let scene = scene().by_owner();
    let told = scene
        .when(Toy::commits(&scene, super::cx::Cx::fenced))
        .await
        .succeeded();

    let (attempted, outcome) = (&told.events[0], &told.events[1]);
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.succeeded"]);
    assert!(attempted.position < outcome.position);
    assert_eq!(attempted.envelope.causation_id, None);
    assert_eq!(outcome.envelope.causation_id, Some(attempted.envelope.id));
    for event in [attempted, outcome] {
        let envelope = &event.envelope;
        assert_eq!(envelope.key.as_str(), format!("account:{}", scene.user));
        assert_eq!(envelope.subject, Some(scene.user.to_string()));
        assert_eq!(envelope.workflow_id, attempted.envelope.workflow_id);
        assert_eq!(envelope.correlation_id, attempted.envelope.workflow_id);
        assert_eq!(
            (envelope.actor.kind.as_ref(), envelope.actor.id),
            ("user", Some(scene.user.0))
        );
        assert_eq!(envelope.request_id, attempted.envelope.request_id);
        assert!(
            envelope.request_id.is_some() && event.context.is_some(),
            "where it came from is sealed"
        );
    }
    assert!(
        attempted.personal.is_some() && !String::from_utf8_lossy(&attempted.body).contains("toy@")
    );
}

#[tokio::test]
async fn a_refusal_leaves_its_commit() {
    let scene = scene();
    let mark = mark(&scene);
    let toy = Toy::new(&scene, move |_| {
        let mut commit = Commit::default();
        commit.write(mark()).fact(&Noted { number: 1 });
        Box::pin(std::future::ready(refuse_with(Refusal::Unwanted, commit)))
    });
    scene
        .when(toy)
        .await
        .refused(Refusal::Unwanted)
        .raised(&["toy.noted"]);
    assert_eq!(marks(&scene), 1);
}

#[tokio::test]
async fn a_panic_is_failed_with_internal() {
    let scene = scene();
    let toy = Toy::new(&scene, |_| Box::pin(async { panic!("on purpose") }));
    let told = scene.when(toy).await;
    assert!(matches!(told.answer, Err(Failure::Internal)));
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.failed"]);
    assert_eq!(reason(&scene.world), "internal");
}

#[tokio::test]
async fn a_fault_is_failed_with_internal_and_told_as_a_fault() {
    let scene = scene();
    let toy = Toy::new(&scene, |_| {
        Box::pin(std::future::ready(Err(Fault::NoSpace)))
    });
    let told = scene.when(toy).await;
    assert!(matches!(told.answer, Err(Failure::Fault(Fault::NoSpace))));
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.failed"]);
    assert_eq!(reason(&scene.world), "internal");
}

fn broken() -> Commit {
    let mut commit = Commit::default();
    commit.fact(&Broken {
        pairs: [((1, 2), 3)].into(),
    });
    commit
}

#[tokio::test]
async fn an_event_that_cannot_be_encoded_closes_its_attempt_as_internal() {
    let scene = scene();
    let told = scene.when(Toy::commits(&scene, |_, _| broken())).await;
    assert!(matches!(
        told.answer,
        Err(Failure::Fault(Fault::Internal(_)))
    ));
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.failed"]);
    assert_eq!(reason(&scene.world), "internal");
    assert!(scene.world.see(|state| state.attempts.is_empty()));
}

/// Compares a password, hashes another, and grants.
fn hashing(scene: &Scene) -> Toy {
    Toy::new(scene, |cx| {
        Box::pin(async move {
            let account = cx.account_of_subject().await?.expect("it is there");
            cx.passwords
                .verify(&password(PASSWORD), account.password.as_ref())
                .await?;
            cx.passwords.hash(&password(PASSWORD)).await?;
            succeed(cx.fenced(&account), Succeeded { done: true }, ())
        })
    })
}

#[tokio::test]
async fn a_missed_guard_is_decided_again_without_hashing_again() {
    let scene = scene();
    let user = scene.user;
    scene.world.meanwhile("toy.succeeded", 1, move |state| {
        state
            .accounts
            .get_mut(&user)
            .expect("there")
            .security_version += 1;
    });
    let toy = hashing(&scene);
    scene.when(toy.clone()).await.succeeded();
    assert_eq!(scene.world.missed(), ["account fence"]);
    assert_eq!(toy.decisions(), 2);
    assert_eq!(scene.world.hashing(), (1, 1));
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.succeeded"]);
}

#[tokio::test]
async fn a_guard_that_always_misses_is_failed_with_conflict_after_three_decisions() {
    let scene = scene();
    let user = scene.user;
    scene.world.meanwhile("toy.succeeded", 9, move |state| {
        state
            .accounts
            .get_mut(&user)
            .expect("there")
            .security_version += 1;
    });
    let toy = hashing(&scene);
    let told = scene.when(toy.clone()).await;
    assert!(matches!(told.answer, Err(Failure::Conflict)));
    assert_eq!(toy.decisions(), 3);
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.failed"]);
    assert_eq!(reason(&scene.world), "conflict");
}

#[tokio::test]
async fn an_attempt_that_another_closed_is_not_decided_again_and_appends_nothing() {
    let scene = scene();
    scene
        .world
        .meanwhile("toy.succeeded", 1, |state| state.attempts.clear());
    let mark = mark(&scene);
    let toy = Toy::commits(&scene, move |_, _| {
        let mut commit = Commit::default();
        commit.write(mark());
        commit
    });
    let told = scene.when(toy.clone()).await;
    assert!(matches!(told.answer, Err(Failure::Closed)));
    assert_eq!((toy.decisions(), marks(&scene)), (1, 0));
    assert_eq!(scene.world.kinds(), ["toy.attempted"]);
}

#[tokio::test]
async fn without_its_attempt_an_outcome_is_not_written_and_the_fault_is_told() {
    let scene = scene();
    scene.world.fail("toy.attempted", 9, Fault::NoSpace);
    let told = scene
        .when(Toy::commits(&scene, |_, _| Commit::default()))
        .await;
    assert!(matches!(told.answer, Err(Failure::Fault(Fault::NoSpace))));
    let told = scene
        .when(Toy::new(&scene, |_| {
            Box::pin(async { panic!("on purpose") })
        }))
        .await;
    assert!(matches!(told.answer, Err(Failure::Fault(Fault::NoSpace))));
    let told = scene.when(Toy::guessing(&scene)).await;
    assert!(matches!(told.answer, Err(Failure::Fault(Fault::NoSpace))));
    assert!(scene.world.log().is_empty());
    let missed = scene.world.missed();
    assert!(
        missed.is_empty(),
        "an outcome without its attempt was submitted: {missed:?}"
    );
    assert!(scene.world.see(|state| state.attempts.is_empty()));
}

#[tokio::test]
async fn a_client_that_goes_away_changes_nothing() {
    let scene = scene();
    let toy = Toy::commits(&scene, super::cx::Cx::fenced);
    {
        let mut execute = Box::pin(scene.kernel.execute(toy, scene.request.clone()));
        let poll = execute
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(poll, Poll::Pending));
        assert!(scene.world.log().is_empty(), "it has hardly begun");
    }
    scene.world.settle().await;
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.succeeded"]);
}

#[tokio::test]
async fn an_attempt_is_in_the_log_while_its_decision_waits() {
    let scene = scene();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let toy = Toy::new(&scene, {
        let (world, seen) = (scene.world.clone(), Arc::clone(&seen));
        move |_| {
            let (world, seen) = (world.clone(), Arc::clone(&seen));
            Box::pin(async move {
                let before = world.kinds();
                tokio::task::yield_now().await;
                *seen.lock().unwrap() = vec![before, world.kinds()];
                succeed(Commit::default(), Succeeded { done: true }, ())
            })
        }
    });
    scene.when(toy).await.succeeded();
    let (held, submitted) = (Vec::<String>::new(), vec!["toy.attempted".to_owned()]);
    assert_eq!(*seen.lock().unwrap(), [held, submitted]);
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.succeeded"]);
}

#[tokio::test]
async fn facts_and_triples_of_their_own_are_caused_by_the_outcome() {
    let scene = scene();
    let toy = Toy::commits(&scene, |cx, account| {
        let mut commit = Commit::default();
        commit.acted_by(account.id).fact(&Noted { number: 1 });
        lock_user::automatically(&mut commit, account.id, cx.now(), 5);
        commit
    });
    let told = scene.when(toy).await.succeeded();
    told.raised(&["toy.noted", "user.lock.attempted", "user.lock.succeeded"]);

    let (attempted, outcome) = (
        event(&scene.world, "toy.attempted"),
        event(&scene.world, "toy.succeeded"),
    );
    assert_eq!(attempted.envelope.actor.kind, "anonymous");
    assert_eq!(
        (&*outcome.envelope.actor.kind, outcome.envelope.actor.id),
        ("user", Some(scene.user.0))
    );
    for (kind, actor) in [
        ("toy.noted", "user"),
        ("user.lock.attempted", "system"),
        ("user.lock.succeeded", "system"),
    ] {
        let envelope = event(&scene.world, kind).envelope;
        assert_eq!(envelope.actor.kind, actor, "{kind}");
        assert_eq!(envelope.causation_id, Some(outcome.envelope.id), "{kind}");
        assert_eq!(envelope.key, attempted.envelope.key, "{kind}");
        assert_eq!(
            envelope.correlation_id, attempted.envelope.workflow_id,
            "{kind}"
        );
    }
    let ids = ["toy.noted", "user.lock.attempted", "user.lock.succeeded"]
        .map(|kind| event(&scene.world, kind).envelope.workflow_id);
    assert_eq!(ids[0], attempted.envelope.workflow_id);
    assert_eq!(ids[1], ids[2], "a workflow of its own");
    assert_ne!(ids[1], ids[0]);
}

fn counters(scene: &Scene, change: impl FnOnce(&mut Guesses)) {
    let id: Uuid = scene.user.0;
    scene
        .world
        .change(|state| change(state.guesses.get_mut(&id).expect("open")));
}

#[tokio::test]
async fn a_guess_is_reserved_in_the_commit_of_the_attempt() {
    let scene = scene();
    scene.world.meanwhile("toy.succeeded", 1, |state| {
        assert!(
            state.guesses.values().all(|g| g.reserved == 1),
            "{:?}",
            state.guesses
        );
    });
    scene.when(Toy::guessing(&scene)).await.succeeded();
}

/// Every way in which a toy can end without its guess being right or wrong.
fn unsettled(scene: &Scene) -> Vec<(&'static str, Toy)> {
    let user = scene.user;
    let conflict = Toy::commits(scene, super::cx::Cx::fenced);
    scene.world.meanwhile("toy.succeeded", 3, move |state| {
        let account = state.accounts.get_mut(&user).expect("there");
        account.security_version += 1;
    });
    let refuses = |_: &super::Cx| refuse_with(Refusal::Unwanted, Commit::default());
    vec![
        ("conflict", conflict),
        ("success", Toy::guessing(scene)),
        (
            "refusal",
            Toy::new(scene, move |cx| Box::pin(std::future::ready(refuses(cx)))),
        ),
        (
            "fault",
            Toy::new(scene, |_| Box::pin(std::future::ready(Err(Fault::NoSpace)))),
        ),
        (
            "panic",
            Toy::new(scene, |_| Box::pin(async { panic!("on purpose") })),
        ),
        ("broken", Toy::commits(scene, |_, _| broken())),
    ]
}

#[tokio::test]
async fn a_guess_that_was_neither_right_nor_wrong_gives_its_place_back() {
    let scene = scene();
    counters(&scene, |g| (g.reserved, g.wrong, g.in_a_row) = (3, 2, 2));
    for (why, toy) in unsettled(&scene) {
        let told = scene.when(toy.that_guesses()).await;
        assert_eq!(told.answer.is_ok(), why == "success", "{why}");
        let counted = scene.world.see(|s| s.guesses[&scene.user.0]);
        assert_eq!((counted.reserved, counted.wrong), (3, 2), "{why}");
    }
}

#[tokio::test]
async fn a_guess_that_was_settled_gives_nothing_back() {
    let scene = scene();
    counters(&scene, |g| g.reserved = 2);
    let toy = Toy::new(&scene, |cx| {
        Box::pin(async move {
            let (mut commit, user) = (Commit::default(), cx.subject().account().expect("known"));
            crate::guesses::wrong(&mut commit, cx, Some(user)).await?;
            refuse_with(Refusal::Unwanted, commit)
        })
    });
    scene
        .when(toy.that_guesses())
        .await
        .refused(Refusal::Unwanted);
    let counted = scene.world.see(|s| s.guesses[&scene.user.0]);
    assert_eq!((counted.reserved, counted.wrong), (3, 1));
}

/// Nobody knows what the guess was, so that it counts until its window ends.
#[tokio::test]
async fn a_guess_that_a_crash_interrupted_keeps_its_place() {
    let scene = scene();
    let stopped = Fault::Stopped("pulled the plug".to_owned());
    scene.world.fail("toy.succeeded", 1, stopped);
    assert!(scene.when(Toy::guessing(&scene)).await.answer.is_err());
    let restarted = toys::kernel(&scene.world);
    assert_eq!(restarted.recover().await.unwrap().interrupted, 1);
    assert_eq!(scene.world.see(|s| s.guesses[&scene.user.0].reserved), 1);
}

#[tokio::test(start_paused = true)]
async fn while_every_place_is_taken_a_guess_waits() {
    let scene = scene();
    counters(&scene, |g| g.reserved = 5);
    let (other, waiting) = (scene.clone(), scene.clone());
    let release = async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(
            other.world.log().is_empty(),
            "nothing is begun without a place"
        );
        counters(&other, |g| g.reserved = 4);
    };
    let (told, ()) = tokio::join!(waiting.when(Toy::guessing(&waiting)), release);
    told.succeeded();
}

#[tokio::test(start_paused = true)]
async fn who_waits_leaves_the_hashing_queue_to_others() {
    let scene = scene();
    counters(&scene, |g| g.reserved = 5);
    scene.world.hashing_places(1);
    let (waiting, other) = (scene.clone(), scene.clone());
    let meanwhile = async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        other.when(hashing(&other)).await.succeeded();
        counters(&other, |g| g.reserved = 4);
    };
    let (told, ()) = tokio::join!(waiting.when(Toy::guessing(&waiting)), meanwhile);
    told.succeeded();
    assert_eq!(scene.world.came_back(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_guesses_wait_and_the_next_is_told_before_anything_is_written() {
    let scene = scene();
    counters(&scene, |g| g.reserved = 5);
    let guesses = (0..=RESERVE_WAITERS).map(|_| {
        let scene = scene.clone();
        async move { scene.when(Toy::guessing(&scene)).await.answer }
    });
    let answers = join_all(guesses).await;
    let busy = answers.iter().filter(|answer| {
        matches!(answer, Err(Failure::Fault(Fault::Busy { retry_after, .. })) if *retry_after >= Duration::from_secs(1))
    });
    assert_eq!(busy.count(), 1);
    assert_eq!(scene.world.log().len(), 2 * RESERVE_WAITERS);
}

#[tokio::test(start_paused = true)]
async fn a_guess_waits_no_longer_than_its_patience() {
    let scene = scene();
    counters(&scene, |g| g.reserved = 5);
    let began = (tokio::time::Instant::now(), std::time::Instant::now());
    scene
        .when(Toy::guessing(&scene))
        .await
        .refused(Refusal::Closed);
    let waited = began.0.elapsed();
    assert!(
        waited >= Duration::from_secs(3) && waited < Duration::from_secs(4),
        "{waited:?}"
    );
    assert!(
        began.1.elapsed() < Duration::from_secs(1),
        "by the runtime's clock, not the machine's"
    );
}

#[tokio::test]
async fn a_workflow_is_told_that_the_path_is_closed() {
    let scene = scene();
    let until = scene.world.now() + Duration::from_secs(1);
    counters(&scene, |g| g.locked_until = Some(until));
    let toy = Toy::guessing(&scene);
    scene.when(toy.clone()).await.refused(Refusal::Closed);
    assert_eq!(toy.decisions(), 1);
    assert_eq!(scene.world.see(|s| s.guesses[&scene.user.0].reserved), 0);
}

#[tokio::test]
async fn a_place_that_another_took_first_is_asked_for_again() {
    let scene = scene();
    counters(&scene, |g| g.reserved = 4);
    let user = scene.user.0;
    scene.world.meanwhile("toy.attempted", 1, move |state| {
        let path = state.guesses.get_mut(&user).expect("open");
        (path.reserved, path.wrong) = (5, 5);
    });
    scene
        .when(Toy::guessing(&scene))
        .await
        .refused(Refusal::Closed);
    assert_eq!(scene.world.missed(), ["guess reserve"]);
    assert_eq!(scene.world.kinds(), ["toy.attempted", "toy.failed"]);
}

#[tokio::test]
async fn many_at_once_each_get_one_outcome() {
    let scene = scene();
    let user = scene.user;
    let grants = |_| {
        let world = scene.world.clone();
        scene.when(Toy::commits(&scene, move |cx, account| {
            let raise = world.write("raise", &[user.0], move |state| {
                let account = state.accounts.get_mut(&user).expect("there");
                account.security_version += 1;
                1
            });
            let mut commit = cx.fenced(account);
            commit.write(raise);
            commit
        }))
    };
    let told = futures_util::future::join_all((0..20).map(grants)).await;
    let won = told.iter().filter(|t| t.answer.is_ok()).count();
    let lost = told
        .iter()
        .filter(|t| matches!(t.answer, Err(Failure::Conflict)))
        .count();
    assert_eq!(won + lost, 20);
    assert_eq!(
        scene.account().security_version as usize,
        1 + won,
        "each grant saw the one before"
    );
    let kinds = scene.world.kinds();
    assert_eq!(kinds.iter().filter(|k| *k == "toy.attempted").count(), 20);
    assert_eq!(kinds.iter().filter(|k| *k == "toy.succeeded").count(), won);
    assert_eq!(kinds.iter().filter(|k| *k == "toy.failed").count(), lost);
}
