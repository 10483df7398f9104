//! Accounts from a file: NDJSON, CSV, or what Django's `dumpdata` prints. Read in groups; what is wrong with one is told by its
//! place, and the others go on.
//!
//! Memory is bounded whatever the file: a record has at most 64 KiB, a group [`GROUP`] records.

mod person;
mod records;

use std::fmt;
use std::io::Read;

use quivive_delivery::Time;
use quivive_domain::Account;

use crate::ports::PasswordHasher;
use records::Records;

/// Accounts that become one commit. So many share a sync, and whoever else has something to write waits some ten
/// milliseconds for them.
pub const GROUP: usize = 500;

/// Where in its file a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Of the record's beginning, from 1.
    pub line: u64,
    /// Which one of an array it is, from 1: they may all be on one line.
    pub entry: Option<u64>,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Some(entry) => write!(f, "entry {entry} (line {})", self.line),
            None => write!(f, "line {}", self.line),
        }
    }
}

/// What is wrong with one record, and what to do about it. Repeats no address and no hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    pub at: At,
    pub field: Option<String>,
    pub message: String,
}

/// The file cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// Some of the file.
#[derive(Debug, Default)]
pub struct Group {
    /// In the order of the file, each with its place; accounts without ids.
    pub records: Vec<Result<(At, Account), Flaw>>,
    /// How much of the file was read up to here.
    pub read_bytes: u64,
}

/// Reads a file to its end and hands it over in groups, until `take` says false or nothing more can be read, which is told
/// the same way. Blocks.
pub fn read(
    input: impl Read,
    hasher: &dyn PasswordHasher,
    now: Time,
    mut take: impl FnMut(Result<Group, Unreadable>) -> bool,
) {
    let mut records = Records::new(input);
    let mut group = Group::default();
    while let Some(record) = records.next() {
        let record = match record {
            Ok(record) => record,
            Err(unreadable) => {
                // What was whole before it counts.
                if take(Ok(group)) {
                    take(Err(unreadable));
                }
                return;
            }
        };
        let account = person::read(&record, hasher, now);
        group
            .records
            .push(account.map(|account| (record.at, account)));
        if group.records.len() == GROUP {
            group.read_bytes = records.read_bytes();
            if !take(Ok(std::mem::take(&mut group))) {
                return;
            }
        }
    }
    group.read_bytes = records.read_bytes();
    take(Ok(group));
}

#[cfg(test)]
mod tests;
