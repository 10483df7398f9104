//! The tail: reads the log once, for all subscriptions.
//!
//! **Cast.** One task reads batches into a ring. Each subscription is a [`Reader`]: its bell rings when something arrives
//! that it wants, and it takes from the ring what its window has room for. While nothing does, it sleeps, and is told
//! only now and then how far that has been so: hundreds of subscriptions that want nothing cost an event nothing. A reader
//! that is older than the ring reads the log for itself until it has caught up; those that read the same share it.
//!
//! **Guarantees.** What is taken after a position is what the log has after it, without a gap, but for what the reader
//! does not want. Memory is bounded, and a slow reader holds up nobody.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::machine::Selection;
use crate::envelope::{Priority, Stored};
use crate::fault::Fault;
use crate::log::Log;

/// Events read from the log at once.
pub(super) const BATCH_EVENTS: usize = 1024;
/// The guarantee behind the wake-up: a signal may be lost, an event is not.
pub(super) const POLL_EVERY: Duration = Duration::from_millis(200);
/// Events kept for those that are not the fastest.
const RING_EVENTS: usize = 8192;
/// How far the tail reads before the fastest reader: enough that it never waits for the log.
const AHEAD_EVENTS: u64 = 4096;
/// Batches kept for those that are older than the ring.
const BACK_BATCHES: usize = 4;
/// Types of which it is known who wants them; beyond it they are found out anew.
const KINDS: usize = 1024;

/// What the ring has after a position.
#[derive(Debug)]
pub(super) enum Taken {
    Events(Vec<Arc<Stored>>),
    /// Nothing that it wants up to here.
    Nothing(u64),
    /// Nothing yet.
    Empty,
    /// It is not in the ring any more: read the log.
    Behind,
}

/// One who takes from the ring.
pub(super) struct Reader {
    selection: Mutex<Selection>,
    /// Something that it wants may lie between what it has taken and the end of the ring. Changed under the ring's lock.
    awaited: AtomicBool,
    /// What it wants begins after this, if it has not come that far.
    clear: AtomicU64,
    /// The last event that it was handed. One who asks for what is before it had to let go of some, and may want it.
    given: AtomicU64,
    bell: Notify,
}

impl Reader {
    pub(super) fn new(selection: Selection) -> Self {
        Self {
            selection: Mutex::new(selection),
            awaited: AtomicBool::new(true),
            clear: AtomicU64::new(0),
            given: AtomicU64::new(0),
            bell: Notify::new(),
        }
    }

    /// Wakes it up for another reason than an event.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    fn takes(&self, event: &Stored) -> bool {
        let selection = self.selection.lock();
        selection
            .unwrap_or_else(PoisonError::into_inner)
            .takes(event)
    }
}

struct Ring {
    /// The events after `before`, up to the last one read.
    events: VecDeque<Arc<Stored>>,
    before: u64,
    readers: Vec<Arc<Reader>>,
    /// By type and priority, who wants them. Made as they come.
    wanted: HashMap<String, [Option<Vec<Arc<Reader>>>; Priority::ALL.len()]>,
}

impl Ring {
    /// Tells those who want one of these.
    fn tell(&mut self, events: &[Arc<Stored>]) {
        for event in events {
            let envelope = &event.envelope;
            if !self.wanted.contains_key(&envelope.kind) {
                if self.wanted.len() >= KINDS {
                    self.wanted.clear();
                }
                self.wanted
                    .insert(envelope.kind.clone(), Default::default());
            }
            let Some(kind) = self.wanted.get_mut(&envelope.kind) else {
                continue;
            };
            let readers = &self.readers;
            let wanting = kind[envelope.priority as usize].get_or_insert_with(|| {
                let wanting = readers.iter().filter(|reader| reader.takes(event));
                wanting.cloned().collect()
            });
            for reader in wanting {
                if !reader.awaited.swap(true, Ordering::AcqRel) {
                    reader.clear.store(event.position - 1, Ordering::Release);
                    reader.bell.notify_one();
                }
            }
        }
    }
}

