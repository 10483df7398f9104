//! A key for each person, wrapped, in a file beside the other keys: `<data_dir>/keys/subject-keys.dat`.
//!
//! **Cast.** [`FileVault`] answers from a cache of unwrapped keys, or asks the one thread that owns the file. The file
//! is a row of records of equal size, appended to and overwritten in place; an index in memory says where each is.
//!
//! **Guarantees.** A key that was handed out is on the disk, and many that are asked for at once share one sync. A crash
//! leaves whole records; what it cut short is cut off at the next start, and damage anywhere else refuses to open. A
//! destroyed key is overwritten where it lay, and synced, before [`Vault::destroy`] answers; nobody gets it afterwards.
//!
//! **Not guaranteed.** That the disk itself keeps no copy (a solid-state drive moves what is overwritten, a snapshot
//! keeps it): such a copy is useless without `master.key`. That a task which holds a key already loses it. That damage to
//! the keys written last, at the very end of the file, is told from a crash.

mod file;
mod keeper;
mod record;
mod shared;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce};
use aws_lc_rs::hmac;
use quick_cache::UnitWeighter;
use quivive_delivery::seal::{SealKey, Vault};
use quivive_delivery::{BoxFuture, Fault, Ids};
use tokio::sync::oneshot;

use crate::derivation::{Secret, derive, mac};
use crate::keys::{KeyError, KeyStore};
use file::KeyFile;
use keeper::{Cache, FoundAnswer, Keeper, Request};
use record::{MAX_NAME_BYTES, Wrapping, aes_256_gcm};

pub use shared::SharedVault;

/// The file's name.
pub(crate) const FILE: &str = "subject-keys.dat";

/// Unwrapped keys kept in memory: the people of a busy hour, in about 3 MB.
const CACHED_KEYS: u64 = 10_000;
/// What the cache takes memory for at the start; it grows with what it holds.
const CACHED_KEYS_AT_START: usize = 500;
/// Requests that may wait for the thread. Beyond it the disk is too slow for what is asked.
const MAX_WAITING: usize = 4_096;
/// What a caller is told to wait when too many do.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Makes an empty file, for the first start.
pub(crate) fn create(path: &Path, wrapping_key: &Secret) -> Result<(), KeyError> {
    file::create(path, &Wrapping::new(wrapping_key))
}

/// Why the keys were not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("cannot copy the subject keys: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The keys of subjects. Dropping it ends its thread, after what was asked is done.
pub struct FileVault {
    cache: Arc<Cache>,
    requests: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl FileVault {
    /// Opens the file in the directory of `keys` and starts its thread. `ids` gives keys and nonces. Blocks on the disk.
    pub fn open(keys: &KeyStore, ids: Arc<dyn Ids>) -> Result<Self, KeyError> {
        let path = keys.directory().join(FILE);
        let file = KeyFile::open(&path, Wrapping::new(&keys.wrapping_key()))?;
        let cache = Arc::new(Cache::with_weighter(
            CACHED_KEYS_AT_START,
            CACHED_KEYS,
            UnitWeighter,
        ));
        let keeper = Keeper::new(file, Arc::clone(&cache), ids);
        let (requests, inbox) = sync_channel(MAX_WAITING);
        let thread = std::thread::Builder::new()
            .name("subject-keys".to_owned())
            .spawn(move || keeper.run(&inbox))
            .map_err(|source| KeyError::Io { path, source })?;
        Ok(Self {
            cache,
            requests: Some(requests),
            thread: Some(thread),
        })
    }

    fn ask(&self, request: Request) -> Result<(), Fault> {
        let requests = self.requests.as_ref().ok_or_else(gone)?;
        requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => Fault::Busy {
                what: "the keeping of subject keys",
                retry_after: RETRY_AFTER,
            },
            TrySendError::Disconnected(_) => gone(),
        })
    }

    /// Copies all keys of the server into a directory, which is made: those of `keys`, and these. Answers how many bytes
    /// they are. Whoever has a copy can read what a backup of the database holds.
    pub async fn copy_with(&self, keys: &KeyStore, directory: &Path) -> Result<u64, CopyError> {
        let bytes = keys.copy(directory)?;
        let (answer, answered) = oneshot::channel();
        let to = directory.join(FILE);
        self.ask(Request::Copy { to, answer })?;
        let copied = answered.await.map_err(|_| gone())??;
        Ok(bytes + copied)
    }

    /// From the cache, or from the thread.
    fn lookup(
        &self,
        name: &str,
        request: fn(Arc<str>, FoundAnswer) -> Request,
    ) -> BoxFuture<'_, Result<Option<Arc<dyn SealKey>>, Fault>> {
        if let Some(key) = self.cache.get(name) {
            return Box::pin(std::future::ready(Ok(Some(key as Arc<dyn SealKey>))));
        }
        if name.len() > MAX_NAME_BYTES {
            let fault = Fault::Internal(format!(
                "a key's name has at most {MAX_NAME_BYTES} bytes: {name}"
            ));
            return Box::pin(std::future::ready(Err(fault)));
        }
        let (answer, answered) = oneshot::channel();
        let asked = self.ask(request(Arc::from(name), answer));
        Box::pin(async move {
            asked?;
            let found = answered.await.map_err(|_| gone())??;
            Ok(found.map(|key| key as Arc<dyn SealKey>))
        })
    }
}

