//! A server from a backup.
//!
//! **Order.** The lock; the list with its signature; the database beside its place, looked at against the list; the
//! archives; the keys. Then, in the copy, a new epoch and a mark; then the copy takes its place. Whoever opens it next, this
//! command or a server, ends what was given before (`finish`), takes the mark away and only then serves. So a kill leaves
//! either no database or one that is yet to be dealt with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quivive_app::kernel::{Failure as Outcome, Kernel, Request};
use quivive_app::workflows::operators::restore::Restore;
use quivive_delivery::{Clock as _, Fault};
use quivive_outbound::{BackupFlaw, Contents, Listed, SystemClock, Verifier};
use quivive_store::{Database, SQLITE_MIGRATIONS};
use quivive_store_sqlite::{begin_epoch, lock_directory};
use serde::{Deserialize, Serialize};

use crate::audit::{self, Verdict};
use crate::backup::{ARCHIVE, put};
use crate::builder::{Builder, KEYS, has_keys};
use crate::config::{Directories, Loaded};
use crate::failure::{Class, Failure, chain, class_of};
use crate::private;
use crate::start::StartError;
use crate::store::FILE;

/// The mark's name among the facts about the database.
const MARK: &str = "restore";

/// What is to be restored.
#[derive(Debug, Clone)]
pub struct Asked {
    pub backup: PathBuf,
    /// Where the newest keys are; those beside the backup unless it is said.
    pub keys: Option<PathBuf>,
    /// In place of the database that is there.
    pub replace: bool,
}

/// What the mark says, and the command.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Restored {
    /// The last event that came from the backup.
    pub position: u64,
    /// In which the log goes on.
    pub epoch: u64,
}

/// Whether a restore would replace something.
pub fn replaces(loaded: &Loaded) -> Result<bool, Failure> {
    let directories = loaded.directories().map_err(crate::control::told_of)?;
    Ok(directories
        .database
        .directory("restore")?
        .join(FILE)
        .exists())
}

/// Restores a backup into the configured data directory, and proves the log.
pub async fn restore(loaded: &Loaded, asked: &Asked) -> Result<(Restored, Verdict), Failure> {
    let directories = loaded.directories().map_err(crate::control::told_of)?;
    let plan = loaded.plan().map_err(crate::control::told_of)?;
    let restored = place(&directories, asked)?;
    let opened = Builder::of_plan(&plan).open().await?;
    opened.close().await;
    let verdict = audit::verify(&directories).await?;
    Ok((restored, verdict))
}

/// Puts the files of the backup into their places. Blocks on the disk.
fn place(directories: &Directories, asked: &Asked) -> Result<Restored, Failure> {
    let home = directories.database.directory("restore")?;
    let database = home.join(FILE);
    if database.exists() && !asked.replace {
        return Err(refused(
            &format!("there is a database at {}", database.display()),
            "name another directory with --data-dir, or give it up with --replace",
        ));
    }
    private::directory(&directories.data).map_err(io_at(&directories.data))?;
    let _lock = lock_directory(home).map_err(StartError::from)?;
    let keys = keys(directories, asked)?;
    let source = keys.as_deref();
    let there = directories.data.join(KEYS);
    let verifier = Verifier::of(source.unwrap_or(&there)).map_err(StartError::from)?;
    let contents = Contents::read(&asked.backup, &verifier).map_err(|flaw| told(&flaw))?;
    let known = SQLITE_MIGRATIONS.last().map_or(0, |last| last.version);
    if contents.schema > known {
        let message = format!(
            "the backup has schema version {}, and this program knows {known}",
            contents.schema
        );
        return Err(refused(
            &message,
            "restore it with the version that made it, or a newer one",
        ));
    }

    let copy = home.join(format!("{FILE}.restoring"));
    take(&contents, FILE, &asked.backup, &copy)?;
    archives(&contents, &asked.backup, &directories.archive)?;
    if let Some(source) = source {
        copy_keys(source, &there)?;
    }
    let restored = mark(&copy, &contents)?;
    // What was not carried over of the old one must not be carried into the new one, nor be missing where the old one is
    // still there: that goes first.
    for left in ["", "-wal", "-shm"] {
        let path = home.join(format!("{FILE}{left}"));
        private::remove(&path).map_err(io_at(&path))?;
    }
    put(&copy, &database).map_err(io_at(&database))?;
    Ok(restored)
}

/// Where keys are to be taken from; `None`: those that are there stay, which know of everybody who was erased here.
fn keys(directories: &Directories, asked: &Asked) -> Result<Option<PathBuf>, Failure> {
    let there = directories.data.join(KEYS);
    if has_keys(directories) {
        return match &asked.keys {
            None => Ok(None),
            Some(_) => Err(refused(
                &format!("there are keys at {} already", there.display()),
                "leave --keys out to use them, or move them away",
            )),
        };
    }
    let source = asked.keys.clone().unwrap_or_else(|| beside(&asked.backup));
    if source.is_dir() {
        return Ok(Some(source));
    }
    Err(refused(
        &format!("there are no keys at {}", source.display()),
        "name the newest copy of them with --keys: without them nothing of the backup can be read",
    ))
}