pub(super) struct Tail {
    log: Arc<dyn Log>,
    ring: Mutex<Ring>,
    reached: watch::Sender<u64>,
    /// The furthest any reader has taken.
    fastest: AtomicU64,
    taken: Notify,
    /// What was read last for those that are older than the ring, and after which positions.
    back: tokio::sync::Mutex<VecDeque<(u64, Vec<Arc<Stored>>)>>,
}

impl Tail {
    /// `start` is the cursor of the subscription that is furthest.
    pub(super) fn new(log: Arc<dyn Log>, start: u64) -> Self {
        Self {
            log,
            ring: Mutex::new(Ring {
                events: VecDeque::with_capacity(RING_EVENTS),
                before: start,
                readers: Vec::new(),
                wanted: HashMap::new(),
            }),
            reached: watch::Sender::new(start),
            fastest: AtomicU64::new(start),
            taken: Notify::new(),
            back: tokio::sync::Mutex::default(),
        }
    }

    /// Tells when there is more, for whoever wants everything.
    pub(super) fn reached(&self) -> watch::Receiver<u64> {
        self.reached.subscribe()
    }

    /// One more reader, which goes on after this position.
    pub(super) fn enter(&self, reader: &Arc<Reader>, position: u64) {
        let mut ring = self.ring();
        ring.readers.push(Arc::clone(reader));
        ring.wanted.clear();
        drop(ring);
        self.took(position);
    }

    pub(super) fn leave(&self, reader: &Arc<Reader>) {
        let mut ring = self.ring();
        ring.readers.retain(|other| !Arc::ptr_eq(other, reader));
        ring.wanted.clear();
    }

    /// From now on a reader wants other events.
    pub(super) fn select(&self, reader: &Reader, selection: Selection) {
        let mut ring = self.ring();
        *reader
            .selection
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = selection;
        ring.wanted.clear();
    }

    /// At most `limit` events after a position, wanted or not, as long as some may be.
    pub(super) fn take(&self, reader: &Reader, after: u64, limit: usize) -> Taken {
        let ring = self.ring();
        let knows = after >= reader.given.load(Ordering::Acquire);
        if knows && !reader.awaited.load(Ordering::Acquire) {
            let end = *self.reached.borrow();
            return if end > after {
                Taken::Nothing(end)
            } else {
                Taken::Empty
            };
        }
        let clear = reader.clear.load(Ordering::Acquire);
        if knows && clear > after {
            return Taken::Nothing(clear);
        }
        let taken = slice(&ring, after, limit);
        let end = *self.reached.borrow();
        let upto = match &taken {
            Taken::Events(events) => events.last().map_or(after, |event| event.position),
            _ => after,
        };
        reader.given.fetch_max(upto, Ordering::AcqRel);
        if !matches!(taken, Taken::Behind) && upto >= end {
            reader.awaited.store(false, Ordering::Release);
            self.taken.notify_one();
        }
        drop(ring);
        self.took(upto);
        taken
    }

    /// As [`Self::take`], for one that is no reader and wants everything.
    pub(super) fn take_all(&self, after: u64, limit: usize) -> Taken {
        let taken = slice(&self.ring(), after, limit);
        if let Taken::Events(events) = &taken
            && let Some(last) = events.last()
        {
            self.took(last.position);
        }
        taken
    }

    /// Up to where a reader that has taken everything after it wanted has come: it wants nothing before that.
    pub(super) fn clear(&self, reader: &Reader) -> u64 {
        let _ring = self.ring();
        if reader.awaited.load(Ordering::Acquire) {
            reader.clear.load(Ordering::Acquire)
        } else {
            *self.reached.borrow()
        }
    }

