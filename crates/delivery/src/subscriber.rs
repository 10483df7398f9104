//! What reacts to events: a name, a filter, a handler, and how it is retried.
//!
//! ```
//! # use quivive_delivery::{Event, subscriber::{Cx, Filter, Outcome, Received, Retry, Subscription, on, on_any, subscriber}};
//! # #[derive(Event)]
//! # #[event(type = "order.placed", version = 1, name = "OrderPlaced", audit = "ORDER_PLACED")]
//! # struct OrderPlaced { total: u32 }
//! #[subscriber(name = "thanks", on = OrderPlaced, retry = Retry::AGGRESSIVE)]
//! async fn thanks(order: &Received<OrderPlaced>, cx: &mut Cx) -> Outcome {
//!     println!("thanks for {}, said {} times", order.total, cx.attempt());
//!     Outcome::Done
//! }
//!
//! async fn cheer(order: &Received<OrderPlaced>, _: &mut Cx) {
//!     println!("a large one: {}", order.total);
//! }
//!
//! async fn ship(event: &Received, _: &mut Cx) {
//!     println!("{}", event.envelope().kind);
//! }
//!
//! let subscriptions: Vec<Subscription> = vec![
//!     thanks.into(),
//!     on::<OrderPlaced>("cheer", cheer).when(|order| order.total > 100).into(),
//!     on_any("siem", ship),
//! ];
//! ```

mod batch;
mod dead_letters;
mod handler;
mod in_commit;
mod outcome;
mod read_model;
mod received;
mod retry;
mod stored;
mod with_cursor;

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

pub use batch::{Batch, BatchHandler, BatchOutcome, BatchReaction};
pub use dead_letters::{Choice, DeadLetter, DeadLetterGroup, DeadLetters, ErrorClass};
pub use handler::{Content, Handler, Reaction};
pub use in_commit::{InCommit, NotInCommit, Veto};
pub use outcome::{Cx, Effects, Fact, Outcome};
pub use quivive_delivery_derive::subscriber;
pub use read_model::ReadModel;
pub use received::{Any, Received};
pub use retry::Retry;
pub use stored::{
    Condition, LaneCount, LaneState, StoredLane, StoredReplay, StoredSubscription, Subscriptions,
};

pub use with_cursor::WithCursor;

use crate::envelope::Priority;
use crate::event::Event;
use batch::{Alone, BatchFunction, BatchWhen};
use handler::{Function, When};

/// A cursor that moves is written about once a second.
pub(crate) const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Which events a subscription wants.
#[derive(Debug, Clone)]
pub enum Filter {
    All,
    /// Types, names or aliases of the catalogue, or types with a leading or trailing `*`: `user.*`, `*.failed`.
    Matching(Vec<Cow<'static, str>>),
}

impl Filter {
    /// Events with these types, names, aliases or patterns.
    pub fn matching<N: Into<Cow<'static, str>>>(names: impl IntoIterator<Item = N>) -> Self {
        Self::Matching(names.into_iter().map(Into::into).collect())
    }
}

/// When a subscription hears of an event. What has a say before the commit is no subscription: see [`InCommit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// At least once, in order, tried again when it fails, also after a restart.
    Durable,
    /// In this process, soon after the commit, once at most. What fails is told and forgotten. Where several nodes share a
    /// database, each of them tells its own.
    AfterCommit,
    /// On every node, from the head of the log at its start, in order; what fails is tried again before the next. Nothing is
    /// stored: it is for what each process keeps in memory, and loads from tables when it starts.
    View,
}

/// Whether events of one key wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Key,
    None,
    /// All events wait for each other: they come in the order of the log, whatever their keys and priorities, one batch at a
    /// time. Nothing is set aside and nothing given up. After the first failure nothing begins for [`Retry::base`], twice as
    /// long after each further one up to [`Retry::cap`]; then the event at the front is a probe. What the handler says can
    /// never work pauses the subscription before that event.
    Log,
}

/// Where a subscription that was never seen before begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With the first event of the log.
    Start,
    /// With the first event after its registration.
    Head,
}

impl Begin {
    /// The cursor of one that begins while the log has come to `head`.
    pub(crate) fn position(self, head: u64) -> u64 {
        match self {
            Self::Start => 0,
            Self::Head => head,
        }
    }
}

/// Whether events that were handled may be handled again because an operator asks for it. Declared with the handler, which
/// alone knows. Where it may not, a replay is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    Allow,
    Deny,
}

