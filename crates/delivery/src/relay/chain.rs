//! The last position of each shard.

use std::fmt::{self, Display, Formatter};

use crate::envelope::{Key, Stored};

/// The place of one event in its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub shard: u32,
    /// Who has all events of the shard up to here, has all before this one.
    pub previous: u64,
}

/// What links each event to the one before it in its shard. It follows from the log, from the position where it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Everything up to here is in it.
    position: u64,
    last: Vec<u64>,
}

impl Chain {
    /// One that begins behind a position: of what came up to it, nothing is known.
    pub fn at(position: u64, shards: u32) -> Self {
        Self {
            position,
            last: vec![position; shards as usize],
        }
    }

    /// As it was written. `None` when that is no chain of so many shards: then it begins anew, and consumers who have not
    /// everything up to there read the log.
    pub fn read(text: &str, shards: u32) -> Option<Self> {
        let mut numbers = text.split(' ').map(str::parse);
        let position = numbers.next()?.ok()?;
        let last = numbers.collect::<Result<Vec<_>, _>>().ok()?;
        (last.len() == shards as usize).then_some(Self { position, last })
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes the next event. Where there are others between it and the last one, or it was taken before, the chain begins
    /// anew before it.
    pub fn follow(&mut self, event: &Stored) -> Link {
        let before = event.position - 1;
        if self.position != before {
            self.last.fill(before);
        }
        self.position = event.position;
        let shards = u32::try_from(self.last.len()).unwrap_or(u32::MAX);
        let shard = shard_of(&event.envelope.key, shards);
        let previous = std::mem::replace(&mut self.last[shard as usize], event.position);
        Link { shard, previous }
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.position)?;
        self.last.iter().try_for_each(|last| write!(f, " {last}"))
    }
}

/// FNV-1a of 64 bits over the key: spreads keys evenly and is the same in every version of this program.
fn shard_of(key: &Key, shards: u32) -> u32 {
    let hash = key
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    u32::try_from(hash % u64::from(shards)).unwrap_or_default()
}