/// Where a backup's keys are unless it is said.
pub fn beside(backup: &Path) -> PathBuf {
    let mut name = backup.as_os_str().to_owned();
    name.push(".keys");
    PathBuf::from(name)
}

fn take(contents: &Contents, name: &str, from: &Path, to: &Path) -> Result<(), Failure> {
    let missing = || told(&BackupFlaw::Missing(name.to_owned()));
    let listed = contents.files.iter().find(|file| file.name == name);
    private::remove(to).map_err(io_at(to))?;
    let taken = listed.ok_or_else(missing)?.take(from, to);
    taken.map_err(io_at(to))?.map_err(|flaw| {
        let _ = private::remove(to);
        told(&flaw)
    })
}

fn archives(contents: &Contents, from: &Path, to: &Path) -> Result<(), Failure> {
    for file in &contents.files {
        let Some((ARCHIVE, name)) = file.name.split_once('/') else {
            continue;
        };
        if name.contains('/') || name.starts_with('.') {
            return Err(told(&BackupFlaw::Changed(file.name.clone())));
        }
        private::directory(to).map_err(io_at(to))?;
        let target = to.join(name);
        // The same one may be there: an archive never changes.
        if Listed::of(&target, file.name.clone()).is_ok_and(|there| there == *file) {
            continue;
        }
        take(contents, &file.name, from, &target)?;
    }
    Ok(())
}

/// The directory of keys is there whole or not at all.
fn copy_keys(from: &Path, to: &Path) -> Result<(), Failure> {
    let part = to.with_extension("restoring");
    let copied = || -> io::Result<()> {
        if part.exists() {
            fs::remove_dir_all(&part)?;
        }
        private::directory(&part)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                Listed::copied(&entry.path(), &part.join(entry.file_name()), "")?;
            }
        }
        put(&part, to)
    };
    copied().map_err(io_at(to))
}

/// Marks the copy as one that came from a backup, and begins an epoch that no other restore has had: one for each second.
fn mark(copy: &Path, contents: &Contents) -> Result<Restored, Failure> {
    let seconds = SystemClock.now().as_second();
    let epoch = (contents.epoch + 1).max(u64::try_from(seconds).unwrap_or_default());
    let restored = Restored {
        position: contents.position,
        epoch,
    };
    let broken = |error: &dyn std::error::Error| {
        let message = format!(
            "the copy of the database cannot be changed: {}",
            chain(error)
        );
        Failure::new(Class::Io, message, "look at the disk, and restore again")
    };
    let note = serde_json::to_string(&restored).map_err(|error| broken(&error))?;
    begin_epoch(copy, epoch, (MARK, &note)).map_err(|error| broken(&error))?;
    Ok(restored)
}

/// Ends what was given before the backup, where the mark asks for it. Before anybody is served.
pub(crate) async fn finish(kernel: &Arc<Kernel>, database: &Database) -> Result<(), Fault> {
    let Some(note) = database.meta(MARK).await? else {
        return Ok(());
    };
    let restored: Restored = serde_json::from_str(&note).map_err(Fault::internal)?;
    let command = Restore {
        kernel: Arc::clone(kernel),
        position: restored.position,
        epoch: restored.epoch,
        done: database.unset_meta(MARK),
    };
    let finished = kernel.execute(command, Request::system()).await;
    finished.map_err(|outcome| match outcome {
        Outcome::Fault(fault) => fault,
        other => Fault::Internal(other.to_string()),
    })?;
    tracing::warn!(
        position = restored.position,
        epoch = restored.epoch,
        "the database came from a backup: everybody signs in again, and services get new keys"
    );
    Ok(())
}

fn refused(message: &str, remedy: &str) -> Failure {
    Failure::new(Class::Refused, message, remedy)
}

fn told(flaw: &BackupFlaw) -> Failure {
    let remedy = match flaw {
        BackupFlaw::Signature => {
            "take the keys of the server that made it, with --keys, or another backup"
        }
        BackupFlaw::Version => "restore it with the version that made it",
        BackupFlaw::NoList
        | BackupFlaw::Unreadable(_)
        | BackupFlaw::Missing(_)
        | BackupFlaw::Changed(_) => "take another backup; nothing was changed here",
    };
    refused(&format!("the backup is not restored: {flaw}"), remedy)
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> Failure + use<> {
    let path = path.display().to_string();
    move |error| {
        let message = format!("cannot write {path}: {error}");
        Failure::new(
            class_of(&error),
            message,
            "make room, and run it as the server's user",
        )
    }
}