/// A named reader of the log. Make one with [`on`], [`on_any`], `#[subscriber]` or [`Subscription::durable`], and change
/// what differs from the defaults.
///
/// `E` is what its handler gets. An engine takes subscriptions of [`Any`], into which every other turns.
#[derive(Clone)]
#[non_exhaustive]
pub struct Subscription<E = Any> {
    pub name: Arc<str>,
    pub filter: Filter,
    /// Only events of at least this priority.
    pub priority: Priority,
    pub handler: Arc<dyn Handler>,
    /// What takes several events at once, where that is what reacts.
    pub together: Option<Arc<dyn BatchHandler>>,
    pub batch: Option<Batch>,
    pub phase: Phase,
    pub order: Order,
    /// Whether the handler needs personal fields and the context opened.
    pub personal: bool,
    /// Deliveries under way at once, and as many again of keys in trouble, so that these never take the place of the
    /// others. A delivery that hangs for a second counts with those in trouble.
    pub concurrency: usize,
    /// While its target keeps up, deliveries under way at once grow to this, one with each that ends well; one that does
    /// not halves them. Less than `concurrency`: they do not grow.
    pub growing_to: usize,
    pub timeout: Duration,
    pub retry: Retry,
    /// How often its cursor is written while it moves, at most. What was handled since is handled again after a kill, but for
    /// what a handler left in our database.
    pub save_every: Duration,
    /// What its handler calls, as alerts name it; `None`: as the subscription.
    pub target: Option<Arc<str>>,
    /// Whether it is held back as a whole while its target is away: when half of twenty calls fail within a minute, and
    /// when keys get lanes in numbers.
    pub breaker: bool,
    pub replay: Replay,
    /// What its handler keeps, where that is rebuilt as a whole.
    pub read_model: Option<Arc<dyn ReadModel>>,
    /// What is written in each commit that moves its cursor.
    pub with_cursor: Option<Arc<dyn WithCursor>>,
    /// A name it had before; its cursor moves to the new one.
    pub alias: Option<&'static str>,
    /// Where a new subscription begins.
    pub begin: Begin,
    /// The only type its handler can read.
    pub(crate) reads: Option<&'static str>,
    content: PhantomData<fn() -> E>,
}

/// Reacts to one type with a function. Personal fields are opened if the type has any.
pub fn on<E: Event>(
    name: impl Into<Arc<str>>,
    react: impl for<'a> Reaction<'a, E> + 'static,
) -> Subscription<E> {
    Subscription::with(name, Arc::new(Function::new(react)))
}

/// Reacts to events of every type, or of those that [`Subscription::matching`] says, with a function.
pub fn on_any(
    name: impl Into<Arc<str>>,
    react: impl for<'a> Reaction<'a, Any> + 'static,
) -> Subscription {
    Subscription::with(name, Arc::new(Function::<Any, _>::new(react)))
}

/// Reacts to one type, several events at once: [`Batch::DEFAULT`], or as [`Subscription::batch`] says.
pub fn on_batch<E: Event>(
    name: impl Into<Arc<str>>,
    react: impl for<'a> BatchReaction<'a, E> + 'static,
) -> Subscription<E> {
    Subscription::together(name, function(react))
}

/// Reacts to events of every type, or of those that [`Subscription::matching`] says, several at once.
pub fn on_any_batch(
    name: impl Into<Arc<str>>,
    react: impl for<'a> BatchReaction<'a, Any> + 'static,
) -> Subscription {
    Subscription::together(name, function(react))
}

fn function<E: Content>(
    react: impl for<'a> BatchReaction<'a, E> + 'static,
) -> Arc<dyn BatchHandler> {
    Arc::new(BatchFunction {
        react,
        content: PhantomData::<fn() -> E>,
    })
}

impl Subscription {
    /// Reacts with a handler that has state of its own.
    pub fn durable(name: impl Into<Arc<str>>, filter: Filter, handler: Arc<dyn Handler>) -> Self {
        Self {
            filter,
            ..Self::with(name, handler)
        }
    }
}

impl<E: Content> Subscription<E> {
    /// Durable, in order by key, with the defaults: 16 at once, 30 s each, [`Retry::DEFAULT`], from the start of the log.
    /// It wants the events that `E` says.
    pub fn with(name: impl Into<Arc<str>>, handler: Arc<dyn Handler>) -> Self {
        Self {
            name: name.into(),
            filter: E::KIND.map_or(Filter::All, |kind| Filter::Matching(vec![kind.into()])),
            priority: Priority::Low,
            handler,
            together: None,
            batch: None,
            phase: Phase::Durable,
            order: Order::Key,
            personal: E::is_personal(),
            concurrency: 16,
            growing_to: 0,
            timeout: Duration::from_secs(30),
            retry: Retry::DEFAULT,
            save_every: SAVE_EVERY,
            target: None,
            breaker: true,
            replay: Replay::Allow,
            read_model: None,
            with_cursor: None,
            alias: None,
            begin: Begin::Start,
            reads: E::KIND,
            content: PhantomData,
        }
    }

    /// As [`Subscription::with`], with a handler that takes several events at once: [`Batch::DEFAULT`].
    pub fn together(name: impl Into<Arc<str>>, handler: Arc<dyn BatchHandler>) -> Self {
        let alone = Arc::new(Alone(Arc::clone(&handler)));
        Self {
            together: Some(handler),
            batch: Some(Batch::DEFAULT),
            ..Self::with(name, alone)
        }
    }

