//! Two toy workflows: one that does what a test says, one that concludes an attempt of the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use quivive_delivery::subscriber::InCommit;
use quivive_delivery::{BoxFuture, Event, Fault, Reason as Reasons, Stored};
use quivive_domain::{Account, Email, UserId};

use crate::guesses;
use crate::kernel::{
    Commit, Cx, Guess, Kernel, Parts, Reason, Reservation, Run, Subject, Workflow, refuse, succeed,
};
use crate::ports::{Path, Waiting};
use crate::switchboard::Workflows;
use crate::testing::{Scene, World, given};

pub(super) const EMAIL: &str = "toy@example.org";

/// The kernel's promises, about somebody with an account, on a server that knows nothing but toys.
pub(super) fn scene() -> Scene {
    scene_with(InCommit::default())
}

/// The same, with something that reacts in the commit.
pub(super) fn scene_with(in_commit: InCommit) -> Scene {
    reacting(&given(crate::testing::account().verified()), in_commit)
}

/// The same world behind a kernel that asks these.
pub(super) fn reacting(scene: &Scene, in_commit: InCommit) -> Scene {
    let kernel = Kernel::new(Parts {
        in_commit,
        ..scene.world.parts(workflows())
    });
    Scene {
        kernel,
        ..scene.clone()
    }
}

/// Another server on the same database.
pub(super) fn kernel(world: &World) -> Arc<Kernel> {
    world.kernel(workflows())
}

fn workflows() -> Workflows {
    let workflows = Workflows::default()
        .workflow::<Toy>()
        .and_then(Workflows::workflow::<Proof>);
    workflows
        .and_then(Workflows::fact::<Noted>)
        .expect("no name twice")
}

type Decide = dyn for<'a> Fn(&'a Cx) -> BoxFuture<'a, Run<Toy>> + Send + Sync;

/// Decides as it is told, and counts how often.
#[derive(Clone)]
pub(super) struct Toy {
    user: UserId,
    guesses: bool,
    pub decisions: Arc<AtomicU32>,
    decide: Arc<Decide>,
}

impl Toy {
    pub(super) fn new(
        scene: &Scene,
        decide: impl for<'a> Fn(&'a Cx) -> BoxFuture<'a, Run<Self>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            user: scene.user,
            guesses: false,
            decisions: Arc::default(),
            decide: Arc::new(decide),
        }
    }

    /// One that succeeds with this commit.
    pub(super) fn commits(
        scene: &Scene,
        commit: impl Fn(&Cx, &Account) -> Commit + Send + Sync + 'static,
    ) -> Self {
        let commit = Arc::new(commit);
        Self::new(scene, move |cx| {
            let commit = Arc::clone(&commit);
            Box::pin(async move {
                let account = cx.account_of_subject().await?.expect("it is there");
                succeed(commit(cx, &account), Succeeded { done: true }, ())
            })
        })
    }

    /// One that guesses a password first.
    pub(super) fn guessing(scene: &Scene) -> Self {
        Self::new(scene, |cx| {
            Box::pin(std::future::ready(match cx.guess() {
                Guess::Reserved { .. } => succeed(Commit::default(), Succeeded { done: true }, ()),
                Guess::Closed => refuse(Refusal::Closed),
                Guess::NotNeeded => refuse(Refusal::Unwanted),
            }))
        })
        .that_guesses()
    }

    /// The same, with a guess reserved at the attempt.
    pub(super) fn that_guesses(self) -> Self {
        Self {
            guesses: true,
            ..self
        }
    }

    pub(super) fn decisions(&self) -> u32 {
        self.decisions.load(Ordering::Relaxed)
    }
}

#[derive(Event)]
#[event(
    type = "toy.attempted",
    version = 1,
    name = "ToyAttempted",
    audit = "TOY_ATTEMPTED"
)]
pub(super) struct Attempted {
    #[event(personal)]
    pub email: Email,
}

#[derive(Event)]
#[event(
    type = "toy.succeeded",
    version = 1,
    name = "ToySucceeded",
    audit = "TOY_SUCCEEDED"
)]
pub(super) struct Succeeded {
    pub done: bool,
}

