//! What a handler says of an event, and what it leaves behind.

use std::time::Duration;

use crate::Fault;
use crate::code::Code;
use crate::commit::Write;
use crate::envelope::Key;
use crate::event::{Body, DecodeError, Event, EventMeta};

/// A fact a handler raises: appended with actor `system`, caused by the event it handled, in the same workflow.
#[derive(Debug, Clone)]
pub struct Fact {
    pub meta: EventMeta,
    pub body: Body,
    /// `None`: the key of the event that was handled.
    pub key: Option<Key>,
}

impl Fact {
    pub fn of<E: Event>(event: &E) -> Result<Self, serde_json::Error> {
        Ok(Self {
            meta: E::META,
            body: event.encode()?,
            key: None,
        })
    }
}

/// What a handler leaves behind in our own database: committed before the event counts as done.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    pub writes: Vec<Write>,
    pub facts: Vec<Fact>,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.facts.is_empty()
    }
}

/// What a handler says of one event. A handler may also return nothing, which is `Done`, or a `Result` whose error says
/// one of these: a [`Fault`] is `Retry`.
#[derive(Debug, Clone)]
pub enum Outcome {
    Done,
    /// Done, with something to commit.
    DoneWith(Effects),
    /// Did not work now; try again. The text is for operators and must hold no secret and nothing personal.
    Retry(String),
    /// As `Retry`, not before this much time has passed.
    RetryAfter(Duration, String),
    /// Will never work: park it now.
    GiveUp(String),
    /// Cannot be read: park it now.
    Poison(String),
    /// Nothing is to be delivered until an operator resumes the subscription, this event first. It costs no attempt.
    Pause(String),
    /// Done, and what led to the event must be undone: an [`UndoRequested`](crate::events::UndoRequested) says so to
    /// whoever did a step of it. What the handler left behind is dropped.
    Undo(Code),
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Done
    }
}

impl From<Fault> for Outcome {
    fn from(fault: Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::Busy { retry_after, .. } => Self::RetryAfter(retry_after, text),
            _ => Self::Retry(text),
        }
    }
}

/// What was erased has nobody left to react for; what does not fit its type will not fit it tomorrow.
impl From<DecodeError> for Outcome {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Erased => Self::Done,
            error => Self::Poison(error.to_string()),
        }
    }
}

impl<T: Into<Self>, E: Into<Self>> From<Result<T, E>> for Outcome {
    fn from(result: Result<T, E>) -> Self {
        result.map_or_else(Into::into, Into::into)
    }
}

/// One delivery, as its handler sees it: which attempt it is, and what it leaves behind.
#[derive(Debug)]
pub struct Cx {
    attempt: u32,
    generation: u32,
    replay: bool,
    effects: Effects,
    broken: Option<String>,
}

impl Cx {
    pub fn new(attempt: u32) -> Self {
        Self {
            attempt,
            generation: 1,
            replay: false,
            effects: Effects::default(),
            broken: None,
        }
    }

    /// From 1. After a crash it may begin again.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Of a subscription that was replayed so often, or of a replay.
    pub(crate) fn of(self, generation: u32, replay: bool) -> Self {
        Self {
            generation,
            replay,
            ..self
        }
    }

    /// The generation of this delivery: 1 at first, and one more with each replay. Rows of a
    /// [`ReadModel`](super::ReadModel) carry it.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether an operator asked for the event to be delivered again.
    pub fn is_replay(&self) -> bool {
        self.replay
    }

    /// Adds a guarded write to our own database. It is committed exactly once, together with the fact that the event is
    /// done, when the handler says `Done`.
    pub fn write(&mut self, write: Write) -> &mut Self {
        self.effects.writes.push(write);
        self
    }

    /// Adds a fact, likewise: caused by the event, under its key, in the same workflow.
    pub fn fact<E: Event>(&mut self, event: &E) -> &mut Self {
        match Fact::of(event) {
            Ok(fact) => self.effects.facts.push(fact),
            Err(error) => self.broken = Some(error.to_string()),
        }
        self
    }

    /// Forgets what was added so far.
    pub(crate) fn drop_effects(&mut self) {
        self.effects = Effects::default();
    }

    /// What the handler said, with what it left here.
    pub(crate) fn conclude(self, outcome: Outcome) -> Outcome {
        let Self {
            mut effects,
            broken,
            ..
        } = self;
        let said = match outcome {
            Outcome::Done => Effects::default(),
            Outcome::DoneWith(said) => said,
            failed => return failed,
        };
        if let Some(error) = broken {
            return Outcome::GiveUp(format!("a fact of it cannot be written: {error}"));
        }
        effects.writes.extend(said.writes);
        effects.facts.extend(said.facts);
        if effects.is_empty() {
            Outcome::Done
        } else {
            Outcome::DoneWith(effects)
        }
    }
}
