//! Counters of password guesses, and what they are kept for.

use quivive_delivery::{Time, Write};
use quivive_domain::guess::{GuessPolicy, Guesses as GuessCounters};
use quivive_domain::{DeviceId, UserId};
use uuid::Uuid;

use super::{Device, Read};

/// What a guess is counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Account(UserId),
    Device(DeviceId),
    /// An address that belongs to no account, by its digest: counted all the same, so that nothing tells it from one that
    /// does. It opens by itself and is forgotten 90 days after the last guess.
    Stranger(Uuid),
}

impl Path {
    pub fn stranger(digest: &[u8; 32]) -> Self {
        let [half @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *digest;
        Self::Stranger(Uuid::from_bytes(half))
    }

    /// A device that signed in before has counters of its own, so that a stranger's guesses do not shut out the owner.
    pub fn of(account: UserId, device: Option<&Device>) -> Self {
        match device {
            Some(device) => Self::Device(device.id),
            None => Self::Account(account),
        }
    }

    pub fn id(self) -> Uuid {
        match self {
            Self::Account(id) => id.0,
            Self::Device(id) => id.0,
            Self::Stranger(id) => id,
        }
    }
}

/// Counters of password guesses.
pub trait Guesses: Send + Sync {
    fn counters(&self, path: Path) -> Read<'_, Option<GuessCounters>>;

    /// Opens a path that has no counters yet.
    fn open(&self, path: Path, now: Time) -> Write;

    /// Takes a place in the window; misses when [`GuessPolicy::admission`] would not say `Open`.
    fn reserve(&self, path: Path, policy: &GuessPolicy, now: Time) -> Write;

    /// Counts a reserved guess as wrong. Without `lock_until` it misses when this one reaches the limit of an unlocked path;
    /// with it, it locks, and misses unless this one does.
    fn wrong(&self, path: Path, policy: &GuessPolicy, lock_until: Option<Time>, now: Time)
    -> Write;

    /// Clears the counters after a right password, and frees the place that was taken for it at `reserved_at`, unless the
    /// window it was taken in is gone; misses when the path is locked now. Guesses under way keep their places.
    fn clear(&self, path: Path, reserved_at: Time, now: Time) -> Write;

    /// Gives back a place that was taken at `reserved_at` for a guess that was not evaluated as wrong. Changes nothing when
    /// the window it was taken in is gone, or when every place left belongs to a wrong guess.
    fn give_back(&self, path: Path, reserved_at: Time) -> Write;

    /// Ends the row of wrong guesses on an account's path, and with it the hard limit; a lock goes on.
    fn end_row(&self, account: UserId) -> Write;

    /// Clears the counters and the lock of an account and of all its devices.
    fn unlock(&self, account: UserId, now: Time) -> Write;

    /// Takes a path away: nothing is evaluated on it any more. Misses when it is gone.
    fn close(&self, path: Path) -> Write;

    /// Whether there are strangers' paths that nobody has tried for 90 days.
    fn has_forgettable(&self, now: Time) -> Read<'_, bool>;

    /// Takes them away, some at a time.
    fn forget(&self, now: Time) -> Write;
}