    /// Reacts only where this holds; the others count as done. It is asked at each delivery and must be quick.
    #[must_use]
    pub fn when(self, condition: impl Fn(&Received<E>) -> bool + Send + Sync + 'static) -> Self {
        let condition = Arc::new(condition);
        let together = self.together.map(|handler| {
            let condition = Arc::clone(&condition);
            Arc::new(BatchWhen {
                handler,
                condition,
                content: PhantomData,
            }) as Arc<dyn BatchHandler>
        });
        let handler = Arc::new(When {
            handler: self.handler,
            condition,
            content: PhantomData,
        });
        Self {
            handler,
            together,
            ..self
        }
    }

    /// Hands over at most `max` events at once, the first of which waits at most `wait` for the others. For what takes
    /// several: [`on_batch`], [`on_any_batch`], [`Subscription::together`].
    #[must_use]
    pub fn batch(self, max: usize, wait: Duration) -> Self {
        let batch = Some(Batch { max, wait });
        Self { batch, ..self }
    }

    /// Wants the events with these types, names, aliases or patterns.
    #[must_use]
    pub fn matching<N: Into<Cow<'static, str>>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let filter = Filter::matching(names);
        Self { filter, ..self }
    }

    /// Wants only events of at least this priority. A second subscription that does is prompt under any backlog.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    #[must_use]
    pub fn phase(self, phase: Phase) -> Self {
        Self { phase, ..self }
    }

    #[must_use]
    pub fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    #[must_use]
    pub fn with_personal_fields(self) -> Self {
        let personal = true;
        Self { personal, ..self }
    }

    #[must_use]
    pub fn concurrency(self, concurrency: usize) -> Self {
        Self {
            concurrency,
            ..self
        }
    }

    /// See [`Subscription::growing_to`].
    #[must_use]
    pub fn growing_to(self, growing_to: usize) -> Self {
        Self { growing_to, ..self }
    }

    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }

    /// Writes its cursor more or less often than once a second. More often costs commits, and spares a handler with an effect
    /// elsewhere repetitions after a kill.
    #[must_use]
    pub fn save_every(self, save_every: Duration) -> Self {
        Self { save_every, ..self }
    }

    /// Names what its handler calls. A handler that calls two is better two subscriptions, so that one can be away.
    #[must_use]
    pub fn target(self, name: impl Into<Arc<str>>) -> Self {
        let target = Some(name.into());
        Self { target, ..self }
    }

    /// Whether it is held back as a whole while its target is away.
    #[must_use]
    pub fn breaker(self, breaker: bool) -> Self {
        Self { breaker, ..self }
    }

    #[must_use]
    pub fn replay(self, replay: Replay) -> Self {
        Self { replay, ..self }
    }

    /// Its handler keeps this, in generations: a replay rebuilds it from the first event and takes its place.
    #[must_use]
    pub fn read_model(self, read_model: Arc<dyn ReadModel>) -> Self {
        let read_model = Some(read_model);
        Self { read_model, ..self }
    }

    /// Its handler writes this with its cursor.
    #[must_use]
    pub fn with_cursor(self, with_cursor: Arc<dyn WithCursor>) -> Self {
        let with_cursor = Some(with_cursor);
        Self {
            with_cursor,
            ..self
        }
    }

    /// The name it had before.
    #[must_use]
    pub fn alias(self, former: &'static str) -> Self {
        let alias = Some(former);
        Self { alias, ..self }
    }

    #[must_use]
    pub fn begin(self, begin: Begin) -> Self {
        Self { begin, ..self }
    }

    /// Hands one event to the handler, as the engine does, and says what came of it. For tests of handlers.
    pub async fn react(&self, event: &Received) -> Outcome {
        self.conclude(event, Cx::new(1)).await
    }

    /// The same, as a replay of this generation does.
    pub async fn react_again(&self, event: &Received, generation: u32) -> Outcome {
        self.conclude(event, Cx::new(1).of(generation, true)).await
    }

    async fn conclude(&self, event: &Received, mut cx: Cx) -> Outcome {
        let outcome = self.handler.handle(event, &mut cx).await;
        cx.conclude(outcome)
    }
}

/// What `#[subscriber]` makes.
impl<F: FnOnce() -> Self> From<F> for Subscription {
    fn from(subscriber: F) -> Self {
        subscriber()
    }
}

impl<E: Event> From<Subscription<E>> for Subscription {
    fn from(typed: Subscription<E>) -> Self {
        let Subscription {
            name,
            filter,
            priority,
            handler,
            together,
            batch,
            phase,
            order,
            personal,
            concurrency,
            growing_to,
            timeout,
            retry,
            save_every,
            target,
            breaker,
            replay,
            read_model,
            with_cursor,
            alias,
            begin,
            reads,
            content: _,
        } = typed;
        Self {
            name,
            filter,
            priority,
            handler,
            together,
            batch,
            phase,
            order,
            personal,
            concurrency,
            growing_to,
            timeout,
            retry,
            save_every,
            target,
            breaker,
            replay,
            read_model,
            with_cursor,
            alias,
            begin,
            reads,
            content: PhantomData,
        }
    }
}

impl<E> std::fmt::Debug for Subscription<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("name", &self.name)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}
