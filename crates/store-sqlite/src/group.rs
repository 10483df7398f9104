//! Applies a group of commits in one SQLite transaction.
//!
//! **Cast.** Each commit of the group runs in a savepoint of its own; the head of the log moves once; one `COMMIT`, one
//! sync. `tip` is the head with what the open transaction has appended so far; `durable` is the head on the disk.
//!
//! **Guarantees.** A commit that misses a guard, or whose statement is wrong, is undone alone: it leaves no row, no
//! position and no link of the chain. An error that takes the transaction with it fails every commit of the group, and
//! `tip` is `durable` again. A guard is a write that touched another number of rows than expected, or ran into a
//! constraint: **a constraint is a guard**. Deferred constraints are not for this store: they would speak at `COMMIT`,
//! too late to tell whose they are, and fail the group.
//!
//! **Not guaranteed.** After a `COMMIT` that failed with an I/O error, whether the group is on the disk: it may reappear
//! when the database is opened again. Its callers are told that the store has stopped, not that nothing happened.

use std::sync::Arc;

use quivive_delivery::{
    Clock, CommitError, Committed, Expect, Fault, Head, Time, Transaction, Write,
};

use crate::append;
use crate::failure::{Reach, StatementError};
use crate::statements::Statements;

/// Most commits in one group. More would save little of the sync's cost and make the first wait for the last.
pub(crate) const GROUP: usize = 256;

pub(crate) type Answer = Result<Committed, CommitError>;

/// What an error undoes.
enum Undo {
    /// This commit; the transaction stands.
    One(CommitError),
    /// All commits of the group.
    Group(Fault),
}

pub(crate) struct Group<'c> {
    statements: Statements<'c>,
    clock: Arc<dyn Clock>,
    durable: Head,
    tip: Head,
}

impl<'c> Group<'c> {
    pub(crate) fn new(statements: Statements<'c>, clock: Arc<dyn Clock>, durable: Head) -> Self {
        Self {
            statements,
            clock,
            durable,
            tip: durable,
        }
    }

    /// The head as of the last `COMMIT`.
    pub(crate) fn durable(&self) -> Head {
        self.durable
    }

