//! What was handled.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::event::Event;

/// Events that were handled though some before them were not yet, at most. They come from streams that are ahead of others.
pub(crate) const AHEAD_MOST: usize = 10_000;

/// What was handled: everything up to a position of the log, and some events after it. Written as text, `<epoch> <position>`
/// and the positions after it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Of the log; a restore raises it, and positions are others then. 0: not known yet.
    pub epoch: u64,
    /// Everything up to here was handled.
    pub position: u64,
    ahead: BTreeSet<u64>,
}

/// What is to be done with a message of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Take,
    /// It was handled, or is of a time before a restore.
    Drop,
    /// Something before it was not handled, and is in the log.
    ReadLog,
}

impl Cursor {
    /// Everything up to a position was handled, and nothing after it.
    pub fn at(epoch: u64, position: u64) -> Self {
        Self {
            epoch,
            position,
            ahead: BTreeSet::new(),
        }
    }

    /// Whether an event was handled.
    pub fn has(&self, position: u64) -> bool {
        position <= self.position || self.ahead.contains(&position)
    }

    /// Judges a message of the broker, which says what comes before it.
    pub fn judge(&self, event: &Event, previous: u64) -> Verdict {
        if event.epoch < self.epoch || self.has(event.position) {
            Verdict::Drop
        } else if event.epoch == self.epoch && self.has(previous) && self.ahead.len() < AHEAD_MOST {
            Verdict::Take
        } else {
            Verdict::ReadLog
        }
    }

    /// A message that was taken from the broker is handled.
    pub(crate) fn handled(&mut self, position: u64) {
        self.ahead.insert(position);
        self.settle();
    }

    /// Everything up to here is, for it was read from the log.
    pub(crate) fn handled_up_to(&mut self, position: u64) {
        self.position = self.position.max(position);
        self.ahead = self.ahead.split_off(&(self.position + 1));
        self.settle();
    }

    fn settle(&mut self) {
        while self.ahead.remove(&(self.position + 1)) {
            self.position += 1;
        }
    }
}

impl Display for Cursor {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.epoch, self.position)?;
        self.ahead
            .iter()
            .try_for_each(|ahead| write!(f, " {ahead}"))
    }
}

impl FromStr for Cursor {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.split_ascii_whitespace();
        let mut number = || numbers.next().unwrap_or_default().parse();
        let (epoch, position) = (number()?, number()?);
        let ahead = numbers.map(str::parse).collect::<Result<_, _>>()?;
        let mut cursor = Self {
            epoch,
            position,
            ahead,
        };
        cursor.handled_up_to(position);
        Ok(cursor)
    }
}
