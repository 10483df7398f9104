//! The index of the log.

use quivive_delivery::{Stored, Write};
use uuid::Uuid;

use super::Read;

/// A keyed digest of something personal, short enough for an index: half of an HMAC-SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub [u8; 16]);

impl Tag {
    pub fn of(digest: &[u8; 32]) -> Self {
        let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *digest;
        Self(half)
    }
}

/// What events that are looked for have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criterion {
    /// By its dotted name.
    Type(String),
    /// As the envelope has it.
    Subject(String),
    Workflow(Uuid),
    Correlation(Uuid),
    Address(Tag),
    Ip(Tag),
}

/// One event, as the index has it.
#[derive(Debug, Clone, Copy)]
pub struct IndexEntry<'a> {
    pub event: &'a Stored,
    pub address: Option<Tag>,
    pub ip: Option<Tag>,
}

/// The index of the log. It is filled behind the log, so the newest events are not in it yet.
pub trait EventIndex: Send + Sync {
    /// Everything up to this position is in it.
    fn reaches(&self) -> Read<'_, u64>;

    /// Where the event of that id is, however new it is.
    fn position_of(&self, id: Uuid) -> Read<'_, Option<u64>>;

    /// The events of a workflow or of a chain of causes, oldest first, at most `limit`, however new they are.
    fn related(&self, id: Related, limit: u32) -> Read<'_, Vec<Stored>>;

    /// Those of its events below a position that meet the criterion, newest first, at most `limit`.
    fn search(&self, criterion: &Criterion, below: u64, limit: u32) -> Read<'_, Vec<Stored>>;

    /// Adds what follows `after`, where it must reach to, and is dense. Misses when it reaches elsewhere.
    fn fill(&self, after: u64, entries: &[IndexEntry<'_>]) -> Vec<Write>;

    /// Takes the tags off the events about somebody, as the envelope has it: they are not found by address or source any more.
    fn forget(&self, subject: &str) -> Write;
}

/// What holds events together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Related {
    Workflow(Uuid),
    Correlation(Uuid),
}
