//! Time, identifiers, random bytes and keys that repeat from run to run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use crate::BoxFuture;
use crate::clock::{Clock, Ids, Time};
use crate::fault::Fault;
use crate::seal::{SealKey, Vault};

/// A clock that follows tokio's, so that paused time is paused here too. It can be set forward on its own.
pub struct TestClock {
    began: tokio::time::Instant,
    ahead_us: AtomicU64,
}

impl TestClock {
    /// Must be made inside a tokio runtime.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            began: tokio::time::Instant::now(),
            ahead_us: AtomicU64::new(0),
        })
    }

    /// Jumps forward.
    pub fn jump(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).expect("a jump of a test is short");
        self.ahead_us.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Time {
        /// 2026-01-01T00:00:00Z
        const START_US: i64 = 1_767_225_600_000_000;
        let since =
            self.began.elapsed() + Duration::from_micros(self.ahead_us.load(Ordering::Relaxed));
        let micros = i64::try_from(since.as_micros()).expect("a test is short");
        Time::from_microsecond(START_US + micros).expect("a time in this century")
    }
}

/// Identifiers that count, random bytes that repeat from run to run.
#[derive(Default)]
pub struct TestIds(AtomicU64);

impl Ids for TestIds {
    fn next(&self) -> Uuid {
        // Above what `Memory::append` gives.
        Uuid::from_u128((1 << 64) + u128::from(self.0.fetch_add(1, Ordering::Relaxed)))
    }

    fn random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let drawn = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            *byte = drawn.to_le_bytes()[7];
        }
    }
}

/// Keys in memory that seal by turning every bit.
#[derive(Default)]
pub struct TestVault(Mutex<BTreeMap<String, Arc<TestKey>>>);

impl TestVault {
    /// Destroys a key.
    pub fn destroy(&self, name: &str) {
        self.keys().remove(name);
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<String, Arc<TestKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vault for TestVault {
    fn key(&self, name: &str) -> BoxFuture<'_, Result<Arc<dyn SealKey>, Fault>> {
        let key = self
            .keys()
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(TestKey(name.to_owned())))
            .clone();
        Box::pin(std::future::ready(Ok(key as Arc<dyn SealKey>)))
    }

    fn existing(&self, name: &str) -> BoxFuture<'_, Result<Option<Arc<dyn SealKey>>, Fault>> {
        let key = self.keys().get(name).cloned();
        Box::pin(std::future::ready(Ok(
            key.map(|key| key as Arc<dyn SealKey>)
        )))
    }

    fn destroy(&self, name: &str) -> BoxFuture<'_, Result<bool, Fault>> {
        let there = self.keys().remove(name).is_some();
        Box::pin(std::future::ready(Ok(there)))
    }

    /// It forgets that there was one.
    fn destroyed(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// A key of a [`TestVault`].
pub struct TestKey(String);

impl SealKey for TestKey {
    fn name(&self) -> &str {
        &self.0
    }

    fn seal(&self, bound_to: &[u8], plain: &[u8]) -> Vec<u8> {
        bound_to
            .iter()
            .copied()
            .chain(plain.iter().map(|byte| !byte))
            .collect()
    }

    fn open(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let sealed = sealed.strip_prefix(bound_to)?;
        Some(sealed.iter().map(|byte| !byte).collect())
    }

    fn digest(&self, bytes: &[u8]) -> [u8; 32] {
        use sha2::{Digest as _, Sha256};
        Sha256::new()
            .chain_update(&self.0)
            .chain_update(bytes)
            .finalize()
            .into()
    }
}