    /// Runs the commits in order and makes them durable. The answers are in the same order; an error is for all of them,
    /// and `Fault::Stopped` says that the store must not go on.
    pub(crate) fn run(
        &mut self,
        transactions: impl ExactSizeIterator<Item = Transaction>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Fault> {
        self.control("BEGIN IMMEDIATE")?;
        match self.apply_all(transactions, answers) {
            Ok(()) => {
                self.durable = self.tip;
                Ok(())
            }
            Err(fault) => {
                self.tip = self.durable;
                self.roll_back()?;
                Err(fault)
            }
        }
    }

    fn apply_all(
        &mut self,
        transactions: impl ExactSizeIterator<Item = Transaction>,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Fault> {
        let recorded_at = self.clock.now();
        let alone = transactions.len() == 1;
        let mut applied = false;
        for transaction in transactions {
            let outcome = if alone {
                self.apply(transaction, recorded_at)
            } else {
                self.apply_in_savepoint(transaction, recorded_at)
            };
            match outcome {
                Ok(committed) => {
                    applied = true;
                    answers.push(Ok(committed));
                }
                Err(Undo::One(error)) => answers.push(Err(error)),
                Err(Undo::Group(fault)) => return Err(fault),
            }
        }
        if applied {
            self.commit()
        } else {
            self.roll_back()
        }
    }

    fn apply_in_savepoint(
        &mut self,
        transaction: Transaction,
        recorded_at: Time,
    ) -> Result<Committed, Undo> {
        self.control("SAVEPOINT one").map_err(Undo::Group)?;
        let outcome = self.apply(transaction, recorded_at);
        if let Err(Undo::One(_)) = outcome {
            self.control("ROLLBACK TO one").map_err(Undo::Group)?;
        }
        if !matches!(outcome, Err(Undo::Group(_))) {
            self.control("RELEASE one").map_err(Undo::Group)?;
        }
        outcome
    }

    /// Moves `tip` only when all of it is in.
    fn apply(&mut self, transaction: Transaction, recorded_at: Time) -> Result<Committed, Undo> {
        for (index, write) in transaction.writes.iter().enumerate() {
            let missed = match (self.write(write), write.expect) {
                (Ok(touched), Expect::Rows(rows)) => touched != rows,
                (Ok(_), Expect::Any) => false,
                (Err(error), _) if Reach::of(&error) == Reach::Guard && self.stands() => true,
                (Err(error), _) => return Err(self.undo(&error, write.sql)),
            };
            if missed {
                return Err(Undo::One(CommitError::Missed(index)));
            }
        }
        // Where nothing is appended the answer is the head, as documented.
        let first_position = self.tip.position + u64::from(!transaction.records.is_empty());
        let mut tip = self.tip;
        for record in transaction.records {
            match append::append(&mut self.statements, tip, recorded_at, record) {
                Ok(moved) => tip = moved,
                Err(error) if Reach::of(&error) == Reach::Guard => {
                    let position = tip.position + 1;
                    return Err(Undo::Group(Fault::Stopped(format!(
                        "position {position} of the log is taken by an event that its head does not know"
                    ))));
                }
                Err(error) => return Err(self.undo(&error, "appending to the log")),
            }
        }
        self.tip = tip;
        Ok(Committed { first_position })
    }

    fn write(&mut self, write: &Write) -> Result<u64, StatementError> {
        let prepared = self.statements.get(write.sql)?;
        if prepared.only_reads() {
            // SQLite would report the rows of the statement before it.
            let text = format!("a commit's write only reads: {}", write.sql);
            return Err(StatementError::Misuse(text));
        }
        prepared.execute(&write.params)
    }

    /// After an error inside a commit: undo that commit alone when the error is its own and the transaction stands.
    fn undo(&self, error: &StatementError, doing: &str) -> Undo {
        let fault = error.fault(doing);
        match Reach::of(error) {
            Reach::Guard | Reach::Statement if self.stands() => Undo::One(fault.into()),
            _ => Undo::Group(fault),
        }
    }

    /// Some errors end the whole transaction inside SQLite.
    fn stands(&self) -> bool {
        !self.statements.connection().is_autocommit()
    }

    fn commit(&mut self) -> Result<(), Fault> {
        if self.tip.position != self.durable.position {
            let moved = append::move_head(&mut self.statements, self.durable, self.tip)
                .map_err(|error| error.fault("moving the head of the log"))?;
            if !moved {
                let why = "the head of the log was moved by another program";
                return Err(Fault::Stopped(why.to_owned()));
            }
        }
        self.step("COMMIT")
            .map_err(|error| match Reach::of(&error) {
                // A deferred constraint speaks before anything is written, and a full disk leaves an incomplete group, which
                // the next one overwrites. After any other error nobody can say.
                Reach::Guard | Reach::Busy | Reach::Space => error.fault("COMMIT"),
                Reach::Statement | Reach::Store => Fault::Stopped(error.describe("COMMIT")),
            })
    }

    fn roll_back(&mut self) -> Result<(), Fault> {
        if !self.stands() {
            return Ok(());
        }
        self.step("ROLLBACK")
            .map_err(|error| Fault::Stopped(error.describe("ROLLBACK")))
    }

    /// A statement that opens or closes part of the transaction. Without it the group cannot go on.
    fn control(&mut self, sql: &'static str) -> Result<(), Fault> {
        self.step(sql).map_err(|error| error.fault(sql))
    }

    fn step(&mut self, sql: &'static str) -> Result<(), StatementError> {
        self.statements.get(sql)?.execute(&[]).map(|_| ())
    }
}
