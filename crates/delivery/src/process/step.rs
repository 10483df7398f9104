//! One step as a subscription: which event asks it for what, and what its outcome moves.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use uuid::Uuid;

use super::stored::{Case, Place, Processes};
use super::{For, Step};
use crate::clock::Clock;
use crate::code::Code;
use crate::events::{StepDone, StepUndone, UndoRequested};
use crate::subscriber::{Cx, Handler, Outcome, Received};
use crate::{BoxFuture, DecodeError};

/// The reasons of an undo that no handler gave.
pub(super) const DEADLINE_PASSED: &str = "deadline_passed";
const GAVE_UP: &str = "gave_up";
const ATTEMPTS_SPENT: &str = "attempts_spent";

/// What all steps of a process share.
pub(super) struct Steps {
    pub(super) kind: &'static str,
    pub(super) begins_with: &'static str,
    pub(super) within: Duration,
    pub(super) max_attempts: u32,
    pub(super) names: Vec<&'static str>,
    pub(super) processes: Arc<dyn Processes>,
    pub(super) clock: Arc<dyn Clock>,
}

/// One of them.
pub(super) struct Asked {
    pub(super) steps: Arc<Steps>,
    pub(super) index: usize,
    pub(super) step: Arc<dyn Step>,
}

/// What an event asks of a step.
enum Asks {
    Nothing,
    /// To be done as the first of a new process.
    Begin,
    Perform(Uuid),
    Undo(Uuid),
}

impl Handler for Asked {
    fn handle<'a>(&'a self, event: &'a Received, cx: &'a mut Cx) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            match self.asks(event) {
                Ok(Asks::Nothing) => Outcome::Done,
                Ok(Asks::Begin) => self.begin(event, cx).await,
                Ok(Asks::Perform(id)) => match self.find(id, Place::doing(self.place())).await {
                    Ok(Some(case)) => self.perform(&case, Some(case.place), event, cx).await,
                    Ok(None) => Outcome::Done,
                    Err(outcome) => outcome,
                },
                Ok(Asks::Undo(id)) => match self.find(id, Place::undoing(self.place())).await {
                    Ok(Some(case)) => self.undo(&case, event, cx).await,
                    Ok(None) => Outcome::Done,
                    Err(outcome) => outcome,
                },
                Err(error) => error.into(),
            }
        })
    }
}

impl Asked {
    fn place(&self) -> u32 {
        u32::try_from(self.index).unwrap_or(u32::MAX)
    }

