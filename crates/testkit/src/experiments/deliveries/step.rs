//! The steps of a delivery, and what must be done for the server to come to one.

use std::fmt;

use super::found::STATISTICS;
use super::subject::LEDGER;

/// Where a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Before the log is read.
    Read,
    Handler(Role, Moment),
    Commit(What, Moment),
}

/// Before or after: of a handler, when it has begun, and when it has done its work and has not said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    After,
}

/// Whose handler it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It writes to our database.
    Ledger,
    /// It tells somebody outside.
    Outside,
    /// It does so for several events at once.
    Together,
    /// The customer relations, called by a step of a process.
    Crm,
}

/// What a commit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// An event is about to be begun with caution.
    Mark,
    Cursor,
    /// What a handler wrote.
    Effect,
    /// A key waits for another try.
    Lane,
    /// An event is parked.
    Parked,
    /// An operator has dead letters delivered again.
    Redriven,
    /// What a handler wrote for an event that was a dead letter, or had waited behind one.
    LateEffect,
    Discarded,
    /// The statistics count a sign-in.
    Statistics,
    ReplayBegun,
    ReplayEffect,
    ReplayEnded,
    /// A read model was rebuilt and takes the place of the old one.
    Rebuilt,
    ProcessStep,
    /// A process turns round, or a step of it was undone.
    ProcessUndo,
}

/// What is done over and over until the step is come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Events,
    SignIns,
    /// Events that are parked, then decided about.
    Decisions(Decision),
    Replays(&'static str),
    /// People who confirm their address, some of whom the customer relations refuse.
    Accounts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Redrive,
    Discard,
}

impl Step {
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Self::Read];
        for moment in [Moment::Before, Moment::After] {
            all.extend(Role::ALL.map(|role| Self::Handler(role, moment)));
            all.extend(What::ALL.map(|what| Self::Commit(what, moment)));
        }
        all
    }

    /// Whether it is come to only while it is not known what ended the last run.
    pub(super) fn is_of_the_start(self) -> bool {
        matches!(self, Self::Commit(What::Mark, _))
    }

    pub(super) fn work(self) -> Work {
        match self {
            Self::Read | Self::Handler(Role::Ledger | Role::Outside | Role::Together, _) => {
                Work::Events
            }
            Self::Handler(Role::Crm, _) => Work::Accounts,
            Self::Commit(what, _) => match what {
                What::Mark | What::Cursor | What::Effect | What::Lane => Work::Events,
                What::Parked | What::Redriven | What::LateEffect => {
                    Work::Decisions(Decision::Redrive)
                }
                What::Discarded => Work::Decisions(Decision::Discard),
                What::Statistics => Work::SignIns,
                What::ReplayBegun | What::ReplayEffect | What::ReplayEnded => Work::Replays(LEDGER),
                What::Rebuilt => Work::Replays(STATISTICS),
                What::ProcessStep | What::ProcessUndo => Work::Accounts,
            },
        }
    }

    /// As an argument.
    pub(super) fn number(self) -> usize {
        let found = Self::all().into_iter().position(|step| step == self);
        found.unwrap_or_default()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read => f.write_str("before a read of the log"),
            Self::Handler(role, Moment::Before) => write!(f, "{} begun", role.name()),
            Self::Handler(role, Moment::After) => write!(f, "{} done", role.name()),
            Self::Commit(what, Moment::Before) => write!(f, "before commit: {}", what.name()),
            Self::Commit(what, Moment::After) => write!(f, "after commit: {}", what.name()),
        }
    }
}

impl Role {
    const ALL: [Self; 4] = [Self::Ledger, Self::Outside, Self::Together, Self::Crm];

    fn name(self) -> &'static str {
        match self {
            Self::Ledger => "transactional handler",
            Self::Outside => "outside handler",
            Self::Together => "batch handler",
            Self::Crm => "call of a process",
        }
    }
}

impl What {
    const ALL: [Self; 15] = [
        Self::Mark,
        Self::Cursor,
        Self::Effect,
        Self::Lane,
        Self::Parked,
        Self::Redriven,
        Self::LateEffect,
        Self::Discarded,
        Self::Statistics,
        Self::ReplayBegun,
        Self::ReplayEffect,
        Self::ReplayEnded,
        Self::Rebuilt,
        Self::ProcessStep,
        Self::ProcessUndo,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Mark => "mark",
            Self::Cursor => "cursor",
            Self::Effect => "effect",
            Self::Lane => "lane",
            Self::Parked => "parking",
            Self::Redriven => "redrive",
            Self::LateEffect => "effect of a dead letter",
            Self::Discarded => "discard",
            Self::Statistics => "statistics",
            Self::ReplayBegun => "begin of a replay",
            Self::ReplayEffect => "effect of a replay",
            Self::ReplayEnded => "end of a replay",
            Self::Rebuilt => "swap of a read model",
            Self::ProcessStep => "step of a process",
            Self::ProcessUndo => "undo of a process",
        }
    }
}

/// When a process kills itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kill {
    Never,
    At {
        step: Step,
        /// The so-manieth time that it comes to the step.
        nth: u64,
        /// Not before everything that the last run left is delivered.
        patient: bool,
    },
    /// Whenever it handles the event with this key.
    Key(&'static str),
}

/// The key of an event whose handler ends the process.
pub(super) const DEADLY: &str = "deadly";

impl Kill {
    pub(super) fn args(self) -> Vec<String> {
        match self {
            Self::Never => vec!["never".to_owned()],
            Self::Key(_) => vec!["deadly".to_owned()],
            Self::At { step, nth, patient } => {
                let numbers = [step.number() as u64, nth, u64::from(patient)];
                let numbers = numbers.map(|number| number.to_string());
                ["at".to_owned()].into_iter().chain(numbers).collect()
            }
        }
    }

    pub(super) fn parse(args: &[String]) -> Option<Self> {
        let (word, numbers) = args.split_first()?;
        let numbers: Vec<u64> = numbers.iter().flat_map(|it| it.parse()).collect();
        match (word.as_str(), numbers.as_slice()) {
            ("never", []) => Some(Self::Never),
            ("deadly", []) => Some(Self::Key(DEADLY)),
            ("at", [step, nth, patient]) => Some(Self::At {
                step: *Step::all().get(usize::try_from(*step).ok()?)?,
                nth: *nth,
                patient: *patient == 1,
            }),
            _ => None,
        }
    }
}
