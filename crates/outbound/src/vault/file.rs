//! The file of subject keys and the index over it. Knows nothing of threads and waiting.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufReader, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::record::{self, BYTES, Header, Record, SECRET, Wrapping};
use crate::backup::Listed;
use crate::derivation::Secret;
use crate::keys::KeyError;
use crate::private_file;

/// What is read at once when the file is opened.
const SCAN_BYTES: usize = 512 * BYTES;

/// Makes an empty file.
pub(super) fn create(path: &Path, wrapping: &Wrapping) -> Result<(), KeyError> {
    private_file::write(path, &wrapping.header())
}

/// What became of a write.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Nothing was written, and a later write may succeed.
    NoSpace,
    /// What is on the disk is not known: nothing more may be written.
    Lost(io::Error),
}

/// What the file has of a name.
pub(super) enum Found {
    Key(Secret),
    Destroyed,
    Absent,
}

/// An open file of subject keys.
pub(super) struct KeyFile {
    file: File,
    path: PathBuf,
    wrapping: Wrapping,
    index: Index,
    /// How many records there are, the first one included. All of them are synced.
    records: u32,
    /// Those of them whose key was destroyed.
    destroyed: Vec<u32>,
}

impl KeyFile {
    /// Opens and reads through it: a tail that a crash left unfinished is cut off, anything else that is wrong refuses.
    pub(super) fn open(path: &Path, wrapping: Wrapping) -> Result<Self, KeyError> {
        let file = private_file::open(path)?.ok_or_else(|| KeyError::Missing {
            path: path.to_owned(),
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(KeyError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(private_file::at(path)(error)),
        }
        let mut this = Self {
            file,
            path: path.to_owned(),
            wrapping,
            index: Index::new(),
            records: 0,
            destroyed: Vec::new(),
        };
        this.scan()?;
        Ok(this)
    }

    /// How many keys it has, those that were destroyed among them.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.index.numbers.len() + self.index.colliding.len()
    }

    fn scan(&mut self) -> Result<(), KeyError> {
        let at = private_file::at;
        let path = self.path.clone();
        let length = self.file.metadata().map_err(at(&path))?.len();
        let mut reader =
            BufReader::with_capacity(SCAN_BYTES, self.file.try_clone().map_err(at(&path))?);
        reader.rewind().map_err(at(&path))?;
        let whole = u32::try_from(length / BYTES as u64)
            .map_err(|_| KeyError::malformed(&path, "it has more keys than can be counted"))?;
        let mut broken = None;
        let mut bytes: Record = [0; BYTES];
        for number in 0..whole {
            reader.read_exact(&mut bytes).map_err(at(&path))?;
            if number == 0 {
                self.check_header(&bytes)?;
                continue;
            }
            let Some(name) = record::name(&bytes) else {
                broken = broken.or(Some(number));
                continue;
            };
            if let Some(first) = broken {
                // What a crash leaves unfinished was not synced when anything behind it was written.
                if record::unsynced_from(&bytes) > u64::from(first) {
                    let what = format!("record {first} is damaged");
                    return Err(KeyError::malformed(&path, what));
                }
            } else {
                self.index
                    .insert(&self.file, name, number)
                    .map_err(at(&path))?;
                if record::is_destroyed(&bytes) {
                    self.destroyed.push(number);
                }
            }
        }
        if whole == 0 {
            return Err(KeyError::malformed(&path, "it is empty"));
        }
        self.records = broken.unwrap_or(whole);
        let end = position(self.records);
        if end < length {
            tracing::warn!(
                bytes = length - end,
                "cut off what a crash left unfinished in the file of subject keys"
            );
            self.file
                .set_len(end)
                .and_then(|()| self.file.sync_all())
                .map_err(at(&path))?;
        }
        Ok(())
    }

    fn check_header(&self, bytes: &Record) -> Result<(), KeyError> {
        match record::header(bytes, &self.wrapping) {
            Header::Ours => Ok(()),
            Header::OtherMaster => Err(KeyError::OtherMaster {
                path: self.path.clone(),
            }),
            Header::Unknown => Err(KeyError::malformed(
                &self.path,
                "it is not a file of subject keys",
            )),
        }
    }

    /// The key of that name; an error when it is there but cannot be read.
    pub(super) fn find(&self, name: &str) -> io::Result<Found> {
        let Some((_, bytes)) = self.index.find(&self.file, name)? else {
            return Ok(Found::Absent);
        };
        if record::is_destroyed(&bytes) {
            return Ok(Found::Destroyed);
        }
        match self.wrapping.unwrap(&bytes, name) {
            Some(key) => Ok(Found::Key(key)),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the wrapped key was changed",
            )),
        }
    }

    /// Appends keys whose names are not in the file and syncs it, once for all of them. Each comes with its nonce.
    pub(super) fn append(&mut self, keys: &[(&str, &Secret, [u8; 12])]) -> Result<(), WriteError> {
        let start = self.records;
        let mut bytes = Vec::with_capacity(keys.len() * BYTES);
        for (name, key, nonce) in keys {
            bytes.extend_from_slice(&self.wrapping.wrap(name, key, *nonce, start));
        }
        if let Err(error) = self.file.write_all_at(&bytes, position(start)) {
            return Err(self.take_back(error));
        }
        self.file.sync_data().map_err(WriteError::Lost)?;
        for (number, (name, ..)) in (start..).zip(keys) {
            self.index
                .insert(&self.file, name, number)
                .map_err(WriteError::Lost)?;
            self.records = number + 1;
        }
        Ok(())
    }

    /// After a write that failed: the file is as before, or nothing is known of it.
    fn take_back(&self, error: io::Error) -> WriteError {
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        if full && self.file.set_len(position(self.records)).is_ok() {
            WriteError::NoSpace
        } else {
            WriteError::Lost(error)
        }
    }

    /// Overwrites the key of that name where it lies and syncs. False when there is none.
    pub(super) fn destroy(&mut self, name: &str) -> Result<bool, WriteError> {
        let found = self
            .index
            .find(&self.file, name)
            .map_err(WriteError::Lost)?;
        let Some((number, _)) = found.filter(|(_, bytes)| !record::is_destroyed(bytes)) else {
            return Ok(false);
        };
        let zeros = [0; SECRET.end - SECRET.start];
        let at = position(number) + SECRET.start as u64;
        self.file
            .write_all_at(&zeros, at)
            .map_err(WriteError::Lost)?;
        self.file.sync_data().map_err(WriteError::Lost)?;
        self.destroyed.push(number);
        Ok(true)
    }

    /// Copies it into a new file.
    pub(super) fn copy(&self, to: &Path) -> io::Result<u64> {
        Listed::copied(&self.path, to, "").map(|copied| copied.bytes)
    }

    /// The names of those that were destroyed.
    pub(super) fn destroyed(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::with_capacity(self.destroyed.len());
        for number in &self.destroyed {
            names.extend(record::name(&read(&self.file, *number)?).map(str::to_owned));
        }
        Ok(names)
    }
}

