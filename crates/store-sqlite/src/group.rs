//! Applies a group of commits in one SQLite transaction.
//!
//! **Cast.** The commits of a group run one after another in one transaction; the head of the log moves once; one
//! `COMMIT`, one sync. `tip` is the head with what the open transaction has appended so far; `durable` is the head on the
//! disk.
//!
//! **Flow.** Nearly every commit goes through, so a group first runs **swiftly**: without savepoints, and leaving out
//! rows that come and go inside it. When a commit that has changed something misses, the transaction is rolled back and
//! the group runs again **carefully**: every write is made, each commit in a savepoint of its own.
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
use crate::passing::{Passed, PassingRows};
use crate::statements::Statements;

/// Most commits in one group. More would save little of the sync's cost and make the first wait for the last.
pub(crate) const GROUP: usize = 256;

pub(crate) type Answer = Result<Committed, CommitError>;

/// What an error undoes.
enum Undo {
    /// Nothing: the commit had changed nothing yet.
    Nothing(CommitError),
    /// What this commit has changed; the transaction stands.
    One(CommitError),
    /// All commits of the group.
    Group(Fault),
}

/// How a swift run ended.
enum Swift {
    Done,
    /// A commit must be undone alone: run carefully.
    Again,
}

pub(crate) struct Group<'c> {
    statements: Statements<'c>,
    clock: Arc<dyn Clock>,
    durable: Head,
    tip: Head,
    recorded_at: Time,
}

impl<'c> Group<'c> {
    pub(crate) fn new(statements: Statements<'c>, clock: Arc<dyn Clock>, durable: Head) -> Self {
        Self {
            statements,
            clock,
            durable,
            tip: durable,
            recorded_at: Time::UNIX_EPOCH,
        }
    }

    /// The head as of the last `COMMIT`.
    pub(crate) fn durable(&self) -> Head {
        self.durable
    }

    /// When the last group was written, in whole microseconds as the log keeps it.
    pub(crate) fn recorded_at(&self) -> Time {
        self.recorded_at
    }

    /// Runs the commits in order and makes them durable. The answers are in the same order; an error is for all of them,
    /// and `Fault::Stopped` says that the store must not go on.
    pub(crate) fn run(
        &mut self,
        transactions: &[Transaction],
        answers: &mut Vec<Answer>,
    ) -> Result<(), Fault> {
        match self.apply_all(transactions, answers) {
            Ok(()) => {
                self.durable = self.tip;
                Ok(())
            }
            Err(fault) => {
                self.abandon()?;
                Err(fault)
            }
        }
    }

    fn apply_all(
        &mut self,
        transactions: &[Transaction],
        answers: &mut Vec<Answer>,
    ) -> Result<(), Fault> {
        let now = self.clock.now();
        self.recorded_at = Time::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let recorded_at = self.recorded_at;
        self.control("BEGIN IMMEDIATE")?;
        if let Swift::Again = self.swiftly(transactions, recorded_at, answers)? {
            answers.clear();
            self.abandon()?;
            self.control("BEGIN IMMEDIATE")?;
            self.carefully(transactions, recorded_at, answers)?;
        }
        if answers.iter().any(Result::is_ok) {
            self.commit()
        } else {
            self.abandon()
        }
    }

    fn swiftly(
        &mut self,
        transactions: &[Transaction],
        recorded_at: Time,
        answers: &mut Vec<Answer>,
    ) -> Result<Swift, Fault> {
        let mut passing = PassingRows::default();
        for transaction in transactions {
            match self.apply(transaction, recorded_at, Some(&mut passing)) {
                Ok(committed) => answers.push(Ok(committed)),
                // Alone in its group, a commit is undone with it.
                Err(Undo::One(_)) if transactions.len() > 1 => return Ok(Swift::Again),
                Err(Undo::Nothing(error) | Undo::One(error)) => {
                    passing.forget_last();
                    answers.push(Err(error));
                }
                Err(Undo::Group(fault)) => return Err(fault),
            }
            passing.keep_last();
        }
        for write in passing.left() {
            // A row that cannot be made after all: whose commit it was, the careful run finds out.
            match self.write(write) {
                Ok(1) => {}
                Ok(_) => return Ok(Swift::Again),
                Err(error) => match self.undo(&error, write.sql) {
                    Undo::Group(fault) => return Err(fault),
                    Undo::Nothing(_) | Undo::One(_) => return Ok(Swift::Again),
                },
            }
        }
        Ok(Swift::Done)
    }

    fn carefully(
        &mut self,
        transactions: &[Transaction],
        recorded_at: Time,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Fault> {
        for transaction in transactions {
            self.control("SAVEPOINT one")?;
            match self.apply(transaction, recorded_at, None) {
                Ok(committed) => answers.push(Ok(committed)),
                Err(Undo::Nothing(error) | Undo::One(error)) => {
                    self.control("ROLLBACK TO one")?;
                    answers.push(Err(error));
                }
                Err(Undo::Group(fault)) => return Err(fault),
            }
            self.control("RELEASE one")?;
        }
        Ok(())
    }

    /// Moves `tip` only when all of it is in.
    fn apply<'t>(
        &mut self,
        transaction: &'t Transaction,
        recorded_at: Time,
        mut passing: Option<&mut PassingRows<'t>>,
    ) -> Result<Committed, Undo> {
        let mut changed = false;
        for (index, write) in transaction.writes.iter().enumerate() {
            if let Some(passing) = passing.as_deref_mut() {
                match passing.take(write) {
                    Passed::LeftOut => continue,
                    Passed::MakeFirst(row) => {
                        let made = self.write(row);
                        let made = made.map_err(|error| self.undo(&error, row.sql))?;
                        changed = true;
                        if made != 1 {
                            return Err(Undo::One(CommitError::Missed(index)));
                        }
                    }
                    Passed::Make => {}
                }
            }
            let missed = match (self.write(write), write.expect) {
                (Ok(touched), expect) => {
                    changed |= touched > 0;
                    matches!(expect, Expect::Rows(rows) if touched != rows)
                }
                (Err(error), _) if Reach::of(&error) == Reach::Guard && self.stands() => true,
                (Err(error), _) => return Err(self.undo(&error, write.sql)),
            };
            if missed && changed {
                return Err(Undo::One(CommitError::Missed(index)));
            } else if missed {
                return Err(Undo::Nothing(CommitError::Missed(index)));
            }
        }
        // Where nothing is appended the answer is the head, as documented.
        let first_position = self.tip.position + u64::from(!transaction.records.is_empty());
        let mut tip = self.tip;
        for record in &transaction.records {
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
        Ok(Committed {
            first_position: Some(first_position),
        })
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

    /// Takes back what the open transaction has done, as far as it stands.
    fn abandon(&mut self) -> Result<(), Fault> {
        self.tip = self.durable;
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
