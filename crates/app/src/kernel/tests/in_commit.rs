//! What reacts in the commit: what it adds, what it refuses, and how often it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use quivive_delivery::subscriber::{Fact, InCommit};
use quivive_delivery::{Code, Key};

use super::toys::{
    Failed, Noted, Refusal, Succeeded, Toy, event, reacting, reason, scene, scene_with,
};
use super::{mark, marks};
use crate::kernel::{Commit, Failure, refuse_with};
use crate::testing::{PASSWORD, Scene, account, given, password};
use crate::workflows::sessions::log_in::{self, LogIn};

/// Asked about the outcome and about the fact, each leaves a mark.
fn marking(scene: &Scene) -> InCommit {
    let (on_outcome, on_fact) = (mark(scene), mark(scene));
    let handlers = InCommit::default().on("outcome", move |_: &Succeeded, effects| {
        effects.writes.push(on_outcome());
        let key = Some(Key::new("toy", "box"));
        let fact = Fact::of(&Noted { number: 7 }).expect("a number");
        effects.facts.push(Fact { key, ..fact });
        Ok(())
    });
    let handlers = handlers.and_then(|all| {
        all.on("fact", move |noted: &Noted, effects| {
            // That it asked about what another handler added would show here.
            assert_ne!(noted.number, 7);
            effects.writes.push(on_fact());
            Ok(())
        })
    });
    handlers.expect("no name twice")
}

/// Succeeds with a fact, behind the fence.
fn noting(scene: &Scene) -> Toy {
    Toy::commits(scene, |cx, account| {
        let mut commit = cx.fenced(account);
        commit.fact(&Noted { number: 1 });
        commit
    })
}

#[tokio::test]
async fn what_handlers_add_is_committed_with_the_outcome() {
    let scene = scene();
    let handlers = marking(&scene);
    let scene = reacting(&scene, handlers);
    let told = scene.when(noting(&scene)).await.succeeded();
    assert_eq!(told.kinds()[2..], ["toy.noted", "toy.noted"]);
    assert_eq!(marks(&scene), 2);
    let (outcome, added) = (&told.events[1].envelope, &told.events[3].envelope);
    assert_eq!(added.causation_id, Some(outcome.id));
    assert_eq!(added.key.as_str(), "toy:box");
}

#[tokio::test]
async fn it_is_asked_at_each_decision_and_adds_to_the_last_alone() {
    for (interference, want) in [(1, (2, 2)), (9, (3, 0))] {
        let scene = scene();
        let asked = Arc::new(AtomicU32::new(0));
        let handlers = marking(&scene).on("count", {
            let asked = Arc::clone(&asked);
            move |_: &Succeeded, _| {
                asked.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        });
        let scene = reacting(&scene, handlers.expect("no name twice"));
        let user = scene.user;
        scene
            .world
            .meanwhile("toy.succeeded", interference, move |state| {
                let account = state.accounts.get_mut(&user).expect("there");
                account.security_version += 1;
            });
        let told = scene.when(noting(&scene)).await;
        assert_eq!(told.answer.is_ok(), interference == 1);
        let seen = (asked.load(Ordering::Relaxed), marks(&scene));
        assert_eq!(seen, want, "after {interference} interferences");
    }
}

#[tokio::test]
async fn a_veto_fails_the_workflow_and_leaves_nothing_of_it() {
    for by_fact in [false, true] {
        let refuse = || Err(Code::new("not_today"));
        let handlers = if by_fact {
            InCommit::default().on("gate", move |_: &Noted, _| refuse())
        } else {
            InCommit::default().on("gate", move |_: &Succeeded, _| refuse())
        };
        let scene = scene_with(handlers.expect("one name"));
        let write = mark(&scene);
        let toy = Toy::commits(&scene, move |_, _| {
            let mut commit = Commit::default();
            commit.write(write()).fact(&Noted { number: 1 });
            commit
        });
        let told = scene.when(toy.clone()).await;
        let Err(Failure::Vetoed(veto)) = &told.answer else {
            panic!("not vetoed");
        };
        assert_eq!(veto.to_string(), "gate refused: not_today");
        assert_eq!(told.kinds(), ["toy.attempted", "toy.failed"]);
        assert_eq!(reason(&scene.world), "vetoed");
        assert_eq!((marks(&scene), toy.decisions()), (0, 1));
        assert!(scene.world.see(|state| state.attempts.is_empty()));
    }
}

/// Else a veto would give back the guess that a wrong password has cost.
#[tokio::test]
async fn a_refusal_stands_and_may_be_added_to() {
    let scene = scene();
    let added = mark(&scene);
    let handlers = InCommit::default()
        .on("gate", |_: &Noted, _| Err(Code::new("not_today")))
        .and_then(|all| {
            all.on("count", move |_: &Failed, effects| {
                effects.writes.push(added());
                Ok(())
            })
        });
    let scene = reacting(&scene, handlers.expect("no name twice"));
    let own = mark(&scene);
    let toy = Toy::new(&scene, move |_| {
        let mut commit = Commit::default();
        commit.write(own()).fact(&Noted { number: 1 });
        Box::pin(std::future::ready(refuse_with(Refusal::Unwanted, commit)))
    });
    scene.when(toy).await.refused(Refusal::Unwanted);
    assert_eq!(marks(&scene), 2);
}

#[tokio::test]
async fn a_handler_that_panics_breaks_its_workflow_and_leaves_nothing_behind() {
    let handlers = InCommit::default().on("broken", |_: &Succeeded, _| -> Result<(), Code> {
        panic!("on purpose")
    });
    let scene = scene_with(handlers.expect("one name"));
    let told = scene.when(noting(&scene)).await;
    assert!(matches!(told.answer, Err(Failure::Internal)));
    assert_eq!(told.kinds(), ["toy.attempted", "toy.failed"]);
    assert_eq!(reason(&scene.world), "internal");
}

#[tokio::test]
async fn a_vetoed_sign_in_leaves_no_session_and_costs_no_guess() {
    let scene = given(account().verified());
    let gate = InCommit::default().on("curfew", |_: &log_in::Succeeded, _| {
        Err(Code::new("curfew"))
    });
    let scene = scene.reacting(gate.expect("one name"));
    let log_in = || LogIn {
        email: "ada@example.org".to_owned(),
        password: password(PASSWORD),
        device_token: None,
    };
    let before = scene.world.see(|state| state.guesses.clone());
    let told = scene.when(log_in()).await;
    assert!(matches!(told.answer, Err(Failure::Vetoed(_))));
    assert_eq!(told.kinds(), ["user.login.attempted", "user.login.failed"]);
    assert_eq!(
        event(&scene.world, "user.login.failed").envelope.subject,
        Some(scene.user.to_string())
    );
    assert_eq!(told.open("user.login.failed")["reason"], "vetoed");
    assert_eq!(scene.open_sessions(), 0);
    assert!(
        scene
            .world
            .see(|state| state.devices.is_empty() && state.refresh.is_empty())
    );
    let after = scene.world.see(|state| state.guesses.clone());
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
}
