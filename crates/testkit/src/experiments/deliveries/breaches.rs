//! What must not be, counted: of events that were noted in our database, and of what was told outside.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::ops::{Add, AddAssign};
use std::path::Path;

/// What must be nothing, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Breaches {
    /// Events that somebody should have got and has not; events that were acknowledged and are not in the log.
    pub(super) undelivered: u64,
    /// Effects in our database that are there more than once, or without their event.
    pub(super) twice: u64,
    /// Events that came before an earlier one of their key.
    pub(super) disorder: u64,
    /// Decisions of operators that were answered for and are not there, or that were taken more than once.
    pub(super) decisions: u64,
}

impl Breaches {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Add for Breaches {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            undelivered: self.undelivered + other.undelivered,
            twice: self.twice + other.twice,
            disorder: self.disorder + other.disorder,
            decisions: self.decisions + other.decisions,
        }
    }
}

impl AddAssign for Breaches {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// What was told outside: a file that grows.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    read: u64,
    /// The highest position of each key.
    highest: HashMap<String, u64>,
    /// The last position of each key in this run of the server.
    last: HashMap<String, u64>,
    /// The idempotency key under which each position came.
    pub(super) told: HashMap<u64, String>,
    pub(super) lines: u64,
    pub(super) disorder: u64,
    /// Told again under another idempotency key.
    renamed: u64,
}

impl Sequence {
    /// Reads on, after a run of the server has ended.
    pub(super) fn read(&mut self, file: &Path) {
        let Ok(mut file) = File::open(file) else {
            return;
        };
        let mut text = String::new();
        let _ = file.seek(SeekFrom::Start(self.read));
        file.read_to_string(&mut text).expect("lines");
        self.read += text.len() as u64;
        self.run_ended();
        // A line that the kill cut off was not written: its event comes again.
        for line in text.split_inclusive('\n') {
            if let Some(line) = line.strip_suffix('\n') {
                self.line(line);
            }
        }
    }

    pub(super) fn run_ended(&mut self) {
        self.last.clear();
    }

    fn line(&mut self, line: &str) {
        let [key, position, name] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line:?} is no line of it");
        };
        self.told(key, position.parse().expect("a position"), name);
    }

    /// After a crash events come again, from an earlier one on. But none comes for the first time after a later one of its
    /// key, and in one run none after itself or a later one.
    pub(super) fn told(&mut self, key: &str, position: u64, name: &str) {
        self.lines += 1;
        let is_new = !self.told.contains_key(&position);
        let known = self.told.entry(position).or_insert_with(|| name.to_owned());
        self.renamed += u64::from(known != name);
        let highest = self.highest.entry(key.to_owned()).or_default();
        let last = self.last.entry(key.to_owned()).or_default();
        let late = (is_new && position < *highest) || position <= *last;
        self.disorder += u64::from(late);
        *highest = position.max(*highest);
        *last = position;
    }

    /// Compares it with the events that should have come.
    pub(super) fn breaches(&self, wanted: &HashMap<String, Vec<u64>>) -> Breaches {
        let missing = |position: &&u64| !self.told.contains_key(position);
        Breaches {
            undelivered: wanted.values().flatten().filter(missing).count() as u64,
            twice: self.renamed,
            disorder: self.disorder,
            ..Breaches::default()
        }
    }
}

/// Positions that were noted, against those that should be.
pub(super) fn noted(wanted: &[u64], noted: &[u64]) -> Breaches {
    let mut times = HashMap::<u64, u64>::new();
    for position in noted {
        *times.entry(*position).or_default() += 1;
    }
    let known: HashSet<_> = wanted.iter().collect();
    let twice = times.iter().map(|(position, times)| {
        if known.contains(position) {
            times - 1
        } else {
            *times
        }
    });
    Breaches {
        undelivered: wanted.iter().filter(|it| !times.contains_key(it)).count() as u64,
        twice: twice.sum(),
        disorder: noted.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64,
        ..Breaches::default()
    }
}
