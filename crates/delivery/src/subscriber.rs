//! What reacts to events: a name, a filter, a handler, and how it is retried.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::BoxFuture;
use crate::commit::Write;
use crate::envelope::{Context, Envelope, Key, Stored};
use crate::event::{Body, DecodeError, Event, EventMeta};

/// An event as a handler gets it, with what was sealed opened where the key still exists.
#[derive(Debug, Clone)]
pub struct Received {
    pub stored: Arc<Stored>,
    /// Empty unless the subscription asked for personal fields.
    pub context: Context,
    personal: Option<Vec<u8>>,
    subscription: Arc<str>,
}

impl Received {
    /// `personal` is the opened JSON of the personal fields, where there are any and the key exists.
    pub fn new(
        stored: Arc<Stored>,
        personal: Option<Vec<u8>>,
        context: Context,
        subscription: Arc<str>,
    ) -> Self {
        Self {
            stored,
            context,
            personal,
            subscription,
        }
    }

    pub fn envelope(&self) -> &Envelope {
        &self.stored.envelope
    }

    /// Whether this is an `E`.
    pub fn is<E: Event>(&self) -> bool {
        self.envelope().kind == E::META.kind
    }

    /// The event as its type, whatever version it was stored with.
    pub fn decode<E: Event>(&self) -> Result<E, DecodeError> {
        if !self.is::<E>() {
            return Err(DecodeError::OtherType {
                found: self.envelope().kind.clone(),
                wanted: E::META.kind,
            });
        }
        let body = self.stored.fields(self.personal.clone());
        E::read(self.envelope().version, &body)
    }

    /// The same for every delivery of this event to this subscription: give it to whatever the handler calls.
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}", self.subscription, self.envelope().id)
    }
}

/// A fact a handler raises: appended with actor `system`, caused by the event it handled, in the same workflow.
#[derive(Debug, Clone)]
pub struct Fact {
    pub meta: EventMeta,
    pub body: Body,
    /// `None`: the key of the event that was handled.
    pub key: Option<Key>,
}

impl Fact {
    pub fn of<E: Event>(event: &E) -> Result<Self, serde_json::Error> {
        Ok(Self {
            meta: E::META,
            body: event.encode()?,
            key: None,
        })
    }
}

/// What a handler leaves behind in our own database: committed before the event counts as done.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    pub writes: Vec<Write>,
    pub facts: Vec<Fact>,
}

/// What a handler says of one event.
#[derive(Debug, Clone)]
pub enum Outcome {
    Done,
    /// Done, with something to commit.
    DoneWith(Effects),
    /// Did not work now; try again. The text is for operators and must hold no secret and nothing personal.
    Retry(String),
    /// As `Retry`, not before this much time has passed.
    RetryAfter(Duration, String),
    /// Will never work: park it now.
    GiveUp(String),
}

/// The code that reacts.
pub trait Handler: Send + Sync {
    fn handle<'a>(&'a self, event: &'a Received) -> BoxFuture<'a, Outcome>;
}

impl<F> Handler for F
where
    F: for<'a> Fn(&'a Received) -> BoxFuture<'a, Outcome> + Send + Sync,
{
    fn handle<'a>(&'a self, event: &'a Received) -> BoxFuture<'a, Outcome> {
        self(event)
    }
}

/// Which events a subscription wants.
#[derive(Debug, Clone)]
pub enum Filter {
    All,
    /// Types, names or aliases of the catalogue, or types with a leading or trailing `*`: `user.*`, `*.failed`.
    Matching(Vec<&'static str>),
}

/// Whether events of one key wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Key,
    None,
}

/// How often and how late a failed delivery is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Tried at once, in memory, before the key gets a lane.
    pub quick: &'static [Duration],
    /// The first wait in the lane; each next is four times as long, with full jitter.
    pub base: Duration,
    pub cap: Duration,
    /// Attempts in all, the quick ones too, before the lane is parked.
    pub max_attempts: u32,
    /// Age of the first failure at which the lane is parked.
    pub max_age: Duration,
}

