//! Dead letters: keys whose event would not work, parked until an operator decides.

use uuid::Uuid;

use crate::Time;
use crate::envelope::Key;

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
