//! The thread that alone touches the file of subject keys.
//!
//! It takes what has come together, makes all the new keys with one sync, and only then answers. One thread for finding,
//! making and destroying means that a key that was destroyed cannot come back into the cache.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use quivive_delivery::Fault;
use quivive_delivery::Ids;
use tokio::sync::oneshot;

use super::SubjectKey;
use super::file::{Found, KeyFile, WriteError};
use crate::derivation::Secret;

/// How many requests share a sync.
const MAX_BATCH: usize = 1_024;

pub(super) type Cache = quick_cache::sync::Cache<Arc<str>, Arc<SubjectKey>>;

pub(super) type FoundAnswer = oneshot::Sender<Result<Option<Arc<SubjectKey>>, Fault>>;

/// What a caller asks for.
pub(super) enum Request {
    /// The key if there is one.
    Find { name: Arc<str>, answer: FoundAnswer },
    /// The key, made when there is none.
    Make { name: Arc<str>, answer: FoundAnswer },
    /// Its end.
    Destroy {
        name: Arc<str>,
        answer: oneshot::Sender<Result<bool, Fault>>,
    },
    /// A copy of the file, as of one moment between writes.
    Copy {
        to: PathBuf,
        answer: oneshot::Sender<io::Result<u64>>,
    },
    /// The names of those that were destroyed.
    Destroyed {
        answer: oneshot::Sender<Result<Vec<String>, Fault>>,
    },
}

pub(super) struct Keeper {
    file: KeyFile,
    cache: Arc<Cache>,
    ids: Arc<dyn Ids>,
    /// Keys that wait for the next sync, and who waits for them.
    staged: HashMap<Arc<str>, Staged>,
    /// Why nothing is written any more.
    stopped: Option<Fault>,
}

/// What there is of a name.
enum Kept {
    Key(Arc<SubjectKey>),
    Destroyed,
    Absent,
}

struct Staged {
    key: Secret,
    nonce: [u8; 12],
    waiting: Vec<FoundAnswer>,
}

impl Keeper {
    pub(super) fn new(file: KeyFile, cache: Arc<Cache>, ids: Arc<dyn Ids>) -> Self {
        Self {
            file,
            cache,
            ids,
            staged: HashMap::new(),
            stopped: None,
        }
    }

    /// Serves until nobody can ask any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            self.take(first);
            for request in requests.try_iter().take(MAX_BATCH - 1) {
                self.take(request);
            }
            self.sync();
        }
    }

    /// An answer that nobody waits for any more is dropped; what it tells of is done all the same.
    fn take(&mut self, request: Request) {
        match request {
            Request::Find { name, answer } => {
                // What is staged is as good as not there: it may yet fail.
                let found = self.find(&name);
                let _ = answer.send(found.map(|found| match found {
                    Kept::Key(key) => Some(key),
                    Kept::Destroyed | Kept::Absent => None,
                }));
            }
            Request::Make { name, answer } => match self.find(&name) {
                Ok(Kept::Absent) => self.stage(name, answer),
                known => {
                    let key = known.map(|known| match known {
                        Kept::Key(key) => Some(key),
                        Kept::Destroyed => Some(self.lost(&name)),
                        Kept::Absent => None,
                    });
                    let _ = answer.send(key);
                }
            },
            Request::Destroy { name, answer } => {
                self.sync();
                let _ = answer.send(self.destroy(&name));
            }
            Request::Copy { to, answer } => {
                self.sync();
                let _ = answer.send(self.file.copy(&to));
            }
            Request::Destroyed { answer } => {
                let names = self.file.destroyed().map_err(|error| {
                    Fault::Internal(format!("the subject keys cannot be read: {error}"))
                });
                let _ = answer.send(names);
            }
        }
    }

    fn find(&self, name: &Arc<str>) -> Result<Kept, Fault> {
        if let Some(key) = self.cache.get(name) {
            return Ok(Kept::Key(key));
        }
        let found = self.file.find(name).map_err(|error| {
            Fault::Internal(format!("the subject key {name} cannot be read: {error}"))
        })?;
        Ok(match found {
            Found::Key(secret) => Kept::Key(self.keep(name, &secret)),
            Found::Destroyed => Kept::Destroyed,
            Found::Absent => Kept::Absent,
        })
    }

    /// A key that is neither written nor kept.
    fn lost(&self, name: &Arc<str>) -> Arc<SubjectKey> {
        let mut secret = Secret::default();
        self.ids.random(secret.as_mut_slice());
        let ids = Arc::clone(&self.ids);
        Arc::new(SubjectKey::new(Arc::clone(name), &secret, ids))
    }

    fn keep(&self, name: &Arc<str>, secret: &Secret) -> Arc<SubjectKey> {
        let key = Arc::new(SubjectKey::new(
            Arc::clone(name),
            secret,
            Arc::clone(&self.ids),
        ));
        self.cache.insert(Arc::clone(name), Arc::clone(&key));
        key
    }

    fn stage(&mut self, name: Arc<str>, answer: FoundAnswer) {
        if let Some(fault) = &self.stopped {
            let _ = answer.send(Err(fault.clone()));
            return;
        }
        let ids = &self.ids;
        let staged = self.staged.entry(name).or_insert_with(|| {
            let mut key = Secret::default();
            ids.random(key.as_mut_slice());
            let mut nonce = [0; 12];
            ids.random(&mut nonce);
            Staged {
                key,
                nonce,
                waiting: Vec::new(),
            }
        });
        staged.waiting.push(answer);
    }

    /// Writes what is staged and answers.
    fn sync(&mut self) {
        if self.staged.is_empty() {
            return;
        }
        let staged = std::mem::take(&mut self.staged);
        let keys: Vec<_> = staged
            .iter()
            .map(|(name, s)| (&**name, &s.key, s.nonce))
            .collect();
        let written = self.file.append(&keys).map_err(|error| self.fault(error));
        for (name, staged) in staged {
            let key = written
                .as_ref()
                .map(|()| Some(self.keep(&name, &staged.key)));
            for answer in staged.waiting {
                let _ = answer.send(key.clone().map_err(Fault::clone));
            }
        }
    }

    fn destroy(&mut self, name: &Arc<str>) -> Result<bool, Fault> {
        if let Some(fault) = &self.stopped {
            return Err(fault.clone());
        }
        // First, so that a key whose end failed half-way is not handed out from here.
        self.cache.remove(name);
        self.file.destroy(name).map_err(|error| self.fault(error))
    }

    fn fault(&mut self, error: WriteError) -> Fault {
        match error {
            WriteError::NoSpace => Fault::NoSpace,
            WriteError::Lost(error) => {
                tracing::error!(%error, "subject keys can no longer be written; a restart reads what is on the disk");
                let fault =
                    Fault::Stopped(format!("subject keys can no longer be written: {error}"));
                self.stopped = Some(fault.clone());
                fault
            }
        }
    }
}