    fn name(&self) -> &'static str {
        self.steps.names[self.index]
    }

    fn asks(&self, event: &Received) -> Result<Asks, DecodeError> {
        let steps = &self.steps;
        let is = |step: Option<usize>, kind: &str, name: &str| {
            let wanted = step.and_then(|step| steps.names.get(step));
            kind == steps.kind && wanted.is_some_and(|wanted| *wanted == name)
        };
        if self.index == 0 && event.envelope().kind == steps.begins_with {
            return Ok(Asks::Begin);
        }
        if event.is::<StepDone>() {
            let done: StepDone = event.decode()?;
            let before = self.index.checked_sub(1);
            if is(before, &done.kind, &done.step) {
                return Ok(Asks::Perform(done.process));
            }
        } else if event.is::<StepUndone>() {
            let undone: StepUndone = event.decode()?;
            if is(Some(self.index + 1), &undone.kind, &undone.step) {
                return Ok(Asks::Undo(undone.process));
            }
        } else if event.is::<UndoRequested>() {
            let requested: UndoRequested = event.decode()?;
            // Whose turn it is, the row says.
            if requested.event_type == steps.begins_with {
                return Ok(Asks::Undo(requested.event_id));
            }
        }
        Ok(Asks::Nothing)
    }

    /// The process, if it is at this place.
    async fn find(&self, id: Uuid, place: Place) -> Result<Option<Case>, Outcome> {
        let found = self.steps.processes.find(id).await?;
        Ok(found.filter(|case| case.kind == self.steps.kind && case.place == place))
    }

    async fn begin(&self, event: &Received, cx: &mut Cx) -> Outcome {
        let envelope = event.envelope();
        let case = Case {
            id: envelope.id,
            kind: self.steps.kind.to_owned(),
            place: Place::doing(0),
            deadline: envelope.time + self.steps.within,
            begun_by: envelope.kind.clone(),
            key: envelope.key.clone(),
            workflow_id: envelope.workflow_id,
            correlation_id: envelope.correlation_id,
            subject: envelope.subject.clone(),
        };
        self.perform(&case, None, event, cx).await
    }

    /// Does it; `from` is where the row is, if there is one.
    async fn perform(
        &self,
        case: &Case,
        from: Option<Place>,
        event: &Received,
        cx: &mut Cx,
    ) -> Outcome {
        let last = cx.attempt() >= self.steps.max_attempts;
        let outcome = if self.steps.clock.now() >= case.deadline {
            Outcome::Undo(Code::new(DEADLINE_PASSED))
        } else if cx.attempt() > self.steps.max_attempts {
            Outcome::Undo(Code::new(ATTEMPTS_SPENT))
        } else {
            let asked = asked(case, event);
            let performed = AssertUnwindSafe(self.step.perform(&asked, cx)).catch_unwind();
            match performed.await {
                Ok(Outcome::GiveUp(why) | Outcome::Poison(why)) => {
                    self.told(case, &why);
                    Outcome::Undo(Code::new(GAVE_UP))
                }
                Ok(Outcome::Retry(why) | Outcome::RetryAfter(_, why)) if last => {
                    self.told(case, &why);
                    Outcome::Undo(Code::new(ATTEMPTS_SPENT))
                }
                Ok(outcome) => outcome,
                Err(_) if last => Outcome::Undo(Code::new(ATTEMPTS_SPENT)),
                Err(_) => Outcome::Retry("panicked".to_owned()),
            }
        };
        match outcome {
            Outcome::Undo(reason) => self.give_up(case, from, reason, cx),
            Outcome::Done | Outcome::DoneWith(_) => {
                let next = Place::doing(self.place() + 1);
                let is_last = self.index + 1 == self.steps.names.len();
                match (from, is_last) {
                    (None, true) => {}
                    (None, false) => self.write_begun(case, next, cx),
                    (Some(from), true) => drop(cx.write(self.steps.processes.end(case.id, from))),
                    (Some(from), false) => {
                        cx.write(self.steps.processes.advance(case.id, from, next));
                    }
                }
                cx.fact(&StepDone {
                    process: case.id,
                    kind: case.kind.clone(),
                    step: self.name().to_owned(),
                });
                outcome
            }
            later => later,
        }
    }

    /// Turns the process round. What the step left behind of its own is dropped.
    fn give_up(&self, case: &Case, from: Option<Place>, reason: Code, cx: &mut Cx) -> Outcome {
        cx.drop_effects();
        let back = Place::undoing(self.place());
        match from {
            None => self.write_begun(case, back, cx),
            Some(from) => drop(cx.write(self.steps.processes.advance(case.id, from, back))),
        }
        cx.fact(&UndoRequested {
            subscription: self.name().to_owned(),
            event_id: case.id,
            event_type: case.begun_by.clone(),
            reason,
        });
        Outcome::Done
    }

    async fn undo(&self, case: &Case, event: &Received, cx: &mut Cx) -> Outcome {
        let outcome = self.step.undo(&asked(case, event), cx).await;
        match outcome {
            Outcome::Done | Outcome::DoneWith(_) => {
                cx.write(match self.place().checked_sub(1) {
                    None => self.steps.processes.end(case.id, case.place),
                    Some(before) => {
                        let before = Place::undoing(before);
                        self.steps.processes.advance(case.id, case.place, before)
                    }
                });
                cx.fact(&StepUndone {
                    process: case.id,
                    kind: case.kind.clone(),
                    step: self.name().to_owned(),
                });
                outcome
            }
            Outcome::Undo(reason) => Outcome::GiveUp(format!("an undo cannot be undone: {reason}")),
            failed => failed,
        }
    }

    fn write_begun(&self, case: &Case, place: Place, cx: &mut Cx) {
        let case = Case {
            place,
            ..case.clone()
        };
        cx.write(self.steps.processes.begin(&case));
    }

    fn told(&self, case: &Case, why: &str) {
        tracing::warn!(
            step = self.name(), process = %case.id, why, "a step cannot be done; the process is undone"
        );
    }
}

fn asked(case: &Case, event: &Received) -> For {
    For {
        process: case.id,
        subject: case.subject.clone(),
        idempotency_key: event.idempotency_key(),
    }
}
