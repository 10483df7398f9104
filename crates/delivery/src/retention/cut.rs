//! What is due, and how it goes.

use std::time::Duration;

use tokio::time::Instant;

use super::{Anchor, Retention, before, rest};
use crate::clock::Time;
use crate::commit::{Transaction, Write};
use crate::event::Event as _;
use crate::events::AuditCheckpointSealed;
use crate::fault::Fault;
use crate::log::CommitError;

/// Events that one archive is of, at most: it is written in one go.
const SEGMENT: u64 = 20_000;

/// Events that one commit takes out one by one: some milliseconds of the writer, which everybody waits for.
const SLICE: u64 = 500;

/// What is due is cut a whole period at once, so that archives are few.
const PERIOD: Duration = Duration::from_hours(24);

/// So few events are looked at before they are cut: they may be nothing but old checkpoints.
const FEW: usize = 64;

impl Retention {
    /// The end of the next segment that may go, behind what is `archived`; `None` where there is none.
    pub(super) async fn due(&self, anchor: &Anchor, archived: u64) -> Result<Option<u64>, Fault> {
        let old = self.old(anchor, self.terms.keep).await?;
        if old <= archived {
            return Ok(None);
        }
        let readers = self.readers(anchor, old).await?;
        let upto = readers.min(archived + SEGMENT);
        if upto <= archived || self.only_checkpoints(archived, upto).await? {
            return Ok(None);
        }
        Ok(Some(upto))
    }

    /// The last position whose event is older than `age`, in whole periods.
    pub(super) async fn old(&self, anchor: &Anchor, age: Duration) -> Result<u64, Fault> {
        let period = i64::try_from(PERIOD.min(self.terms.keep).as_micros()).unwrap_or(i64::MAX);
        let limit = before(self.now(), age).as_microsecond();
        let limit = limit - limit.rem_euclid(period.max(1));
        let (mut low, mut high) = (anchor.position, self.log().head().borrow().position);
        // Events are in the order of the time at which they were recorded, but for clocks that were set back.
        while low < high {
            let middle = high - (high - low) / 2;
            let recorded = self.recorded_at(middle).await?;
            if recorded.is_some_and(|at| at.as_microsecond() >= limit) {
                high = middle - 1;
            } else {
                low = middle;
            }
        }
        Ok(low)
    }

    async fn recorded_at(&self, position: u64) -> Result<Option<Time>, Fault> {
        let found = self.log().read(position - 1, 1).await?;
        Ok(found.first().map(|event| event.recorded_at))
    }

    /// Whether cutting would only replace what earlier cuts left by what this one leaves.
    async fn only_checkpoints(&self, after: u64, upto: u64) -> Result<bool, Fault> {
        if upto - after > FEW as u64 {
            return Ok(false);
        }
        let events = self.log().read(after, FEW).await?;
        let mut old = events.iter().filter(|event| event.position <= upto);
        Ok(old.all(|event| event.envelope.kind == AuditCheckpointSealed::META.kind))
    }

    /// Cuts, and says how far it came: less where somebody turned out to need what was to go. Whole parts go first, for the rest
    /// is of the part behind them.
    pub(super) async fn cut(&self, anchor: &Anchor, upto: u64) -> Result<u64, Fault> {
        let mut from = anchor.position;
        loop {
            let part = self.shelf.oldest_part().await?;
            let Some(end) = part.filter(|end| (from + 1..=upto).contains(end)) else {
                break;
            };
            self.empty_index(from, end).await?;
            let drop = |to: &Anchor| self.shelf.drop_part(from, to);
            if !self.step(from, end, drop).await? {
                return Ok(from);
            }
            from = end;
        }
        while from < upto {
            let end = upto.min(from + SLICE);
            let slice = |to: &Anchor| self.shelf.cut(from, to);
            if !self.step(from, end, slice).await? {
                break;
            }
            from = end;
        }
        Ok(from)
    }

    /// One commit that moves the anchor. False: somebody needs what was to go.
    async fn step(
        &self,
        from: u64,
        end: u64,
        writes: impl FnOnce(&Anchor) -> Vec<Write>,
    ) -> Result<bool, Fault> {
        let began = Instant::now();
        let to = self.anchor_at(end).await?;
        match self.commit(writes(&to)).await {
            Ok(()) => {}
            Err(CommitError::Missed(0)) => return Ok(false),
            Err(CommitError::Missed(_)) => {
                let what = format!("the log is not dense between positions {from} and {end}");
                return Err(Fault::Internal(what));
            }
            Err(CommitError::Fault(fault)) => return Err(fault),
        }
        rest(began.elapsed()).await;
        Ok(true)
    }

    /// What goes as a whole leaves the index first, in slices: from then on a search does not find it any more.
    async fn empty_index(&self, from: u64, upto: u64) -> Result<(), Fault> {
        let mut at = from;
        while at < upto {
            let began = Instant::now();
            at = upto.min(at + SLICE);
            let cut = self.commit(vec![self.shelf.cut_index(at)]).await;
            cut.map_err(Fault::internal)?;
            rest(began.elapsed()).await;
        }
        Ok(())
    }

    async fn anchor_at(&self, position: u64) -> Result<Anchor, Fault> {
        let last = self.log().read(position - 1, 1).await?.pop();
        let last = last.filter(|event| event.position == position);
        let last = last.ok_or_else(|| {
            Fault::Internal(format!(
                "the log has no event at position {position}, which is to be cut"
            ))
        })?;
        let mut anchor = Anchor {
            position,
            chain: last.chain,
            signature: None,
        };
        anchor.signature = Some(self.archive.sign(&anchor.statement()));
        Ok(anchor)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<(), CommitError> {
        let transaction = Transaction {
            writes,
            records: Vec::new(),
        };
        self.log().commit(transaction).await.map(|_| ())
    }
}
