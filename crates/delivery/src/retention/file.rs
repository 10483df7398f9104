//! What is kept of a segment, in a file; and files that were kept for long enough.

use std::time::Duration;

use tokio::time::Instant;

use super::{Binder, Filed, Heading, Retention, before, rest};
use crate::commit::Transaction;
use crate::envelope::Stored;
use crate::fault::Fault;
use crate::log::CommitError;

/// Events read and written at once.
const CHUNK: usize = 500;

/// Archives looked at in one read.
const ARCHIVES: u32 = 100;

impl Retention {
    /// Archives the segment from behind a position, with the chain there: the file first, then its row and the checkpoint in
    /// one commit. Says how many events it holds.
    pub(super) async fn file(
        &self,
        (from, chain_before): (u64, [u8; 32]),
        upto: u64,
    ) -> Result<u64, Fault> {
        let last = self.log().read(upto - 1, 1).await?.pop();
        let last = last.ok_or_else(|| Fault::Internal(format!("no event at position {upto}")))?;
        let mut binder = self.archive.begin(Heading {
            from: from + 1,
            to: upto,
            chain_before,
            chain: last.chain,
            epoch: last.epoch,
        });
        let (mut at, mut events) = (from, 0);
        while at < upto {
            let began = Instant::now();
            let mut chunk = self.log().read(at, CHUNK).await?;
            chunk.retain(|event| event.position <= upto);
            let end = at + chunk.len() as u64;
            if end == at || chunk.last().is_some_and(|event| event.position != end) {
                let what = format!("the log is not dense after position {at}");
                return Err(Fault::Internal(what));
            }
            at = end;
            chunk.retain(|event| self.is_archived(event));
            events += chunk.len() as u64;
            binder = add(binder, chunk).await?;
            rest(began.elapsed()).await;
        }
        let (file, digest) = blocking(move || binder.finish()).await?;
        let filed = Filed {
            from: from + 1,
            to: upto,
            chain: last.chain,
            recorded_until: last.recorded_at,
            file,
            digest,
            events,
        };
        let scribe = &self.running.tools.scribe;
        let transaction = Transaction {
            writes: vec![self.shelf.add_archive(&filed)],
            records: vec![scribe.checkpoint(upto, &last.chain, self.archive.key_id())],
        };
        match self.log().commit(transaction).await {
            Ok(_) => Ok(events),
            Err(CommitError::Fault(fault)) => Err(fault),
            Err(missed @ CommitError::Missed(_)) => Err(Fault::internal(missed)),
        }
    }

    /// Of a type that the catalogue does not know any more nobody can say that it need not be kept.
    fn is_archived(&self, event: &Stored) -> bool {
        let spec = self
            .running
            .tools
            .scribe
            .catalogue
            .spec(&event.envelope.kind);
        spec.is_none_or(|spec| self.terms.archived.contains(&spec.category))
    }

    /// Removes the archives that were kept for long enough: the file, then its row. Says how many.
    pub(super) async fn discard(&self) -> Result<u64, Fault> {
        let limit = before(self.now(), self.terms.archive);
        let anchor = self.shelf.anchor().await?;
        let mut removed = 0;
        loop {
            let archives = self.shelf.archives(0, ARCHIVES).await?;
            let full = archives.len() == ARCHIVES as usize;
            // The newest stays: it says that what is before the anchor was archived.
            let is_old =
                |filed: &&Filed| filed.recorded_until < limit && filed.to < anchor.position;
            let old: Vec<_> = archives.iter().take_while(is_old).collect();
            for filed in &old {
                self.archive.remove(&filed.file)?;
            }
            let transaction = Transaction {
                writes: old
                    .iter()
                    .map(|filed| self.shelf.remove_archive(filed))
                    .collect(),
                records: Vec::new(),
            };
            removed += old.len() as u64;
            let more = full && old.len() == archives.len();
            if !old.is_empty() {
                self.log()
                    .commit(transaction)
                    .await
                    .map_err(Fault::internal)?;
            }
            if !more {
                return Ok(removed);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Compressing is work for a thread that nobody else waits for.
async fn add(mut binder: Box<dyn Binder>, events: Vec<Stored>) -> Result<Box<dyn Binder>, Fault> {
    blocking(move || {
        events.iter().try_for_each(|event| binder.add(event))?;
        Ok(binder)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Fault::internal(error)))
}
