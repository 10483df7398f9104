//! A place in the feed, as readers keep it, and what becomes of one that means nothing any more.

use std::fmt;

use quivive_delivery::{Fault, Head, Log};

use crate::problem::{Code, Problem};
use crate::routes::query::number;

/// A position, and the epoch of the log in which it is one, where that is known. Written `345` or `1-345`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub epoch: Option<u64>,
    pub position: u64,
}

impl Cursor {
    pub(super) fn read(text: &str) -> Option<Self> {
        let (epoch, position) = match text.split_once('-') {
            Some((epoch, position)) => (Some(number(epoch)?), position),
            None => (None, text),
        };
        Some(Self {
            epoch,
            position: number(position)?,
        })
    }

    /// The position, if there is such a place. One after the head is let through: a reader may have heard of an event
    /// before we have.
    pub(super) fn place(self, head: Head) -> Result<u64, Problem> {
        if let Some(epoch) = self.epoch.filter(|epoch| *epoch != head.epoch) {
            return Err(of_another_epoch(epoch, head.epoch));
        }
        if self.position > head.position + 1 {
            return Err(Problem::new(Code::InvalidCursor));
        }
        Ok(self.position)
    }
}

/// The head for who reads on from a place. One that this node has not heard of yet may be another's: the log is asked.
pub(super) async fn head_for(log: &dyn Log, place: Option<Cursor>) -> Result<Head, Fault> {
    let head = *log.head().borrow();
    if place.is_none_or(|cursor| cursor.position <= head.position) {
        return Ok(head);
    }
    log.confirmed().await?;
    let head = *log.head().borrow();
    Ok(head)
}

/// As it is kept for the next time.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(epoch) = self.epoch {
            write!(f, "{epoch}-")?;
        }
        write!(f, "{}", self.position)
    }
}

fn of_another_epoch(kept: u64, now: u64) -> Problem {
    let detail = format!(
        "The cursor is of epoch {kept}, and since a restore the log is in epoch {now}: its positions are others. \
        Read again from `after=0` with `epoch={now}`, and skip the events whose `id` you have."
    );
    Problem::with_detail(Code::CursorExpired, detail)
}

/// Why the log was not read from a place.
pub(super) enum Unread {
    /// The log begins behind it: some events in between are held no more.
    Expired {
        after: u64,
        oldest: u64,
        epoch: u64,
    },
    Fault(Fault),
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Unread> for Problem {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Expired {
                after,
                oldest,
                epoch,
            } => {
                let before = oldest - 1;
                let detail = format!(
                    "The events from {} to {before} are held no more: the cursor is older than the log. Take them from \
                    the archive, and go on with `after={before}` and `epoch={epoch}`.",
                    after + 1,
                );
                Self::with_detail(Code::CursorExpired, detail)
            }
            Unread::Fault(fault) => Self::of_fault(&fault),
        }
    }
}

/// Whether the log still has what comes after a place. The start is wherever the log begins.
pub(super) async fn held(log: &dyn Log, after: u64, head: Head) -> Result<(), Unread> {
    if after == 0 || after >= head.position {
        return Ok(());
    }
    let first = log.read(after, 1).await?;
    follows(after, first.first().map(|event| event.position), head)
}

/// Whether an event is the one after a place, where there must be one.
pub(super) fn follows(after: u64, found: Option<u64>, head: Head) -> Result<(), Unread> {
    // Where nothing is left, the log goes on after its head.
    let found = found.unwrap_or(head.position + 1);
    if after == 0 || found == after + 1 {
        return Ok(());
    }
    Err(Unread::Expired {
        after,
        oldest: found,
        epoch: head.epoch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_written_as_it_is_read() {
        for text in ["0", "345", "1-345", "12-0"] {
            assert_eq!(Cursor::read(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "-",
            "-1",
            "1-",
            "+1",
            "1-+1",
            "x",
            "1-2-3",
            "99999999999999999999",
        ] {
            assert_eq!(Cursor::read(text), None, "{text}");
        }
    }
}
