//! A commit: guarded state writes plus events, applied together or not at all.
//!
//! A caller never holds a transaction open. It reads, decides, and hands over one finished [`Transaction`]; each write
//! states how many rows it must touch, and a write that misses undoes the whole.

use std::borrow::Cow;

use uuid::Uuid;

use crate::clock::Time;
use crate::log::Record;

/// A bound parameter or a column read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    Text(Cow<'static, str>),
    Blob(Vec<u8>),
    /// A UUID, stored as its 16 bytes.
    Id(Uuid),
    /// A SHA-256 or HMAC output, stored as its 32 bytes.
    Digest([u8; 32]),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Id(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

impl From<&'static str> for Value {
    fn from(value: &'static str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl From<[u8; 32]> for Value {
    fn from(value: [u8; 32]) -> Self {
        Self::Digest(value)
    }
}

/// Stored as microseconds since 1970.
impl From<Time> for Value {
    fn from(value: Time) -> Self {
        Self::Int(value.as_microsecond())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// How many rows a write must touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Exactly this many; any other number is a miss, and the whole transaction is undone.
    Rows(u64),
    /// However many there are: for "end all of them" statements, whose effect is right at zero too.
    Any,
}

/// What a write does to a row that comes with one commit and goes with another soon after, such as an attempt under way.
///
/// A store that applies both commits in one group may leave out both writes: outside the group the row was never there. So
/// no other write may look at such a row, and the id is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    Comes(Uuid),
    Stays(Uuid),
    Goes(Uuid),
}

/// One statement with its parameters and the number of rows it must touch.
#[derive(Debug, Clone)]
pub struct Write {
    pub sql: &'static str,
    pub params: Vec<Value>,
    pub expect: Expect,
    pub passing: Option<Passing>,
}

impl Write {
    /// A write that must touch exactly one row: the compare-and-set that everything single-use stands on.
    pub fn one(sql: &'static str, params: Vec<Value>) -> Self {
        Self {
            sql,
            params,
            expect: Expect::Rows(1),
            passing: None,
        }
    }

    /// A write that must touch exactly this many rows.
    pub fn rows(sql: &'static str, params: Vec<Value>, rows: u64) -> Self {
        Self {
            expect: Expect::Rows(rows),
            ..Self::one(sql, params)
        }
    }

    /// A write that may touch any number of rows.
    pub fn any(sql: &'static str, params: Vec<Value>) -> Self {
        Self {
            sql,
            params,
            expect: Expect::Any,
            passing: None,
        }
    }

    /// Says what it does to a passing row: the one row it touches.
    #[must_use]
    pub fn passing(self, passing: Passing) -> Self {
        Self {
            passing: Some(passing),
            ..self
        }
    }
}

/// Writes and log records that become durable together, or not at all. The writes run first, in order.
#[derive(Debug, Default)]
pub struct Transaction {
    pub writes: Vec<Write>,
    pub records: Vec<Record>,
}