fn gone() -> Fault {
    Fault::Stopped("the keeping of subject keys has ended".to_owned())
}

impl Vault for FileVault {
    fn key(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn SealKey>, Fault>> {
        let made = self.lookup(name, |name, answer| Request::Make { name, answer });
        Box::pin(async move {
            made.await?
                .ok_or_else(|| Fault::Internal("a key that was to be made was not".to_owned()))
        })
    }

    fn existing(&self, name: &str) -> BoxFuture<'_, Result<Option<Arc<dyn SealKey>>, Fault>> {
        self.lookup(name, |name, answer| Request::Find { name, answer })
    }

    /// Overwrites the key of that name, for good.
    fn destroy(&self, name: &str) -> BoxFuture<'_, Result<bool, Fault>> {
        let (answer, answered) = oneshot::channel();
        let name = Arc::from(name);
        let asked = self.ask(Request::Destroy { name, answer });
        Box::pin(async move {
            asked?;
            answered.await.map_err(|_| gone())?
        })
    }

    /// Reads the whole file.
    fn destroyed(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        let (answer, answered) = oneshot::channel();
        let asked = self.ask(Request::Destroyed { answer });
        Box::pin(async move {
            asked?;
            answered.await.map_err(|_| gone())?
        })
    }
}

impl Drop for FileVault {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for FileVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileVault")
            .field("cached", &self.cache.len())
            .finish_non_exhaustive()
    }
}

/// A subject's key, unwrapped: one derived key to seal with and one for digests.
///
/// Sealed bytes are a random nonce, the AES-256-GCM ciphertext and its tag. The cipher is set up at each use: that costs
/// less than a microsecond, and the cache a fifth of the memory.
pub struct SubjectKey {
    name: Arc<str>,
    sealing: Secret,
    digesting: Secret,
    ids: Arc<dyn Ids>,
}

impl SubjectKey {
    fn new(name: Arc<str>, secret: &Secret, ids: Arc<dyn Ids>) -> Self {
        Self {
            name,
            sealing: derive(secret, "seal", ""),
            digesting: derive(secret, "digest", ""),
            ids,
        }
    }
}

impl SealKey for SubjectKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn seal(&self, bound_to: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        self.ids.random(&mut nonce);
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = aes_256_gcm(&self.sealing)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to),
                &mut sealed[NONCE_LEN..],
            )
            .expect("AES-GCM seals anything under 64 GiB");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = rest.to_vec();
        let plain = aes_256_gcm(&self.sealing)
            .open_in_place(nonce, Aad::from(bound_to), &mut bytes)
            .ok()?;
        let length = plain.len();
        bytes.truncate(length);
        Some(bytes)
    }

    fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        mac(
            &hmac::Key::new(hmac::HMAC_SHA256, self.digesting.as_slice()),
            bytes,
        )
    }
}

#[cfg(test)]
mod tests;
