//! Where the cursor is kept.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::BoxFuture;
use crate::cursor::Cursor;

/// Why a cursor was not read or kept.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// Keeps a cursor. Who has a database keeps it there, in the transaction of what an event leads to, and has each effect
/// exactly once: take [`Consumer::cursor_after`](crate::Consumer::cursor_after) for that, and let `save` do nothing.
pub trait CursorStore: Send {
    /// As it was kept last; `None` at the first start.
    fn load(&mut self) -> BoxFuture<'_, Result<Option<Cursor>, StoreError>>;

    /// Keeps it in the place of the one before. Called once a second at most, and at the end.
    fn save<'a>(&'a mut self, cursor: &'a Cursor) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// In a file, replaced as a whole and synced.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
}

impl FileStore {
    /// The directory must be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl CursorStore for FileStore {
    fn load(&mut self) -> BoxFuture<'_, Result<Option<Cursor>, StoreError>> {
        Box::pin(async move {
            match tokio::fs::read_to_string(&self.path).await {
                Ok(text) => Ok(Some(text.trim().parse()?)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn save<'a>(&'a mut self, cursor: &'a Cursor) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            use tokio::io::AsyncWriteExt as _;
            let mut beside = self.path.clone().into_os_string();
            beside.push(".new");
            let mut file = tokio::fs::File::create(&beside).await?;
            file.write_all(format!("{cursor}\n").as_bytes()).await?;
            file.sync_all().await?;
            tokio::fs::rename(&beside, &self.path).await?;
            Ok(())
        })
    }
}

/// In memory: for tests, and for who wants everything again after a restart.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Option<Cursor>>);

impl MemoryStore {
    /// As if this had been kept.
    pub fn with(cursor: Cursor) -> Self {
        Self(Mutex::new(Some(cursor)))
    }
}

impl CursorStore for MemoryStore {
    fn load(&mut self) -> BoxFuture<'_, Result<Option<Cursor>, StoreError>> {
        let kept = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.clone();
        Box::pin(async move { Ok(kept) })
    }

    fn save<'a>(&'a mut self, cursor: &'a Cursor) -> BoxFuture<'a, Result<(), StoreError>> {
        *self.0.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(cursor.clone());
        Box::pin(async { Ok(()) })
    }
}
