//! A backup of a server that runs: its database as of one moment, the archives of its log, a signed list of both, and the
//! keys in a place of their own.
//!
//! It is written beside its place and moved there when it is whole: what is cut short never looks like a backup.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use quivive_app::workflows::operators::back_up::{Copied, Copier, NotCopied};
use quivive_delivery::{BoxFuture, Clock, Fault};
use quivive_outbound::{Contents, CopyError, FileVault, KeyError, KeyStore, Listed};
use quivive_store_sqlite::{SnapshotError, snapshot};

use crate::config::Directories;
use crate::failure::{Failure, chain};
use crate::private;
use crate::store::FILE;

/// The archives' directory in a backup.
pub(crate) const ARCHIVE: &str = "archive";

/// The data of an open server that are copied.
#[derive(Clone)]
pub(crate) struct Data {
    pub(crate) directories: Directories,
    pub(crate) keys: Arc<KeyStore>,
    /// `None` where the keys of subjects are in the database.
    pub(crate) vault: Option<Arc<FileVault>>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Where a backup goes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) directory: PathBuf,
    pub(crate) keys: PathBuf,
}

/// One backup that is to be made.
pub(crate) struct FileSet {
    data: Data,
    place: Place,
    /// For the operator.
    why: Mutex<Option<String>>,
}

/// Why a step did not succeed.
enum Broken {
    NoSpace,
    Io(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Io(failure.message)
    }
}

impl From<SnapshotError> for Broken {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::NoSpace => Self::NoSpace,
            SnapshotError::Io(why) => Self::Io(why),
        }
    }
}

impl From<KeyError> for Broken {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Io { source, .. } => source.into(),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<CopyError> for Broken {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Keys(error) => error.into(),
            CopyError::Io(error) => error.into(),
            CopyError::Fault(Fault::NoSpace) => Self::NoSpace,
            CopyError::Fault(fault) => Self::Io(chain(&fault)),
        }
    }
}

impl Place {
    /// Why nothing can be put there.
    pub(crate) fn unfit(&self) -> Option<String> {
        let taken = |path: &Path| {
            let empty = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
            path.exists() && !empty
        };
        if self.keys.starts_with(&self.directory) {
            return Some("the keys are to be apart from the backup, not in it".to_owned());
        }
        let all = [&self.directory, &self.keys].map(|path| (path.clone(), part(path)));
        let all = all.into_iter().flat_map(<[PathBuf; 2]>::from);
        all.into_iter()
            .find(|path| taken(path))
            .map(|path| format!("{} is there already", path.display()))
    }
}

/// What a directory is called until it is whole.
fn part(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

impl FileSet {
    pub(crate) fn new(data: Data, place: Place) -> Self {
        Self {
            data,
            place,
            why: Mutex::default(),
        }
    }

    /// Why it did not succeed.
    pub(crate) fn why(&self) -> Option<String> {
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.clone()
    }

    async fn make(&self) -> Result<Copied, Broken> {
        let (to, keys_to) = (part(&self.place.directory), part(&self.place.keys));
        let (from, now) = (self.data.directories.clone(), self.data.clock.now());
        let target = to.clone();
        let copied = tokio::task::spawn_blocking(move || {
            private::directory(&target)?;
            let copy = target.join(FILE);
            let home = from.database.directory("backup")?;
            let snapshot = snapshot(&home.join(FILE), &copy)?;
            let head = snapshot.head;
            let place = (head.position, head.epoch);
            let mut contents = Contents::new(snapshot.version, place, &head.chain, now);
            contents.files.push(Listed::of(&copy, FILE)?);
            archives(&from.archive, &target, &mut contents)?;
            Ok::<_, Broken>((contents, place))
        });
        let copied = copied
            .await
            .map_err(|error| Broken::Io(error.to_string()))?;
        let (contents, (position, epoch)) = copied?;
        // After the database: every key that it needs was there before it was needed.
        let keys = &self.data.keys;
        let vault = self.data.vault.as_ref();
        let vault = vault.ok_or_else(|| Broken::Io("the keys are in the database".to_owned()))?;
        let key_bytes = vault.copy_with(keys, &keys_to).await?;
        contents.write(&to, keys)?;
        put(&keys_to, &self.place.keys)?;
        if let Err(error) = put(&to, &self.place.directory) {
            // A backup that is none leaves no keys about.
            let _ = std::fs::remove_dir_all(&self.place.keys);
            return Err(error.into());
        }
        Ok(Copied {
            bytes: contents.bytes() + key_bytes,
            position,
            epoch,
        })
    }
}

/// Archives do not change, and those that are noted in the database are on the disk.
fn archives(from: &Path, to: &Path, contents: &mut Contents) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    private::directory(&to.join(ARCHIVE))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| name.ends_with(".ndjson.gz")) else {
            continue;
        };
        let listed = format!("{ARCHIVE}/{name}");
        match Listed::copied(&entry.path(), &to.join(&listed), &*listed) {
            Ok(copied) => contents.files.push(copied),
            // Its time was over meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Moves a directory to its place, which is free or empty.
pub(crate) fn put(from: &Path, to: &Path) -> io::Result<()> {
    File::open(from)?.sync_all()?;
    fs::rename(from, to)?;
    match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

impl Copier for FileSet {
    fn copy(&self) -> BoxFuture<'_, Result<Copied, NotCopied>> {
        Box::pin(async {
            let broken = match self.make().await {
                Ok(copied) => return Ok(copied),
                Err(broken) => broken,
            };
            for path in [&self.place.directory, &self.place.keys] {
                // What is left says by its name that it is nothing.
                let _ = fs::remove_dir_all(part(path));
            }
            let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
            let (told, refusal) = match broken {
                Broken::NoSpace => ("no space is left".to_owned(), NotCopied::NoSpace),
                Broken::Io(told) => (told, NotCopied::IoError),
            };
            *why = Some(told);
            Err(refusal)
        })
    }
}
