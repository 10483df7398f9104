//! The consumer: one event after another, from the broker or from the log.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::BoxFuture;
use crate::broker::{Away, Broker, Link, Message};
use crate::cursor::{Cursor, Verdict};
use crate::event::{Event, Unreadable};
use crate::feed::{Feed, FeedError};
use crate::store::{CursorStore, StoreError};

/// After so long without an event the log is asked whether there are any.
const SILENCE: Duration = Duration::from_secs(1);
/// While the broker is away, or silent though the log moves, the log is asked so often.
const POLL: Duration = Duration::from_millis(250);
/// A broker that is away is tried again so often.
const RECONNECT: Duration = Duration::from_secs(1);
/// Connecting, with all that is said before the first message.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// What is longer under way than it was to take is a broker that hangs.
const GRACE: Duration = Duration::from_millis(500);
/// A wait at the broker, so that one that hangs is noticed soon.
const WAIT_MOST: Duration = Duration::from_millis(500);
/// A cursor that moves is kept so often.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// The log is asked again so long after it did not answer.
const FEED_AGAIN: Duration = Duration::from_millis(500);

/// Why there is no next event. All else is waited for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cursor means nothing any more: the log was restored, or holds what comes next no more. The text says from where to
    /// go on; give the store that cursor.
    #[error("the cursor is of no use any more: {0}")]
    Expired(String),
    /// The server does not let this key read events.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// What answers is no server of events.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("the cursor cannot be kept: {0}")]
    Store(#[source] StoreError),
}

/// Where events come from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Broker,
    Log,
}

/// What a consumer has seen since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub from_broker: u64,
    pub from_log: u64,
    /// Messages of the broker that were handled before.
    pub duplicates: u64,
    /// Times that something was missing at the broker.
    pub gaps: u64,
    /// Changes from the broker to the log, and back.
    pub switches: u64,
}

/// A connection that is being made.
type Connecting = BoxFuture<'static, Result<Box<dyn Link>, Away>>;

/// An event that was handed out, and whether everything before it is handled with it.
struct Current {
    event: Event,
    of_log: bool,
}

/// Follows the events of a server.
pub struct Consumer {
    feed: Feed,
    store: Box<dyn CursorStore>,
    broker: Option<Arc<dyn Broker>>,
    link: Option<Box<dyn Link>>,
    connecting: Option<Connecting>,
    /// Not before this.
    reconnect: Instant,
    cursor: Cursor,
    saved: Cursor,
    saved_at: Instant,
    current: Option<Current>,
    /// Read from the log and not handled.
    page: VecDeque<Event>,
    /// Received from the broker and not judged.
    batch: VecDeque<Message>,
    /// Some of what was received is not acknowledged.
    owing: bool,
    /// The log is to be read up to its end before the broker is listened to.
    behind: bool,
    /// The log did not answer: not before this.
    feed_again: Instant,
    /// When an event came last, or the log said that there is none.
    heard: Instant,
    source: Source,
    counts: Counts,
    #[cfg(feature = "mutants")]
    trusting: bool,
}

impl Consumer {
    /// Goes on where the store has it; at the first start with the first event of the log. Without a broker it follows the log.
    pub async fn open(feed: Feed, mut store: impl CursorStore + 'static) -> Result<Self, Error> {
        let cursor = store.load().await.map_err(Error::Store)?;
        let cursor = cursor.unwrap_or_default();
        let now = Instant::now();
        Ok(Self {
            feed,
            store: Box::new(store),
            broker: None,
            link: None,
            connecting: None,
            reconnect: now,
            saved: cursor.clone(),
            saved_at: now,
            cursor,
            current: None,
            page: VecDeque::new(),
            batch: VecDeque::new(),
            owing: false,
            behind: true,
            feed_again: now,
            heard: now,
            source: Source::Log,
            counts: Counts::default(),
            #[cfg(feature = "mutants")]
            trusting: false,
        })
    }

    /// Takes events from a broker as long as it has what comes next.
    pub fn broker(&mut self, broker: impl Broker + 'static) -> &mut Self {
        self.broker = Some(Arc::new(broker));
        self
    }

    /// With the fault that messages are taken whatever comes before them.
    #[cfg(feature = "mutants")]
    pub fn trusting(&mut self) -> &mut Self {
        self.trusting = true;
        self
    }