#[derive(Event)]
#[event(
    type = "toy.failed",
    version = 1,
    name = "ToyFailed",
    audit = "TOY_FAILED"
)]
pub(super) struct Failed {
    #[event(personal)]
    pub email: Email,
    pub reason: Reason,
}

#[derive(Event)]
#[event(
    type = "toy.noted",
    version = 1,
    name = "ToyNoted",
    audit = "TOY_NOTED"
)]
pub(super) struct Noted {
    pub number: u32,
}

/// What cannot be encoded: JSON has no such keys.
#[derive(Event)]
#[event(
    type = "toy.broken",
    version = 1,
    name = "ToyBroken",
    audit = "TOY_BROKEN"
)]
pub(super) struct Broken {
    pub pairs: std::collections::BTreeMap<(u8, u8), u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub(super) enum Refusal {
    Unwanted,
    Closed,
}

impl Workflow for Toy {
    const NAME: &'static str = "toy";
    const HASHES: bool = true;
    const EXPIRED: &'static str = "proof_expired";
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = ();

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::Account(self.user))
    }

    async fn reserve(&self, cx: &Cx) -> Result<Reservation, Fault> {
        if self.guesses {
            guesses::reserve(cx, Some(self.user), Path::Account(self.user)).await
        } else {
            Ok(Reservation::NotNeeded)
        }
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            email: Email::typed(EMAIL),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            email: attempted.email.clone(),
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        self.decisions.fetch_add(1, Ordering::Relaxed);
        (self.decide)(cx).await
    }
}

/// Concludes the one toy that waits.
pub(super) struct Proof {
    pub world: World,
    pub user: UserId,
}

#[derive(Event)]
#[event(
    type = "proof.attempted",
    version = 1,
    name = "ProofAttempted",
    audit = "PROOF_ATTEMPTED"
)]
pub(super) struct ProofAttempted {}

#[derive(Event)]
#[event(
    type = "proof.succeeded",
    version = 1,
    name = "ProofSucceeded",
    audit = "PROOF_SUCCEEDED"
)]
pub(super) struct ProofSucceeded {}

#[derive(Event)]
#[event(
    type = "proof.failed",
    version = 1,
    name = "ProofFailed",
    audit = "PROOF_FAILED"
)]
pub(super) struct ProofFailed {
    pub reason: Reason,
}

impl Workflow for Proof {
    const NAME: &'static str = "proof";
    type Attempted = ProofAttempted;
    type Succeeded = ProofSucceeded;
    type Failed = ProofFailed;
    type Refusal = Refusal;
    type Reply = ();

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::Account(self.user))
    }

    fn attempted(&self, _: &Subject) -> ProofAttempted {
        ProofAttempted {}
    }

    fn failed(_: &ProofAttempted, _: &Subject, reason: Reason) -> ProofFailed {
        ProofFailed { reason }
    }

    async fn run(&self, _: &Cx) -> Run<Self> {
        let waiting = self
            .world
            .see(|s| s.attempts.values().find(|a| a.waiting).cloned());
        // Others have their turn between what is read and what is committed.
        tokio::task::yield_now().await;
        let Some(open) = waiting else {
            return refuse(Refusal::Unwanted);
        };
        let mut commit = Commit::default();
        let open = Waiting {
            workflow_id: open.workflow_id,
            attempted_id: open.attempted_id,
        };
        commit.conclude(open, &Succeeded { done: true });
        succeed(commit, ProofSucceeded {}, ())
    }
}

/// The first event of a type in the log.
pub(super) fn event(world: &World, kind: &str) -> Stored {
    let found = world.log().into_iter().find(|e| e.envelope.kind == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {:?}", world.kinds()))
}

/// The reason of the one `toy.failed` in the log.
pub(super) fn reason(world: &World) -> String {
    let json: serde_json::Value =
        serde_json::from_slice(&event(world, "toy.failed").body).expect("JSON");
    json["reason"].as_str().expect("a reason").to_owned()
}
