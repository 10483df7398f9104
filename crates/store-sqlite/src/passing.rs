//! Rows that come with one commit and go with another of the same group: neither write needs to be made.
//!
//! **Guarantees.** A row is held back until the group ends, goes, or is looked at; then it is made or was never there. What
//! a commit that is undone did here is taken back with it.

use quivive_delivery::{Passing, Write};
use uuid::Uuid;

/// The rows that have come and not gone, by their ids. A handful; the newest is the likeliest to go next.
#[derive(Default)]
pub(crate) struct PassingRows<'t> {
    held: Vec<(Uuid, &'t Write)>,
    /// What the commit under way did, to be taken back when it fails.
    steps: Vec<Step<'t>>,
}

enum Step<'t> {
    Came(Uuid),
    Went(Uuid, &'t Write),
}

/// What to do with a write.
pub(crate) enum Passed<'t> {
    /// Make it.
    Make,
    /// It looks at a row that was held back: make that one first.
    MakeFirst(&'t Write),
    /// It has touched its one row, as far as anybody can see.
    LeftOut,
}

impl<'t> PassingRows<'t> {
    pub(crate) fn take(&mut self, write: &'t Write) -> Passed<'t> {
        match write.passing {
            None => Passed::Make,
            Some(Passing::Comes(id)) => {
                self.held.push((id, write));
                self.steps.push(Step::Came(id));
                Passed::LeftOut
            }
            Some(Passing::Goes(id)) => self.release(id).map_or(Passed::Make, |_| Passed::LeftOut),
            Some(Passing::Stays(id)) => self.release(id).map_or(Passed::Make, Passed::MakeFirst),
        }
    }

    fn release(&mut self, id: Uuid) -> Option<&'t Write> {
        let at = self.held.iter().rposition(|(held, _)| *held == id)?;
        let (_, write) = self.held.remove(at);
        self.steps.push(Step::Went(id, write));
        Some(write)
    }

    /// The commit under way is in.
    pub(crate) fn keep_last(&mut self) {
        self.steps.clear();
    }

    /// The commit under way is undone.
    pub(crate) fn forget_last(&mut self) {
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Came(id) => self.held.retain(|(held, _)| *held != id),
                Step::Went(id, write) => self.held.push((id, write)),
            }
        }
    }

    /// The rows that outlive the group.
    pub(crate) fn left(self) -> impl Iterator<Item = &'t Write> {
        self.held.into_iter().map(|(_, write)| write)
    }
}