    /// The next event: the same until [`Consumer::handled`] is called. Waits for one as long as it takes; a call that is
    /// dropped meanwhile loses nothing.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(current) = &self.current {
                return Ok(current.event.clone());
            }
            if self.take_read() || self.take_received() {
                self.heard = Instant::now();
                continue;
            }
            self.save(SAVE_EVERY).await?;
            if self.wants_log() {
                self.read_log().await?;
            } else {
                self.listen().await;
            }
        }
    }

    /// The event that [`Consumer::next`] gave is done with. The cursor is kept within a second.
    pub async fn handled(&mut self) -> Result<(), Error> {
        let Some(Current { event, of_log }) = self.current.take() else {
            return Ok(());
        };
        if of_log {
            self.cursor.handled_up_to(event.position);
        } else {
            self.cursor.handled(event.position);
        }
        self.save(SAVE_EVERY).await
    }

    /// The cursor as it is when the event that [`Consumer::next`] gave is done with.
    pub fn cursor_after(&self) -> Cursor {
        let mut cursor = self.cursor.clone();
        match &self.current {
            Some(Current {
                event,
                of_log: true,
            }) => cursor.handled_up_to(event.position),
            Some(Current { event, .. }) => cursor.handled(event.position),
            None => {}
        }
        cursor
    }

    /// Keeps the cursor and lets go of the broker.
    pub async fn close(mut self) -> Result<(), Error> {
        self.save(Duration::ZERO).await
    }

    /// What was handled.
    pub fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    pub fn source(&self) -> Source {
        self.source
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    async fn save(&mut self, every: Duration) -> Result<(), Error> {
        if self.saved == self.cursor || self.saved_at.elapsed() < every {
            return Ok(());
        }
        self.store.save(&self.cursor).await.map_err(Error::Store)?;
        self.saved.clone_from(&self.cursor);
        self.saved_at = Instant::now();
        Ok(())
    }

    /// Takes the next event of the page that is not handled.
    fn take_read(&mut self) -> bool {
        while let Some(event) = self.page.pop_front() {
            if self.cursor.has(event.position) {
                self.cursor.handled_up_to(event.position);
                continue;
            }
            self.counts.from_log += 1;
            let of_log = true;
            self.current = Some(Current { event, of_log });
            return true;
        }
        false
    }

    /// Takes the next message that fits.
    fn take_received(&mut self) -> bool {
        while let Some(message) = self.batch.front() {
            let (event, previous) = match Event::read(message.json.clone()) {
                Ok(read) => read,
                Err(error) => {
                    tracing::warn!(%error, "dropped");
                    self.batch.pop_front();
                    continue;
                }
            };
            match self.judge(&event, previous.unwrap_or(u64::MAX)) {
                Verdict::Take => {
                    self.batch.pop_front();
                    self.counts.from_broker += 1;
                    // What fits is taken, also while the log is to be read and does not answer.
                    if !self.behind {
                        self.switch(Source::Broker);
                    }
                    let of_log = false;
                    self.current = Some(Current { event, of_log });
                    return true;
                }
                Verdict::Drop => {
                    self.batch.pop_front();
                    self.counts.duplicates += 1;
                }
                Verdict::ReadLog => {
                    if !std::mem::replace(&mut self.behind, true) {
                        self.counts.gaps += 1;
                        self.switch(Source::Log);
                    }
                    return false;
                }
            }
        }
        false
    }

    fn judge(&self, event: &Event, previous: u64) -> Verdict {
        #[cfg(feature = "mutants")]
        if self.trusting && !self.cursor.has(event.position) {
            return Verdict::Take;
        }
        self.cursor.judge(event, previous)
    }

    fn switch(&mut self, source: Source) {
        if self.source != source {
            self.source = source;
            self.counts.switches += 1;
            tracing::debug!(?source, position = self.cursor.position, "events come from");
        }
    }

    fn wants_log(&self) -> bool {
        let every = match self.source {
            Source::Broker => SILENCE,
            Source::Log => POLL,
        };
        let now = Instant::now();
        (self.behind || now >= self.heard + every) && now >= self.feed_again
    }

    /// Reads a page of the log. When it does not answer the broker is listened to meanwhile.
    async fn read_log(&mut self) -> Result<(), Error> {
        let Cursor {
            epoch, position, ..
        } = self.cursor;
        match self.feed.read(epoch, position).await {
            Ok(page) => {
                if self.cursor.epoch == 0 {
                    self.cursor.epoch = page.epoch;
                }
                let was_behind = std::mem::replace(&mut self.behind, page.is_full);
                if page.events.is_empty() {
                    self.heard = Instant::now();
                    if was_behind {
                        self.drop_foreign();
                    }
                } else if self.source == Source::Broker {
                    // The broker should have had these.
                    self.switch(Source::Log);
                }
                self.page = page.events.into();
                Ok(())
            }
            Err(FeedError::Later(wait, why)) => {
                tracing::warn!(why, "the log does not answer");
                self.feed_again = Instant::now() + wait.max(FEED_AGAIN);
                self.behind = true;
                Ok(())
            }
            Err(FeedError::Expired(text)) => Err(Error::Expired(text)),
            Err(FeedError::Refused(text)) => Err(Error::Refused(text)),
            Err(FeedError::Unreadable(error)) => Err(error.into()),
        }
    }

    /// The log has nothing more, so a message that does not fit now never will: it is of another log.
    fn drop_foreign(&mut self) {
        if let Some(message) = self.batch.front()
            && let Ok((event, previous)) = Event::read(message.json.clone())
            && self.judge(&event, previous.unwrap_or(u64::MAX)) == Verdict::ReadLog
        {
            tracing::error!(
                position = event.position,
                "a message is of another log, and dropped: is the broker, or its prefix, another server's?"
            );
            self.batch.pop_front();
        }
    }

    /// Waits for the broker, as long as the log need not be asked.
    async fn listen(&mut self) {
        let now = Instant::now();
        let due = match (self.behind, self.source) {
            (true, _) => self.feed_again,
            (false, Source::Broker) => self.heard + SILENCE,
            (false, Source::Log) => self.heard + POLL,
        };
        let wait = due.saturating_duration_since(now).min(WAIT_MOST);
        let Some(link) = &mut self.link else {
            return self.reconnect(wait).await;
        };
        if !self.batch.is_empty() {
            return sleep(wait).await;
        }
        if self.owing {
            match tokio::time::timeout(GRACE, link.acknowledge()).await {
                Ok(Ok(())) => self.owing = false,
                Ok(Err(away)) => return self.lost(&away),
                Err(_) => return self.lost(&Away::of("it does not answer")),
            }
        }
        let Some(link) = &mut self.link else { return };
        match tokio::time::timeout(wait + GRACE, link.receive(wait)).await {
            Ok(Ok(messages)) => {
                self.owing |= !messages.is_empty();
                self.batch.extend(messages);
            }
            Ok(Err(away)) => self.lost(&away),
            Err(_) => self.lost(&Away::of("it does not answer")),
        }
    }

    /// What was received is judged all the same: it is there.
    fn lost(&mut self, away: &Away) {
        tracing::warn!(%away, "reading the log");
        self.link = None;
        self.owing = false;
        self.reconnect = Instant::now() + RECONNECT;
        self.behind = true;
        self.switch(Source::Log);
    }

    async fn reconnect(&mut self, wait: Duration) {
        let Some(broker) = &self.broker else {
            return sleep(wait).await;
        };
        if self.connecting.is_none() && Instant::now() >= self.reconnect {
            let (broker, cursor) = (Arc::clone(broker), self.cursor.clone());
            self.connecting = Some(Box::pin(async move {
                let connecting = broker.connect(&cursor);
                let connected = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
                connected.unwrap_or_else(|_| Err(Away::of("it does not answer")))
            }));
        }
        let Some(connecting) = &mut self.connecting else {
            return sleep(wait).await;
        };
        let Ok(connected) = tokio::time::timeout(wait, connecting).await else {
            return;
        };
        self.connecting = None;
        match connected {
            Ok(link) => {
                self.link = Some(link);
                self.batch.clear();
            }
            Err(away) => {
                tracing::debug!(%away, "still reading the log");
                self.reconnect = Instant::now() + RECONNECT;
            }
        }
    }
}
