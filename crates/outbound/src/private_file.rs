//! Files that hold keys: readable by their owner alone, and on the disk before anything relies on them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::keys::KeyError;

/// Anybody but the owner.
const OTHERS: u32 = 0o077;

/// The largest file of a key or of the list of keys; a foreign file is not read into memory.
const MAX_BYTES: u64 = 1 << 20;

/// Attaches the path to an I/O error.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> KeyError + use<> {
    let path = path.to_owned();
    move |source| KeyError::Io { path, source }
}

/// Makes the directory, or checks that nobody else can look into the one that is there.
pub(crate) fn directory(path: &Path) -> Result<(), KeyError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) => return Err(at(path)(error)),
    }
    refuse_exposed(path, "700")?;
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        sync_directory(parent)?;
    }
    Ok(())
}

/// Refuses a file or directory that others can read, naming the command that closes it.
fn refuse_exposed(path: &Path, to: &'static str) -> Result<(), KeyError> {
    let mode = fs::metadata(path).map_err(at(path))?.permissions().mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(KeyError::Exposed {
        path: path.to_owned(),
        mode,
        to,
    })
}

/// The whole file, or `None` when there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
    };
    refuse_exposed(path, "600")?;
    let size = file.metadata().map_err(at(path))?.len();
    if size > MAX_BYTES {
        return Err(KeyError::malformed(path, "it is far larger than any key"));
    }
    // Of exact size and one to spare, so that reading does not grow it and leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(at(path))?;
    Ok(Some(bytes))
}

/// Writes a whole file under a passing name and renames it, so that a crash leaves the old one or the new one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let passing = passing_name(path);
    match fs::remove_file(&passing) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(&passing)(error)),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&passing)
        .map_err(at(&passing))?;
    file.write_all(bytes).map_err(at(&passing))?;
    file.sync_all().map_err(at(&passing))?;
    fs::rename(&passing, path).map_err(at(path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Removes a file, for good once this answers.
pub(crate) fn remove(path: &Path) -> Result<(), KeyError> {
    fs::remove_file(path).map_err(at(path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Opens a file of keys for reading and writing.
pub(crate) fn open(path: &Path) -> Result<Option<File>, KeyError> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => {
            refuse_exposed(path, "600")?;
            Ok(Some(file))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

fn passing_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn sync_directory(path: &Path) -> Result<(), KeyError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(at(path))
}