impl Retry {
    pub const DEFAULT: Self = Self {
        quick: &[Duration::from_millis(50), Duration::from_millis(250)],
        base: Duration::from_secs(1),
        cap: Duration::from_hours(6),
        max_attempts: 12,
        max_age: Duration::from_hours(72),
    };
}

/// A named durable reader of the log.
#[derive(Clone)]
pub struct Subscription {
    pub name: &'static str,
    pub filter: Filter,
    pub handler: Arc<dyn Handler>,
    pub order: Order,
    /// Whether the handler needs personal fields and the context opened.
    pub personal: bool,
    /// Deliveries under way at once, and as many again of keys in trouble, so that these never take the place of the
    /// others. A delivery that hangs for a second counts with those in trouble.
    pub concurrency: usize,
    pub timeout: Duration,
    pub retry: Retry,
    /// A name it had before; its cursor moves to the new one.
    pub alias: Option<&'static str>,
    /// Where a new subscription begins.
    pub begin: Begin,
}

/// Where a subscription that was never seen before begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the first event of the log.
    Start,
    /// With the first event after its registration.
    Head,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("name", &self.name)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

impl Subscription {
    /// Durable, in order by key, with the defaults: 16 at once, 30 s each, [`Retry::DEFAULT`], from the start of the log.
    pub fn durable(name: &'static str, filter: Filter, handler: Arc<dyn Handler>) -> Self {
        Self {
            name,
            filter,
            handler,
            order: Order::Key,
            personal: false,
            concurrency: 16,
            timeout: Duration::from_secs(30),
            retry: Retry::DEFAULT,
            alias: None,
            begin: Begin::Start,
        }
    }

    #[must_use]
    pub fn with_personal_fields(mut self) -> Self {
        self.personal = true;
        self
    }
}

/// Where subscriptions keep their cursors and lanes. Reads are futures; changes are writes for a commit.
pub trait Subscriptions: Send + Sync {
    /// All stored subscriptions.
    fn load(&self) -> BoxFuture<'_, Result<Vec<StoredSubscription>, crate::Fault>>;

    /// All lanes of a subscription.
    fn lanes(&self, name: &str) -> BoxFuture<'_, Result<Vec<StoredLane>, crate::Fault>>;

    /// Events of one key after `after` and up to `upto`, oldest first, at most `limit`: what waits behind a lane. Gap-free
    /// like the log: what it skips is of another key.
    fn backlog(
        &self,
        key: &Key,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, crate::Fault>>;

    /// Registers a new subscription at a position. A miss when the name is there.
    fn create(&self, name: &str, position: u64) -> Write;

    /// Moves the cursor forward, or leaves it where it is; a miss when it would go back.
    fn advance(&self, name: &str, position: u64) -> Write;

    /// Moves the cursor and all lanes to another name.
    fn rename(&self, from: &str, to: &str) -> Write;

    /// Writes a lane as it is now, whether or not it exists.
    fn put_lane(&self, name: &str, lane: &StoredLane) -> Write;

    /// Removes a lane, which may not be there.
    fn drop_lane(&self, name: &str, key: &Key) -> Write;
}

/// A subscription's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSubscription {
    pub name: String,
    /// Everything up to here is done or left to a lane.
    pub position: u64,
}

/// The state of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneState {
    Retrying,
    Parked,
}

/// A lane's row: a second cursor, for one key in trouble. Of a subscription that keeps no order, each event in trouble
/// has a lane of its own, with the key `event:<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLane {
    pub key: Key,
    /// The key's events up to here are done.
    pub done: u64,
    pub state: LaneState,
    /// Attempts begun on the event at the front.
    pub attempts: u32,
    pub due: crate::Time,
    pub since: crate::Time,
    /// The event at the front; while that is not known, the one before it. Nil when nothing waits: then the row only says
    /// that the key is done up to `done`, ahead of the subscription's cursor, and it goes when the cursor gets there.
    pub event_id: Uuid,
    /// The last error, redacted by the handler; 500 characters at most.
    pub error: String,
}