fn position(number: u32) -> u64 {
    u64::from(number) * BYTES as u64
}

fn read(file: &File, number: u32) -> io::Result<Record> {
    let mut bytes = [0; BYTES];
    file.read_exact_at(&mut bytes, position(number))?;
    Ok(bytes)
}

/// Where the keys are, and the places of those that were destroyed. It holds hashes, not names: some 35 bytes a key, and the
/// name is compared in the file.
struct Index {
    hasher: RandomState,
    numbers: HashMap<u64, u32>,
    /// Names whose hash another one has already: none, in practice.
    colliding: HashMap<String, u32>,
    /// Fewer bits make hashes collide, for the test.
    mask: u64,
}

impl Index {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            numbers: HashMap::new(),
            colliding: HashMap::new(),
            mask: u64::MAX,
        }
    }

    fn hash(&self, name: &str) -> u64 {
        self.hasher.hash_one(name) & self.mask
    }

    fn insert(&mut self, file: &File, name: &str, number: u32) -> io::Result<()> {
        let hash = self.hash(name);
        match self.numbers.get(&hash) {
            Some(other) if record::name(&read(file, *other)?) != Some(name) => {
                self.colliding.insert(name.to_owned(), number);
            }
            _ => {
                self.numbers.insert(hash, number);
            }
        }
        Ok(())
    }

    fn find(&self, file: &File, name: &str) -> io::Result<Option<(u32, Record)>> {
        if let Some(number) = self.colliding.get(name) {
            return Ok(Some((*number, read(file, *number)?)));
        }
        let Some(number) = self.numbers.get(&self.hash(name)) else {
            return Ok(None);
        };
        let bytes = read(file, *number)?;
        Ok((record::name(&bytes) == Some(name)).then_some((*number, bytes)))
    }
}

#[cfg(test)]
mod tests;