    /// Events for one that is older than the ring, at most `limit`; empty when the log has no more.
    pub(super) async fn read_back(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Stored>>, Fault> {
        let mut back = self.back.lock().await;
        for (before, events) in back.iter() {
            let end = before + events.len() as u64;
            if (*before..end).contains(&after) {
                let from = usize::try_from(after - before).unwrap_or(usize::MAX);
                return Ok(events.iter().skip(from).take(limit).cloned().collect());
            }
        }
        let events = read(&*self.log, after).await?;
        let wanted = events.iter().take(limit).cloned().collect();
        if back.len() == BACK_BATCHES {
            back.pop_front();
        }
        back.push_back((after, events));
        Ok(wanted)
    }

    /// Reads until the server stops.
    pub(super) async fn run(&self, stopping: CancellationToken) {
        let mut head = self.log.head();
        let mut failing = false;
        while !stopping.is_cancelled() {
            let end = *self.reached.borrow();
            let room = self.has_room(end);
            if room {
                match self.read(end).await {
                    Ok(events) => {
                        if std::mem::take(&mut failing) {
                            tracing::info!("the log can be read again");
                        }
                        let full = events.len() == BATCH_EVENTS;
                        if events.is_empty() {
                            self.rest();
                        }
                        self.push(&events);
                        if full || head.borrow_and_update().position > *self.reached.borrow() {
                            continue;
                        }
                    }
                    Err(fault) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::error!(%fault, "the log cannot be read; trying again");
                        }
                    }
                }
            }
            tokio::select! {
                () = stopping.cancelled() => {}
                Ok(()) = head.changed(), if room && !failing => {}
                () = self.taken.notified(), if !room => {}
                () = tokio::time::sleep(POLL_EVERY) => {}
            }
        }
    }

    async fn read(&self, after: u64) -> Result<Vec<Arc<Stored>>, Fault> {
        match self.log.fresh(after, BATCH_EVENTS) {
            Some(events) => Ok(events),
            None => read(&*self.log, after).await,
        }
    }

    /// Whether to read on: one who waits for nothing has come as far as the tail.
    fn has_room(&self, end: u64) -> bool {
        if self.fastest.load(Ordering::Acquire) + AHEAD_EVENTS > end {
            return true;
        }
        let ring = self.ring();
        let mut readers = ring.readers.iter();
        readers.any(|reader| !reader.awaited.load(Ordering::Acquire))
    }

    fn took(&self, position: u64) {
        if self.fastest.fetch_max(position, Ordering::AcqRel) < position {
            self.taken.notify_one();
        }
    }

    /// Lets go of what the ring and the batches for the older ones hold: the log is quiet, and whoever has not taken it yet
    /// reads for itself.
    fn rest(&self) {
        let mut ring = self.ring();
        if let Some(last) = ring.events.back() {
            ring.before = last.position;
            ring.events = VecDeque::new();
        }
        drop(ring);
        if let Ok(mut back) = self.back.try_lock() {
            back.clear();
        }
    }

    fn push(&self, events: &[Arc<Stored>]) {
        let Some(last) = events.last().map(|event| event.position) else {
            return;
        };
        let mut ring = self.ring();
        let surplus = (ring.events.len() + events.len()).saturating_sub(RING_EVENTS);
        let oldest = ring.events.drain(..surplus).next_back();
        if let Some(oldest) = oldest {
            ring.before = oldest.position;
        }
        ring.events.extend(events.iter().cloned());
        // Before anybody is told: who is woken up finds it.
        self.reached.send_replace(last);
        ring.tell(events);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(log: &dyn Log, after: u64) -> Result<Vec<Arc<Stored>>, Fault> {
    let events = log.read(after, BATCH_EVENTS).await?;
    Ok(events.into_iter().map(Arc::new).collect())
}

fn slice(ring: &Ring, after: u64, limit: usize) -> Taken {
    if after < ring.before {
        return Taken::Behind;
    }
    let from = ring.events.partition_point(|event| event.position <= after);
    let events: Vec<_> = ring.events.range(from..).take(limit).cloned().collect();
    if events.is_empty() {
        Taken::Empty
    } else {
        Taken::Events(events)
    }
}
