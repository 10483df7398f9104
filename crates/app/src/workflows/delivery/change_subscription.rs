//! Change a subscription: an operator pauses or resumes it, replays it, or decides about its dead letters.
//!
//! The delivery engine does it, in commits of its own: it holds the state and goes on while they are written. A decision
//! about dead letters is told there too, by `DeadLettersRedriven` or `DeadLettersDiscarded`, as a fact of this workflow.
//! Should the process end between that commit and the outcome, the fact stands and the outcome is `interrupted`.

use std::num::NonZeroU32;

use quivive_delivery::engine::Declined;
use quivive_delivery::subscriber::Choice;
use quivive_domain::Rationale;

use crate::ports::Positions;
use crate::step_up::{Denied, Proven, operated};
use crate::workflows::prelude::*;

pub struct ChangeSubscription {
    pub subscription: String,
    pub change: Change,
    /// The administrator who asks. `None`: the command line.
    pub by: Option<Proven>,
}

/// What is to be changed.
#[derive(Debug, Clone)]
pub enum Change {
    Pause,
    Resume,
    /// Dead letters are delivered again, so many in a second at most.
    Redrive {
        choice: Choice,
        per_second: Option<NonZeroU32>,
    },
    /// Events are delivered again.
    Replay(Positions),
    /// Dead letters are passed over, for good.
    Discard {
        choice: Choice,
        reason: Rationale,
    },
}

impl Change {
    fn action(&self) -> Reason {
        Reason::new(match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Redrive { .. } => "redrive",
            Self::Replay(_) => "replay",
            Self::Discard { .. } => "discard",
        })
    }
}

#[derive(Event)]
#[event(
    type = "delivery.subscription_change.attempted",
    version = 1,
    name = "SubscriptionChangeAttempted",
    audit = "SUBSCRIPTION_CHANGE_ATTEMPTED"
)]
pub struct Attempted {
    pub subscription: String,
    pub action: Reason,
}

#[derive(Event)]
#[event(
    type = "delivery.subscription_change.succeeded",
    version = 1,
    name = "SubscriptionChangeSucceeded",
    audit = "SUBSCRIPTION_CHANGE_SUCCEEDED"
)]
pub struct Succeeded {
    pub subscription: String,
    pub action: Reason,
}

#[derive(Event)]
#[event(
    type = "delivery.subscription_change.failed",
    version = 1,
    name = "SubscriptionChangeFailed",
    audit = "SUBSCRIPTION_CHANGE_FAILED"
)]
pub struct Failed {
    pub subscription: String,
    pub action: Reason,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Reasons)]
pub enum Refusal {
    NotFound,
    /// It is paused already, or not paused; no dead letter is meant; it may not be replayed, or is being so.
    WrongState,
    Forbidden,
    StepUpRequired,
}

also_refuses!(Denied: Forbidden, StepUpRequired);

pub struct Reply {
    /// How many dead letters are meant, or positions to go through.
    pub count: u64,
}

impl Workflow for ChangeSubscription {
    const NAME: &'static str = "subscription_change";
    const ATTEMPT_FIRST: bool = true;
    type Attempted = Attempted;
    type Succeeded = Succeeded;
    type Failed = Failed;
    type Refusal = Refusal;
    type Reply = Reply;

    async fn subject(&self, _: &Cx) -> Result<Subject, Fault> {
        Ok(Subject::System)
    }

    fn attempted(&self, _: &Subject) -> Attempted {
        Attempted {
            subscription: self.subscription.clone(),
            action: self.change.action(),
        }
    }

    fn failed(attempted: &Attempted, _: &Subject, reason: Reason) -> Failed {
        Failed {
            subscription: attempted.subscription.clone(),
            action: attempted.action.clone(),
            reason,
        }
    }

