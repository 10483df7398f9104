//! Proving that the log is whole: its chain, recomputed from where it begins to the head; and that where it begins is where
//! retention left it.

mod archives;

use std::path::{Path, PathBuf};

use quivive_delivery::chain::Walk;
use quivive_delivery::retention::{Anchor, Shelf as _};
use quivive_delivery::{Fault, Head, Log, Stored};
use quivive_outbound::Verifier;
use quivive_store::Database;
use serde::Serialize;

use crate::builder::KEYS;
use crate::config::{Directories, Location};
use crate::failure::{Failure, class_of};
use crate::start::{StartError, class_of_fault};
use crate::store::{FILE, Store};
use archives::Past;

/// Signed heads of the log that left the database, one a line.
const CHECKPOINTS: &str = "checkpoints.ndjson";

/// Events read at once.
const BATCH: usize = 1_000;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub ok: bool,
    /// How many events are linked to each other without a flaw, from the first that the log has on.
    pub events: u64,
    /// The first position that was changed, removed or put in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bad_position: Option<u64>,
    /// Up to here the log was cut by retention; 0: never.
    pub cut: u64,
    /// Archives of what was cut, each whole, signed and where the one before it ends.
    pub archives: u64,
    /// What is wrong with what was cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flaw: Option<String>,
    /// The records in `checkpoints.ndjson`. Counted, not yet compared with.
    pub checkpoints: u64,
}

/// Recomputes the chain up to the head of now, and checks the archives of what was cut. Changes nothing, and takes no lock: a server may run beside it.
pub async fn verify(directories: &Directories) -> Result<Verdict, Failure> {
    if let Location::Sqlite(directory) = &directories.database {
        existing(directory)?;
    }
    let checkpoints = checkpoints(&directories.data.join(CHECKPOINTS))?;
    let store = match Store::open_read_only(directories).await {
        Ok(store) => store,
        Err(error) => {
            let failure = Failure::from(error);
            let remedy = match directories.database {
                Location::Sqlite(_) => "look at the disk; verify a copy, or a backup".to_owned(),
                Location::Postgres { .. } => failure.remedy,
            };
            return Err(Failure { remedy, ..failure });
        }
    };
    let verifier = Verifier::of(&directories.data.join(KEYS)).map_err(StartError::from)?;
    let database = Database::new(store.executor());
    let proved = prove(&database, store.head(), &verifier, &directories.archive).await;
    store.close().await;
    let (walked, result, past) = proved.map_err(|fault| {
        let remedy = "look at the disk; verify a copy, or a backup";
        Failure::new(class_of_fault(&fault), fault.to_string(), remedy)
    })?;
    Ok(verdict(
        walked.events,
        result,
        walked.anchor,
        past,
        checkpoints,
    ))
}

/// Walks the log from its anchor, and looks at what was before it. Once more when a server cut it meanwhile.
async fn prove(
    database: &Database,
    head: Head,
    verifier: &Verifier,
    archive: &Path,
) -> Result<(Walked, Result<(), u64>, Past), Fault> {
    loop {
        let anchor = database.anchor().await?;
        let mut walked = Walked::new(database.clone(), &anchor);
        let result = walked.whole(head).await?;
        let past = archives::check(database, verifier, archive, &anchor).await?;
        let fine = result.is_ok() && past.flaw.is_none();
        if fine || database.anchor().await? == anchor {
            return Ok((walked, result, past));
        }
    }
}

/// The database's file in its directory, where there is one.
pub(crate) fn existing(directory: &Path) -> Result<PathBuf, Failure> {
    let path = directory.join(FILE);
    match path.metadata() {
        Ok(_) => Ok(path),
        Err(error) => {
            let message = format!("no database at {}: {error}", path.display());
            let remedy =
                "name the server's data directory with --data-dir, and run the command as its user";
            Err(Failure::new(class_of(&error), message, remedy))
        }
    }
}

fn verdict(
    events: u64,
    result: Result<(), u64>,
    cut: u64,
    past: Past,
    checkpoints: u64,
) -> Verdict {
    Verdict {
        ok: result.is_ok() && past.flaw.is_none(),
        events,
        first_bad_position: result.err(),
        cut,
        archives: past.archives,
        flaw: past.flaw,
        checkpoints,
    }
}

struct Walked {
    log: Database,
    walk: Walk,
    /// Where the log begins.
    anchor: u64,
    events: u64,
}

impl Walked {
    fn new(log: Database, anchor: &Anchor) -> Self {
        Self {
            log,
            walk: Walk::from(anchor.position, anchor.chain),
            anchor: anchor.position,
            events: 0,
        }
    }

    /// Walks to the head, and looks whether anything lies beyond it. The inner error is the first bad position.
    async fn whole(&mut self, head: Head) -> Result<Result<(), u64>, Fault> {
        if let Err(position) = self.to(head.position).await? {
            return Ok(Err(position));
        }
        if let Err(position) = self.walk.finish(head.position, &head.chain) {
            return Ok(Err(position));
        }
        let beyond = match self.log.read(head.position, 1).await {
            Ok(beyond) => !beyond.is_empty(),
            Err(Fault::Internal(_)) => true,
            Err(fault) => return Err(fault),
        };
        // Events and the head that names them are one commit: what a server appended meanwhile has moved the head, too.
        if beyond && self.log.stored_head().await?.position <= head.position {
            return Ok(Err(head.position + 1));
        }
        Ok(Ok(()))
    }

    /// Walks up to a position. The inner error is the first bad one.
    async fn to(&mut self, head: u64) -> Result<Result<(), u64>, Fault> {
        // A clone shares the database, and lets the next batch be read while this one is hashed.
        let log = self.log.clone();
        // From the very start: what lies before the anchor must not be there.
        let mut next = log.read(0, BATCH);
        loop {
            let batch = match next.await {
                Ok(batch) => batch,
                // A row that is not even an event: which one, the slow way.
                Err(Fault::Internal(_)) => return self.one_by_one(head).await,
                Err(fault) => return Err(fault),
            };
            let Some(last) = batch.last().map(|event| event.position) else {
                return Ok(Ok(()));
            };
            next = log.read(last, BATCH);
            for event in batch.iter().filter(|event| event.position <= head) {
                if let Err(position) = self.step(event) {
                    return Ok(Err(position));
                }
            }
            if last >= head {
                return Ok(Ok(()));
            }
        }
    }

    async fn one_by_one(&mut self, head: u64) -> Result<Result<(), u64>, Fault> {
        while self.anchor + self.events < head {
            let after = self.anchor + self.events;
            match self.log.read(after, 1).await {
                Ok(batch) => {
                    let Some(event) = batch.first() else {
                        return Ok(Ok(()));
                    };
                    if let Err(position) = self.step(event) {
                        return Ok(Err(position));
                    }
                }
                Err(Fault::Internal(_)) => return Ok(Err(after + 1)),
                Err(fault) => return Err(fault),
            }
        }
        Ok(Ok(()))
    }

    fn step(&mut self, event: &Stored) -> Result<(), u64> {
        self.walk.step(event)?;
        self.events += 1;
        Ok(())
    }
}

/// How many records the file has; none when there is no file.
fn checkpoints(path: &Path) -> Result<u64, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter(|line| !line.trim().is_empty()).count() as u64),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            Err(Failure::new(
                class_of(&error),
                message,
                "make it readable, or move it away",
            ))
        }
    }
}
