//! Dead letters: keys whose event would not work, parked until an operator decides.

use uuid::Uuid;

use super::stored::StoredLane;
use crate::envelope::Key;
use crate::{BoxFuture, Fault, Time};

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// It may work later. Parked, its attempts or its time are spent.
    Transient,
    /// The target asked for time.
    RateLimited,
    /// The handler gave up.
    Permanent,
    /// It cannot be read, made the handler panic twice, or ended the process.
    Poison,
}

impl ErrorClass {
    pub const ALL: [Self; 4] = [
        Self::Transient,
        Self::RateLimited,
        Self::Permanent,
        Self::Poison,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::RateLimited => "rate_limited",
            Self::Permanent => "permanent",
            Self::Poison => "poison",
        }
    }

    /// The class that has this code.
    pub fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.code() == code)
    }
}

/// Which dead letters of a subscription: those that fit everything that is given. Nothing given, all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    pub key: Option<Key>,
    /// Of the event that was parked, not of one that waits behind it.
    pub event_id: Option<Uuid>,
    /// The same event's.
    pub event_type: Option<String>,
    pub error_class: Option<ErrorClass>,
    /// Parked at this time or later.
    pub since: Option<Time>,
    /// Parked before this.
    pub until: Option<Time>,
}

/// A dead letter as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub subscription: String,
    pub lane: StoredLane,
}

/// Dead letters that have something in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterGroup {
    pub subscription: String,
    pub error_class: ErrorClass,
    pub event_type: String,
    pub count: u64,
    /// When the first of them was parked.
    pub oldest: Time,
}

/// Where dead letters are looked at. The database may lag behind a running engine by a moment.
pub trait DeadLetters: Send + Sync {
    /// Dead letters of one subscription, or of all, that are meant: in the order of subscription and key, those after
    /// `after`, at most `limit`.
    fn dead_letters(
        &self,
        subscription: Option<&str>,
        choice: &Choice,
        after: Option<&(String, Key)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, Fault>>;

    /// How many there are of each kind.
    fn dead_letter_groups(
        &self,
        subscription: Option<&str>,
        choice: &Choice,
    ) -> BoxFuture<'_, Result<Vec<DeadLetterGroup>, Fault>>;
}