    async fn run(&self, cx: &Cx) -> Run<Self> {
        // Their commit is not used: what the engine has done cannot miss.
        if let Err(denied) = operated(cx, self.by).await? {
            return refuse(denied.into());
        }
        let (name, engine) = (&self.subscription, &cx.deliveries);
        let done = match self.change.clone() {
            Change::Pause => engine.pause(name).await.map(|()| 0),
            Change::Resume => engine.resume(name).await.map(|()| 0),
            Change::Redrive { choice, per_second } => {
                engine.redrive(name, choice, per_second, cx.decider()).await
            }
            Change::Replay(range) => {
                let replay = engine.replay(name, range, Vec::new(), cx.decider());
                replay.await
            }
            Change::Discard { choice, reason } => {
                let reason = reason.into();
                engine.discard(name, choice, reason, cx.decider()).await
            }
        };
        match done {
            Ok(count) => succeed(
                Commit::default(),
                Succeeded {
                    subscription: self.subscription.clone(),
                    action: self.change.action(),
                },
                Reply { count },
            ),
            Err(Declined::NotFound) => refuse(Refusal::NotFound),
            Err(Declined::WrongState) => refuse(Refusal::WrongState),
            Err(Declined::Fault(fault)) => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quivive_domain::Role;

    use crate::testing::{FakeSubscription, Scene, account, account_of, given};

    /// The subscription `email` with two dead letters, and an administrator.
    fn scene() -> Scene {
        let scene = given(account().verified().role(Role::Admin)).by_administrator();
        let email = FakeSubscription {
            parked: 2,
            ..FakeSubscription::default()
        };
        scene
            .world
            .change(|s| s.subscriptions.insert("email".to_owned(), email));
        scene
    }

    fn change(subscription: &str, change: Change) -> ChangeSubscription {
        ChangeSubscription {
            subscription: subscription.to_owned(),
            change,
            by: None,
        }
    }

    fn redrive() -> Change {
        Change::Redrive {
            choice: Choice::default(),
            per_second: None,
        }
    }

    fn replay() -> Change {
        Change::Replay(Positions {
            from: Some(2),
            to: Some(7),
        })
    }

    fn discard() -> Change {
        Change::Discard {
            choice: Choice::default(),
            reason: Rationale::parse("no use").expect("it fits"),
        }
    }

    #[tokio::test]
    async fn each_change_reaches_the_engine_once_and_says_what_it_was() {
        let scene = scene();
        for (wanted, action, count) in [
            (Change::Pause, "pause", 0),
            (Change::Resume, "resume", 0),
            (redrive(), "redrive", 2),
            (replay(), "replay", 6),
        ] {
            let told = scene.when(change("email", wanted)).await.succeeded();
            assert_eq!(
                told.open("delivery.subscription_change.succeeded"),
                serde_json::json!({"subscription": "email", "action": action})
            );
            assert_eq!(told.reply().count, count);
        }
    }

    #[tokio::test]
    async fn what_is_decided_about_dead_letters_is_told_as_a_fact_of_this_workflow() {
        for wanted in [redrive(), discard()] {
            let scene = scene();
            let told = scene.when(change("email", wanted)).await.succeeded();
            let attempted = told.events[0].envelope.clone();
            let decided = scene.world.see(|s| s.decided.clone());
            assert_eq!(decided.len(), 1);
            assert_eq!(Some(decided[0].by), attempted.actor.id);
            assert_eq!(decided[0].workflow_id, attempted.workflow_id);
            assert_eq!(decided[0].correlation_id, attempted.correlation_id);
            assert_eq!(decided[0].causation_id, Some(attempted.id));
        }
    }

    #[tokio::test]
    async fn one_line_for_each_refusal() {
        for wanted in [
            Change::Pause,
            Change::Resume,
            redrive(),
            replay(),
            discard(),
        ] {
            scene()
                .when(change("emial", wanted))
                .await
                .refused(Refusal::NotFound)
                .raised(&[]);
        }
        let scene = scene();
        for wanted in [Change::Resume, redrive()] {
            if matches!(wanted, Change::Redrive { .. }) {
                scene.when(change("email", discard())).await.succeeded();
            }
            scene
                .when(change("email", wanted))
                .await
                .refused(Refusal::WrongState)
                .raised(&[]);
        }
        let asked = |by: &Scene, wanted| ChangeSubscription {
            by: Some(by.proven()),
            ..change("email", wanted)
        };
        let eve = scene.clone().and(account_of("eve@example.org").verified());
        let late: Vec<_> = [Change::Pause, redrive(), discard(), replay()]
            .map(|wanted| (asked(&scene, wanted.clone()), asked(&eve, wanted)))
            .into();
        scene.world.pass(std::time::Duration::from_mins(10));
        for (late, theirs) in late {
            let told = scene.when(late).await;
            told.refused(Refusal::StepUpRequired).raised(&[]);
            let told = eve.when(theirs).await;
            told.refused(Refusal::Forbidden).raised(&[]);
        }
        let told = scene.when(asked(&scene, Change::Pause)).await;
        told.succeeded();
    }
}
