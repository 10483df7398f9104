//! What was appended and has no place yet: who wakes the sequencer, and who waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quivive_delivery::Fault;
use tokio::sync::{Notify, watch};

use crate::failure;

/// How long somebody who reads waits for the sequencer. It takes milliseconds, unless the server is away.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct Backlog {
    /// How many commits with events were acknowledged, and how often somebody asked whether the head is that of now.
    appended: AtomicU64,
    /// Of those, how many have their places for certain.
    placed: watch::Sender<u64>,
    news: Notify,
}

impl Backlog {
    /// A commit with events is durable, and nobody was answered yet.
    pub(crate) fn add(&self) {
        self.appended.fetch_add(1, Ordering::SeqCst);
        self.news.notify_one();
    }

    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::SeqCst)
    }

    /// Another node has moved the head.
    pub(crate) fn heard(&self) {
        self.news.notify_one();
    }

    /// All that was appended up to this count has its place, and the head says so.
    pub(crate) fn placed(&self, count: u64) {
        self.placed.send_replace(count);
    }

    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Waits until what is acknowledged by now has its place.
    pub(crate) async fn settled(&self) {
        // Who has waited for so long reads what there is.
        let _ = self.reached(self.appended()).await;
    }

    /// Waits until the sequencer has looked, and all that it found has its place.
    pub(crate) async fn confirmed(&self) -> Result<(), Fault> {
        let count = self.appended.fetch_add(1, Ordering::SeqCst) + 1;
        self.news.notify_one();
        let late = || failure::unreachable("the head of the log is not known");
        self.reached(count).await.ok_or_else(late)
    }

    async fn reached(&self, count: u64) -> Option<()> {
        let mut placed = self.placed.subscribe();
        let reached = placed.wait_for(|placed| *placed >= count);
        let reached = tokio::time::timeout(PATIENCE, reached).await;
        reached.ok()?.ok().map(drop)
    }
}
