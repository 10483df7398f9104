//! What an operator may decide of a running engine.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::machine::{Fate, Input, Letters, Order, Wish};
use super::running::Running;
use crate::envelope::Actor;
use crate::subscriber::Choice;

/// Who decides, and in which workflow: what is decided is told as a fact of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decider {
    pub actor: Actor,
    pub workflow_id: Uuid,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
}

/// Why a decision was not taken. Nothing of it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Declined {
    #[error("there is no such subscription")]
    NotFound,
    /// It is paused already, or not paused; no dead letter is meant.
    #[error("there is nothing to do")]
    WrongState,
    #[error("too many dead letters are being decided about: ask again when they are")]
    Busy,
    #[error("the engine is stopping")]
    Stopping,
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
    pub fn dead_letters(&self, name: &str, choice: &Choice) -> Result<u64, Declined> {
        let shared = self.subscription(name).ok_or(Declined::NotFound)?;
        Ok(shared.machine().count_letters(choice))
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

    async fn ask(&self, name: &str, wish: Wish) -> Result<u64, Declined> {
        let shared = self.subscription(name).ok_or(Declined::NotFound)?;
        let answered = shared.order(wish);
        answered.await.unwrap_or(Err(Declined::Stopping))
    }
}
