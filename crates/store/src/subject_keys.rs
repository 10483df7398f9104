//! The keys of subjects where several nodes share them: wrapped bytes by name.

use quivive_delivery::seal::{KeptKey, KeptKeys};
use quivive_delivery::{BoxFuture, CommitError, Fault, Log as _, Passing, Transaction, Write};
use uuid::Uuid;

use crate::Database;

statements! {
    FIND = "SELECT wrapped FROM subject_key WHERE name = $1";

    KEEP = "INSERT INTO subject_key (name, wrapped) VALUES ($1, $2) ON CONFLICT DO NOTHING";

    DESTROY = "UPDATE subject_key SET wrapped = NULL WHERE name = $1 AND wrapped IS NOT NULL";

    DESTROYED = "SELECT name FROM subject_key WHERE wrapped IS NULL";
}

impl Database {
    /// Whether it did what it says; a miss is a "no".
    async fn of_key(&self, write: Write) -> Result<bool, Fault> {
        // Whose order nobody relies on: it need not wait for what the engine commits.
        let write = write.passing(Passing::Stays(Uuid::nil()));
        let transaction = Transaction {
            writes: vec![write],
            records: Vec::new(),
        };
        match self.commit(transaction).await {
            Ok(_) => Ok(true),
            Err(CommitError::Missed(_)) => Ok(false),
            Err(CommitError::Fault(fault)) => Err(fault),
        }
    }
}

impl KeptKeys for Database {
    fn find(&self, name: &str) -> BoxFuture<'_, Result<Option<KeptKey>, Fault>> {
        self.one(FIND, vec![name.to_owned().into()], |cells| {
            let wrapped: Option<Vec<u8>> = cells.take("subject_key.wrapped")?;
            Ok(wrapped.map_or(KeptKey::Destroyed, KeptKey::Wrapped))
        })
    }

    fn keep(&self, name: &str, wrapped: &[u8]) -> BoxFuture<'_, Result<bool, Fault>> {
        let params = vec![name.to_owned().into(), wrapped.to_owned().into()];
        Box::pin(self.of_key(Write::one(KEEP, params)))
    }

    fn destroy(&self, name: &str) -> BoxFuture<'_, Result<bool, Fault>> {
        let name = name.to_owned();
        Box::pin(async move {
            // Of months that are long over there is nothing, and a commit that misses is an error in the server's log.
            match self.find(&name).await? {
                Some(KeptKey::Wrapped(_)) => {
                    self.of_key(Write::one(DESTROY, vec![name.into()])).await
                }
                Some(KeptKey::Destroyed) | None => Ok(false),
            }
        })
    }

    fn destroyed(&self) -> BoxFuture<'_, Result<Vec<String>, Fault>> {
        self.all(DESTROYED, Vec::new(), |cells| {
            cells.take("subject_key.name")
        })
    }
}
