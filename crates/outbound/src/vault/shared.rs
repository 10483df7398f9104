//! The keys of subjects where several nodes share them: wrapped, in their database.
//!
//! **Guarantees.** A key that was handed out is durable, and all nodes hand out the same. A key that was destroyed is not
//! handed out by any node a few seconds later ([`REMEMBERED`]), by the one that destroyed it at once.
//!
//! **Not guaranteed.** That no copy of it is left: a database has backups, and a log of its own. Such a copy is useless without
//! `master.key`, which is in none of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::seal::{KeptKey, KeptKeys, SealKey, Vault};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{BoxFuture, Fault, Ids};
use tokio::time::Instant;

use super::record::{MAX_NAME_BYTES, Wrapping};
use super::{CACHED_KEYS, CACHED_KEYS_AT_START, SubjectKey};
use crate::derivation::Secret;
use crate::keys::KeyStore;

/// How long a key may be handed out without asking the database again: another node may have destroyed it.
const REMEMBERED: Duration = Duration::from_secs(4);

type Cache = quick_cache::sync::Cache<Arc<str>, (Instant, Arc<SubjectKey>)>;

/// The keys of subjects, in a database. Cloning shares it.
#[derive(Clone)]
pub struct SharedVault(Arc<Inner>);

struct Inner {
    kept: Arc<dyn KeptKeys>,
    wrapping: Wrapping,
    cache: Cache,
    ids: Arc<dyn Ids>,
    tasks: Tasks,
}

impl SharedVault {
    /// `ids` gives keys and nonces.
    pub fn new(keys: &KeyStore, kept: Arc<dyn KeptKeys>, ids: Arc<dyn Ids>, tasks: Tasks) -> Self {
        Self(Arc::new(Inner {
            kept,
            wrapping: Wrapping::new(&keys.wrapping_key()),
            cache: Cache::with_weighter(
                CACHED_KEYS_AT_START,
                CACHED_KEYS,
                quick_cache::UnitWeighter,
            ),
            ids,
            tasks,
        }))
    }

    fn remembered(&self, name: &str) -> Option<Arc<dyn SealKey>> {
        let (since, key) = self.0.cache.get(name)?;
        (since.elapsed() < REMEMBERED).then_some(key as Arc<dyn SealKey>)
    }

    /// Asked for when this is called.
    fn asked<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Fault>> {
        let done = self.0.tasks.spawn(work);
        Box::pin(async move { done.await.map_err(Fault::internal)? })
    }
}

/// What there is of a name.
enum Found {
    Key(Arc<SubjectKey>),
    Destroyed,
    Absent,
}

impl Inner {
    async fn find(&self, name: &str) -> Result<Found, Fault> {
        let since = Instant::now();
        Ok(match self.kept.find(name).await? {
            None => Found::Absent,
            Some(KeptKey::Destroyed) => {
                self.cache.remove(name);
                Found::Destroyed
            }
            Some(KeptKey::Wrapped(wrapped)) => {
                let secret = self.wrapping.unwrap_alone(&wrapped, name);
                let changed = || {
                    Fault::Internal(format!(
                        "the subject key {name} was changed, or wrapped under another master.key"
                    ))
                };
                let key = self.made_of(name, &secret.ok_or_else(changed)?);
                let kept = (since, Arc::clone(&key));
                self.cache.insert(Arc::from(name), kept);
                Found::Key(key)
            }
        })
    }

    async fn find_or_make(&self, name: &str) -> Result<Arc<SubjectKey>, Fault> {
        loop {
            match self.find(name).await? {
                Found::Key(key) => return Ok(key),
                // One that nobody keeps.
                Found::Destroyed => return Ok(self.made_of(name, &self.fresh())),
                Found::Absent => {
                    let (since, secret) = (Instant::now(), self.fresh());
                    let mut nonce = [0; 12];
                    self.ids.random(&mut nonce);
                    let wrapped = self.wrapping.wrap_alone(name, &secret, nonce);
                    if self.kept.keep(name, &wrapped).await? {
                        let key = self.made_of(name, &secret);
                        let kept = (since, Arc::clone(&key));
                        self.cache.insert(Arc::from(name), kept);
                        return Ok(key);
                    }
                    // Another was faster: it is there.
                }
            }
        }
    }

    fn fresh(&self) -> Secret {
        let mut secret = Secret::default();
        self.ids.random(secret.as_mut_slice());
        secret
    }

    fn made_of(&self, name: &str, secret: &Secret) -> Arc<SubjectKey> {
        Arc::new(SubjectKey::new(
            Arc::from(name),
            secret,
            Arc::clone(&self.ids),
        ))
    }
}

fn check(name: &str) -> Result<(), Fault> {
    if name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(Fault::Internal(format!(
        "a key's name has at most {MAX_NAME_BYTES} bytes: {name}"
    )))
}

