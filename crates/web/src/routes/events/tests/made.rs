//! A log that a test fills, cuts and counts the reads of.

use std::sync::{Arc, Mutex};

use quivive_delivery::chain::GENESIS;
use quivive_delivery::{
    BoxFuture, CommitError, Committed, Envelope, Fault, Head, Key, Log, Stored, Time, Transaction,
};
use tokio::sync::watch;
use uuid::Uuid;

/// Of types that the catalogue has, and of one subject each.
pub(super) const RARE: &str = "email.delivered";
pub(super) const USUAL: &str = "user.login.failed";

#[derive(Clone)]
pub(super) struct Made(Arc<Inside>);

struct Inside {
    events: Mutex<Vec<Stored>>,
    reads: Mutex<Vec<(u64, usize)>>,
    head: watch::Sender<Head>,
}

impl Made {
    /// An empty log.
    pub(super) fn of_epoch(epoch: u64) -> Self {
        Self(Arc::new(Inside {
            events: Mutex::default(),
            reads: Mutex::default(),
            head: watch::Sender::new(Head {
                position: 0,
                epoch,
                chain: GENESIS,
            }),
        }))
    }

    /// Adds as many events of a type.
    pub(super) fn append(&self, kind: &str, count: u64) {
        self.append_elsewhere(kind, count);
        self.hear();
    }

    /// The same on another node: here nobody has heard of them, until the log is asked.
    pub(super) fn append_elsewhere(&self, kind: &str, count: u64) {
        let mut head = *self.0.head.borrow();
        let mut events = self.0.events.lock().unwrap();
        for _ in 0..count {
            head.position += 1;
            events.push(event(kind, head));
        }
    }

    fn hear(&self) {
        let last = self.0.events.lock().unwrap().last().map(|it| it.position);
        self.0.head.send_modify(|head| {
            head.position = last.unwrap_or(head.position);
        });
    }

    /// Lets go of everything up to a position.
    pub(super) fn cut(&self, upto: u64) {
        let mut events = self.0.events.lock().unwrap();
        events.retain(|event| event.position > upto);
    }

    /// Positions and limits of all reads, which are forgotten.
    pub(super) fn reads(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut *self.0.reads.lock().unwrap())
    }
}

fn event(kind: &str, head: Head) -> Stored {
    let id = Uuid::from_u128(head.position.into());
    Stored {
        position: head.position,
        epoch: head.epoch,
        recorded_at: Time::UNIX_EPOCH,
        envelope: Envelope {
            correlation_id: Uuid::from_u128(u128::from(head.position) / 2),
            subject: Some(format!("of {kind}")),
            ..Envelope::first(id, kind, Key::new("made", 1), Time::UNIX_EPOCH)
        },
        context: None,
        body: b"{}".to_vec(),
        personal: None,
        chain: GENESIS,
    }
}

impl Log for Made {
    fn commit(&self, _: Transaction) -> BoxFuture<'static, Result<Committed, CommitError>> {
        unreachable!("the feed only reads")
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        self.0.reads.lock().unwrap().push((after, limit));
        let events = self.0.events.lock().unwrap();
        let behind = events.iter().filter(|event| event.position > after);
        let read = behind.take(limit).cloned().collect();
        Box::pin(std::future::ready(Ok(read)))
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.0.head.subscribe()
    }

    fn confirmed(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.hear();
        Box::pin(std::future::ready(Ok(())))
    }
}
