//! What an operator may decide of a running engine.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use super::machine::{Fate, Input, Letters, Order, Wish};
use super::running::Running;
use crate::fault::Fault;
use crate::log::CommitError;
use crate::subscriber::{Choice, Order as Sequence, StoredLane};

/// Who decides, and in which workflow: what is decided is told as a fact of that, by the engine, which does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decider {
    /// Nil: whoever is at the command line.
    pub by: Uuid,
    pub workflow_id: Uuid,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
}

/// Why a decision was not taken. Nothing of it happened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Declined {
    #[error("there is no such subscription")]
    NotFound,
    /// It is paused already, or not paused, or a view, which goes on for ever; no dead letter is meant; it may not be replayed, or
    /// is being so.
    #[error("there is nothing to do")]
    WrongState,
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl Declined {
    /// Too many dead letters are being decided about.
    pub(super) fn busy() -> Self {
        Self::Fault(Fault::Busy {
            what: "decisions about dead letters",
            retry_after: Duration::from_mins(1),
        })
    }

    /// The node that has the subscription does not hand it over.
    pub(super) fn elsewhere() -> Self {
        Self::Fault(Fault::Busy {
            what: "the node that has the subscription",
            retry_after: Duration::from_secs(10),
        })
    }

    pub(super) fn of(error: CommitError) -> Self {
        match error {
            CommitError::Fault(fault) => Self::Fault(fault),
            missed @ CommitError::Missed(_) => Self::Fault(Fault::internal(missed)),
        }
    }

    pub(super) fn stopping() -> Self {
        Self::Fault(Fault::Busy {
            what: "the engine, which is stopping,",
            retry_after: Duration::from_secs(30),
        })
    }
}

/// Orders that the runner has not seen, and those who wait for an answer.
#[derive(Default)]
pub(super) struct Orders(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    number: u64,
    closed: bool,
    inputs: Vec<Input>,
    answers: HashMap<u64, oneshot::Sender<Result<u64, Declined>>>,
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, wish: Wish) -> oneshot::Receiver<Result<u64, Declined>> {
        let (answer, answered) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.closed {
            return answered;
        }
        waiting.number += 1;
        let number = waiting.number;
        waiting.inputs.push(Input::Order(Order { number, wish }));
        waiting.answers.insert(number, answer);
        answered
    }

    pub(super) fn take(&self, inputs: &mut Vec<Input>) {
        inputs.append(&mut self.lock().inputs);
    }

    pub(super) fn answer(&self, order: u64, answer: Result<u64, Declined>) {
        if let Some(waits) = self.lock().answers.remove(&order) {
            // Whoever went away does not want it.
            let _ = waits.send(answer);
        }
    }

    /// Nobody answers any more.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.answers.clear();
    }
}

fn letters(choice: Choice, fate: Fate, by: Decider) -> Wish {
    Wish::Letters(Box::new(Letters { choice, fate, by }))
}

/// What waits behind a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Behind {
    pub count: usize,
    /// There may be more: not all was looked at.
    pub more: bool,
}

/// Positions behind a dead letter that are looked at, a tenth of a second of a reader; and events that are counted.
const BEHIND_POSITIONS: u64 = 100_000;
const BEHIND_EVENTS: usize = 1_000;

impl Running {
    /// Begins nothing for this subscription until it is resumed, also after a restart.
    pub async fn pause(&self, name: &str) -> Result<(), Declined> {
        self.ask(name, Wish::Pause).await.map(drop)
    }

    /// Goes on.
    pub async fn resume(&self, name: &str) -> Result<(), Declined> {
        self.ask(name, Wish::Resume).await.map(drop)
    }

    /// How many dead letters are meant.
    pub async fn dead_letters(&self, name: &str, choice: &Choice) -> Result<u64, Declined> {
        let shared = self.bring(name).await?;
        let count = shared.machine().count_letters(choice);
        Ok(count)
    }

    /// Delivers dead letters again, each with the attempts of a new event, and after it what waits behind it, in order;
    /// `per_second` keys at most, where that is given. Answers with how many are meant, when the first of them are in the
    /// database with [`DeadLettersRedriven`](crate::events::DeadLettersRedriven). The others follow; a stop of the process
    /// leaves those that were not come to parked, and asking again goes on with them.
    pub async fn redrive(
        &self,
        name: &str,
        choice: Choice,
        per_second: Option<NonZeroU32>,
        by: Decider,
    ) -> Result<u64, Declined> {
        let fate = Fate::Redrive(per_second);
        self.ask(name, letters(choice, fate, by)).await
    }

    /// Passes over the event of each dead letter, for good; what waits behind it is next. Answers as
    /// [`Running::redrive`], with [`DeadLettersDiscarded`](crate::events::DeadLettersDiscarded).
    pub async fn discard(
        &self,
        name: &str,
        choice: Choice,
        reason: String,
        by: Decider,
    ) -> Result<u64, Declined> {
        let fate = Fate::Discard(reason);
        self.ask(name, letters(choice, fate, by)).await
    }

    /// How many events that it wants wait behind a dead letter. Looks at a bounded part of the log.
    pub async fn behind(&self, name: &str, letter: &StoredLane) -> Result<Behind, Declined> {
        let (order, selection, left) = if let Some(shared) = self.roster.find(name) {
            let machine = shared.machine();
            let left = machine.left_to(&letter.key);
            (shared.order, machine.selection().clone(), left)
        } else {
            let known = self.roster.known_of(name);
            let (known, selection) = known.ok_or(Declined::NotFound)?;
            let elsewhere = self.roster.elsewhere_of(name);
            let left = elsewhere.map(|status| status.stored.position);
            (known.order, selection, left)
        };
        let from = letter.position;
        let (Sequence::Key, Some(left)) = (order, left) else {
            return Ok(Behind::default());
        };
        let upto = left.min(from.saturating_add(BEHIND_POSITIONS));
        let events = self
            .tools
            .subscriptions
            .backlog(std::slice::from_ref(&letter.key), from, upto, BEHIND_EVENTS)
            .await?;
        let wanted = events.iter().filter(|event| selection.takes(event));
        Ok(Behind {
            count: wanted.count(),
            more: upto < left || events.len() == BEHIND_EVENTS,
        })
    }

    async fn ask(&self, name: &str, wish: Wish) -> Result<u64, Declined> {
        self.bring(name).await?;
        // One that goes over to another generation answers no more: it does not, until this is answered.
        let _stays = self.roster.changing.read().await;
        let shared = self.roster.find(name).ok_or(Declined::NotFound)?;
        let answered = shared.ask(wish);
        answered.await.unwrap_or_else(|_| Err(Declined::stopping()))
    }
}
