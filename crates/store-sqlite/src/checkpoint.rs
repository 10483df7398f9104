//! Carries the write-ahead log over into the database's file, run by the writer between groups.
//!
//! SQLite would do it inside a `COMMIT` and swallow its errors, a failed sync among them. Here each checkpoint comes after
//! the answers to its group: its error is never told as a failed commit, and a failed sync stops the store.
//!
//! **Guarantees.** The write-ahead log stays below one page of its index (4,062 frames, 16 MiB) unless a reader holds on
//! to it or one group is that large. The index is a file of its own; growing it on a full disk would fail a `COMMIT` that
//! is already on the disk.

use std::ffi::CStr;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use crate::connection::BUSY_WAIT;
use crate::failure::{Reach, StatementError};

const MAIN: Option<&CStr> = Some(c"main");

/// Frames (pages of 4 KiB) that wait to be carried over before a checkpoint is worth its two syncs. Pages written again
/// and again, the right edge of the log and its head, are carried over once.
const DUE_FRAMES: i32 = 1_000;

/// Frames in the log at which the writer waits for readers, so that the log starts over. Below it, it starts over by
/// itself whenever no reader is in it at the moment of the next commit; under constant reading that may be never.
const LONG_FRAMES: i32 = 3_000;

/// How long the writer then waits. Reads take less; only a backup or a foreign program holds on for longer.
const READERS_WAIT: Duration = Duration::from_millis(50);

pub(crate) struct Checkpoints<'c> {
    connection: &'c Connection,
    /// The length at which to wait for readers next; higher after a wait in vain.
    long: i32,
    /// Whether the last one found the disk full. Said once, not with every group.
    full: bool,
}

impl<'c> Checkpoints<'c> {
    pub(crate) fn new(connection: &'c Connection) -> Self {
        Self {
            connection,
            long: LONG_FRAMES,
            full: false,
        }
    }

    /// Runs one if it is due. The error says why the store must stop.
    pub(crate) fn after_group(&mut self) -> Result<(), String> {
        let look = self
            .connection
            .wal_checkpoint_v2(MAIN, CheckpointMode::NOOP);
        let (frames, carried) = match look {
            Ok(counts) => counts,
            Err(error) => return self.failed(error),
        };
        if frames < LONG_FRAMES {
            self.long = LONG_FRAMES;
        }
        if frames >= self.long {
            self.long = frames.saturating_add(LONG_FRAMES);
            self.carry_waiting(CheckpointMode::RESTART)
        } else if frames - carried >= DUE_FRAMES {
            self.carry(CheckpointMode::PASSIVE)
        } else {
            Ok(())
        }
    }

    /// Carries over everything and leaves an empty log, as far as nobody reads it. The last one, when the store closes in
    /// good health, and the first: if the run before ended on a failed sync, the kernel may show pages that are not on the
    /// disk. Written again, they are, before anything is added to them.
    pub(crate) fn whole(&mut self) -> Result<(), String> {
        self.carry(CheckpointMode::TRUNCATE)
    }

    /// Carries over everything and says whether the log is empty now: not while somebody reads in it, or the disk is full.
    pub(crate) fn empty(&mut self) -> Result<bool, String> {
        self.carry_waiting(CheckpointMode::TRUNCATE)?;
        let look = self
            .connection
            .wal_checkpoint_v2(MAIN, CheckpointMode::NOOP);
        match look {
            Ok((frames, _)) => Ok(frames == 0),
            Err(error) => self.failed(error).map(|()| false),
        }
    }

    /// With a shorter wait for readers than for another program: every commit waits meanwhile.
    fn carry_waiting(&mut self, mode: CheckpointMode) -> Result<(), String> {
        if let Err(error) = self.connection.busy_timeout(READERS_WAIT) {
            return self.failed(error);
        }
        let carried = self.carry(mode);
        match self.connection.busy_timeout(BUSY_WAIT) {
            Ok(()) => carried,
            Err(error) => self.failed(error),
        }
    }

    fn carry(&mut self, mode: CheckpointMode) -> Result<(), String> {
        match self.connection.wal_checkpoint_v2(MAIN, mode) {
            Ok(_) => {
                self.full = false;
                Ok(())
            }
            Err(error) => self.failed(error),
        }
    }

    fn failed(&mut self, error: rusqlite::Error) -> Result<(), String> {
        let error = StatementError::Sqlite(error);
        let text = error.describe("checkpoint");
        match Reach::of(&error) {
            // Readers, or another program that checkpoints: the next one will do.
            Reach::Busy => Ok(()),
            // Nothing is lost: what could not be carried over stays in the log.
            Reach::Space => {
                if !self.full {
                    tracing::warn!(text, "no space to carry the write-ahead log over");
                }
                self.full = true;
                Ok(())
            }
            Reach::Guard | Reach::Statement | Reach::Store => Err(text),
        }
    }
}