impl Vault for SharedVault {
    fn key(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn SealKey>, Fault>> {
        if let Some(key) = self.remembered(name) {
            return Box::pin(std::future::ready(Ok(key)));
        }
        if let Err(fault) = check(name) {
            return Box::pin(std::future::ready(Err(fault)));
        }
        let (inner, name) = (Arc::clone(&self.0), name.to_owned());
        self.asked(async move {
            let key = inner.find_or_make(&name).await?;
            Ok(key as Arc<dyn SealKey>)
        })
    }

    fn existing(&self, name: &str) -> BoxFuture<'_, Result<Option<Arc<dyn SealKey>>, Fault>> {
        if let Some(key) = self.remembered(name) {
            return Box::pin(std::future::ready(Ok(Some(key))));
        }
        let (inner, name) = (Arc::clone(&self.0), name.to_owned());
        self.asked(async move {
            Ok(match inner.find(&name).await? {
                Found::Key(key) => Some(key as Arc<dyn SealKey>),
                Found::Destroyed | Found::Absent => None,
            })
        })
    }

    fn destroy(&self, name: &str) -> BoxFuture<'_, Result<bool, Fault>> {
        let (inner, name) = (Arc::clone(&self.0), name.to_owned());
        self.asked(async move {
            let destroyed = inner.kept.destroy(&name).await;
            inner.cache.remove(name.as_str());
            destroyed
        })
    }

    fn destroyed(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        self.0.kept.destroyed()
    }
}

impl fmt::Debug for SharedVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedVault").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::scratch::{Scratch, ids, now};

    /// A database that two nodes share.
    #[derive(Default)]
    struct Table(Mutex<BTreeMap<String, Option<Vec<u8>>>>);

    impl Table {
        fn with<T: Send + 'static>(
            &self,
            work: impl FnOnce(&mut BTreeMap<String, Option<Vec<u8>>>) -> T,
        ) -> BoxFuture<'static, Result<T, Fault>> {
            let done = work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
            Box::pin(std::future::ready(Ok(done)))
        }
    }

    impl KeptKeys for Table {
        fn find(&self, name: &str) -> BoxFuture<'_, Result<Option<KeptKey>, Fault>> {
            self.with(|rows| {
                let row = rows.get(name).cloned();
                row.map(|wrapped| wrapped.map_or(KeptKey::Destroyed, KeptKey::Wrapped))
            })
        }

        fn keep(&self, name: &str, wrapped: &[u8]) -> BoxFuture<'_, Result<bool, Fault>> {
            self.with(|rows| {
                let is_new = !rows.contains_key(name);
                rows.entry(name.to_owned())
                    .or_insert_with(|| Some(wrapped.to_owned()));
                is_new
            })
        }

        fn destroy(&self, name: &str) -> BoxFuture<'_, Result<bool, Fault>> {
            self.with(|rows| rows.get_mut(name).and_then(Option::take).is_some())
        }

        fn destroyed(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
            self.with(|rows| {
                let gone = rows.iter().filter(|(_, wrapped)| wrapped.is_none());
                gone.map(|(name, _)| name.clone()).collect()
            })
        }
    }

    fn keys(scratch: &Scratch) -> KeyStore {
        let directory = scratch.path().join("keys");
        KeyStore::open(&directory, ids().as_ref(), now()).expect("a key ring")
    }

    fn node(keys: &KeyStore, table: &Arc<Table>) -> SharedVault {
        SharedVault::new(keys, Arc::clone(table) as _, ids(), Tasks::new())
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_hand_out_the_same_key_until_one_destroys_it() {
        let (scratch, table) = (Scratch::new(), Arc::default());
        let keys = keys(&scratch);
        let (one, two) = (node(&keys, &table), node(&keys, &table));
        assert!(two.existing("s:ann").await.expect("read").is_none());
        let sealed = one.key("s:ann").await.expect("a key").seal(b"1", b"plain");
        let theirs = two.key("s:ann").await.expect("a key");
        assert_eq!(theirs.open(b"1", &sealed).as_deref(), Some(&b"plain"[..]));
        assert!(one.destroy("s:ann").await.expect("a commit"));
        assert!(!one.destroy("s:ann").await.expect("a commit"));
        assert!(one.existing("s:ann").await.expect("read").is_none());
        tokio::time::sleep(REMEMBERED).await;
        assert!(two.existing("s:ann").await.expect("read").is_none());
        // What is still under way about her can end, and nobody reads it.
        let lost = two.key("s:ann").await.expect("a key");
        assert_eq!(lost.open(b"1", &sealed), None);
        assert_eq!(two.destroyed().await.expect("read"), ["s:ann"]);
    }

    #[tokio::test]
    async fn without_their_master_key_the_rows_are_worth_nothing() {
        let (scratch, other, table) = (Scratch::new(), Scratch::new(), Arc::default());
        let ours = node(&keys(&scratch), &table);
        ours.key("s:ann").await.expect("a key");
        let theirs = node(&keys(&other), &table);
        let fault = theirs.existing("s:ann").await.map(|_| ()).unwrap_err();
        assert!(fault.to_string().contains("master.key"), "{fault}");
        // Nor under another name.
        let moved = table.0.lock().map(|mut rows| {
            let wrapped = rows.get("s:ann").cloned().flatten();
            rows.insert("s:bob".to_owned(), wrapped);
        });
        moved.expect("nobody panics");
        assert!(ours.existing("s:bob").await.is_err());
    }
}
