//! One writer per data directory.
//!
//! The lock is the kernel's, on an open file: it goes with the process however that ends, and a file left behind means
//! nothing. Who holds it writes its process id inside, for the message to whoever comes second.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Longer than any process id; the rest of a foreign file is not read.
const PID_BYTES: u64 = 32;

/// Held as long as this lives.
pub(crate) struct Lock {
    _file: File,
}

pub(crate) enum Refused {
    /// Another process has it; its id, if it has written it already.
    Held(Option<u32>),
    Io(std::io::Error),
}

pub(crate) fn take(path: &Path) -> Result<Lock, Refused> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(Refused::Io)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(Refused::Io)?;
            writeln!(file, "{}", std::process::id()).map_err(Refused::Io)?;
            Ok(Lock { _file: file })
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.take(PID_BYTES).read_to_string(&mut text);
            let pid = read.ok().and_then(|_| text.trim().parse().ok());
            Err(Refused::Held(pid))
        }
        Err(TryLockError::Error(error)) => Err(Refused::Io(error)),
    }
}
