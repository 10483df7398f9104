//! Follows the log and fills the index.

use std::sync::Arc;
use std::time::Duration;

use quivive_delivery::{CommitError, Fault, Log, Transaction};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tags::Tags;
use crate::ports::{EventIndex, IndexEntry};

/// Events of one commit: some milliseconds of the writer, which everybody else waits for.
const BATCH: usize = 256;

/// How long the first event of a batch waits for others: a commit for each would sync for each.
const GATHER: Duration = Duration::from_millis(50);

/// After a batch it rests so many times as long as that took, which leaves the writer to others.
const REST: u32 = 2;

/// How long to wait after an error.
const RETRY: Duration = Duration::from_secs(1);

/// Fills the index of the log.
pub struct Indexer {
    log: Arc<dyn Log>,
    index: Arc<dyn EventIndex>,
    tags: Tags,
    /// Whether it is this node that fills it.
    mine: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Indexer {
    pub fn new(index: Arc<dyn EventIndex>, tags: Tags) -> Self {
        Self {
            log: Arc::clone(&tags.log),
            index,
            tags,
            mine: Box::new(|| true),
        }
    }

    /// Fills it only while this holds. Several may fill it at once; they only do it twice.
    #[must_use]
    pub fn while_mine(self, mine: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let mine = Box::new(mine);
        Self { mine, ..self }
    }

    /// Follows the log until the server stops.
    pub async fn run(self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = self.follow() => {}
        }
    }

    /// Fills it up to the head of now.
    pub async fn catch_up(&self) -> Result<(), Fault> {
        let mut reached = self.index.reaches().await?;
        let head = self.log.head().borrow().position;
        while reached < head {
            let upto = self.batch(reached).await?;
            if upto == reached {
                break;
            }
            reached = upto;
        }
        Ok(())
    }

    async fn follow(&self) {
        let mut head = self.log.head();
        let mut failing = false;
        let mut reached = None;
        loop {
            if !(self.mine)() {
                reached = None;
                tokio::time::sleep(RETRY).await;
                continue;
            }
            let began = Instant::now();
            match self.step(reached).await {
                Ok((before, after)) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("the index of the log is filled again");
                    }
                    reached = Some(after);
                    if after > before {
                        tokio::time::sleep(REST * began.elapsed()).await;
                    } else if head.wait_for(|head| head.position > after).await.is_err() {
                        return;
                    } else {
                        tokio::time::sleep(GATHER).await;
                    }
                }
                Err(fault) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%fault, "the index of the log cannot be filled; trying again");
                    }
                    reached = None;
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// One batch. Says where it began and where it ended.
    async fn step(&self, reached: Option<u64>) -> Result<(u64, u64), Fault> {
        let before = match reached {
            Some(reached) => reached,
            None => self.index.reaches().await?,
        };
        Ok((before, self.batch(before).await?))
    }

    async fn batch(&self, reached: u64) -> Result<u64, Fault> {
        let events = self.log.read(reached, BATCH).await?;
        let Some(upto) = events.last().map(|event| event.position) else {
            return Ok(reached);
        };
        let mut entries = Vec::with_capacity(events.len());
        for event in &events {
            let (address, ip) = self.tags.of(event).await?;
            entries.push(IndexEntry { event, address, ip });
        }
        let transaction = Transaction {
            writes: self.index.fill(reached, &entries),
            records: Vec::new(),
        };
        match self.log.commit(transaction).await {
            Ok(_) => Ok(upto),
            Err(CommitError::Fault(fault)) => Err(fault),
            // Another node filled it meanwhile: from where it ends now.
            Err(CommitError::Missed(_)) => match self.index.reaches().await? {
                same if same == reached => Err(Fault::Internal(format!(
                    "the index does not end at position {reached}"
                ))),
                other => Ok(other),
            },
        }
    }
}
