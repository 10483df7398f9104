//! What goes into the machine and what comes out of it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::decisions::Order as OperatorOrder;
use super::ledger::Save;
use super::reads::{Bounds, Sweep};
use super::verdict::Verdict;
use crate::Time;
use crate::catalogue::{CUSTOM, Catalogue};
use crate::engine::decisions::Declined;
use crate::envelope::{Key, Priority, Stored};
use crate::subscriber::{Batch, Effects, Order, Retry, StoredLane};

/// The two times of a step.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Now {
    /// Since the engine began; never goes back.
    pub(in crate::engine) tick: Duration,
    /// For what is stored. It may jump: a lane is then early or late, nothing worse.
    pub(in crate::engine) wall: Time,
}

/// Which events a subscription wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Selection {
    /// `None`: of every type.
    pub(in crate::engine) kinds: Option<Kinds>,
    pub(in crate::engine) priority: Priority,
}

impl Selection {
    /// Names and patterns, in alphabetical order; `None`: all.
    pub(in crate::engine) fn types(&self) -> Option<Vec<String>> {
        let Kinds { known, registered } = self.kinds.as_ref()?;
        let registered = registered.iter().map(ToString::to_string);
        let known = known.iter().map(|kind| (*kind).to_owned());
        let mut types: Vec<_> = known.chain(registered).collect();
        types.sort_unstable();
        Some(types)
    }

    pub(in crate::engine) fn takes(&self, event: &Stored) -> bool {
        let envelope = &event.envelope;
        let of_kind = |kinds: &Kinds| kinds.have(&envelope.kind);
        self.kinds.as_ref().is_none_or(of_kind) && envelope.priority >= self.priority
    }
}

/// Types, by what a subscription asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::engine) struct Kinds {
    /// Of the program.
    pub(in crate::engine) known: HashSet<&'static str>,
    /// Names and patterns that may be those of registered types, which come while the engine runs.
    pub(in crate::engine) registered: Vec<Cow<'static, str>>,
}

impl Kinds {
    pub(in crate::engine) fn have(&self, kind: &str) -> bool {
        self.known.contains(kind)
            || (kind.starts_with(CUSTOM)
                && self.registered.iter().any(|pattern| matches(pattern, kind)))
    }
}

/// A name, or one with a leading or a trailing `*`, or both.
pub(in crate::engine) fn matches(pattern: &str, kind: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(""), _) => true,
        (Some(rest), Some(_)) => kind.contains(&rest[..rest.len() - 1]),
        (Some(tail), None) => kind.ends_with(tail),
        (None, Some(head)) => kind.starts_with(head),
        (None, None) => kind == pattern,
    }
}

/// The version up to which this program reads each type.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Versions(HashMap<&'static str, u32>);

impl Versions {
    pub(in crate::engine) fn of(catalogue: &Catalogue) -> Self {
        let types = catalogue.all().iter();
        Self(types.map(|spec| (spec.kind, spec.version)).collect())
    }

    /// A type that is not known at all is for whoever takes every event, as it is.
    pub(in crate::engine) fn read(&self, event: &Stored) -> bool {
        let envelope = &event.envelope;
        let known = || self.0.get(envelope.kind.as_str());
        envelope.version == 1 || known().is_none_or(|known| envelope.version <= *known)
    }
}

/// What the machine must know of its subscription.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Rules {
    /// The last position that it takes; of a replay.
    pub(in crate::engine) upto: Option<u64>,
    pub(in crate::engine) selection: Selection,
    pub(in crate::engine) versions: Versions,
    pub(in crate::engine) order: Order,
    pub(in crate::engine) concurrency: usize,
    pub(in crate::engine) growing_to: usize,
    pub(in crate::engine) retry: Retry,
    /// How often a cursor that moves is written, at most.
    pub(in crate::engine) save_every: Duration,
    pub(in crate::engine) batch: Option<Batch>,
    pub(in crate::engine) bounds: Bounds,
    /// Whether it is held back as a whole when its target is away.
    pub(in crate::engine) breaker: bool,
}

/// What happened.
#[derive(Debug)]
pub(in crate::engine) enum Input {
    /// The next events of the log, as many as `Machine::wants` said at most.
    Read(Vec<Arc<Stored>>),
    /// The next events of the log up to here are none that it wants.
    Unwanted(u64),
    /// A delivery ended.
    Finished {
        event: Arc<Stored>,
        verdict: Verdict,
    },
    /// A batch ended, each of its events in its own way.
    FinishedTogether(Vec<(Arc<Stored>, Verdict)>),
    /// The effects of an event, with its row, were committed or not.
    Committed {
        event: Arc<Stored>,
        result: Result<(), String>,
    },
    Saved {
        committed: bool,
    },
    /// The events at these positions that are there, in order; `None` when they could not be read.
    Fronts {
        fronts: Vec<(Key, u64)>,
        read: Option<Vec<Arc<Stored>>>,
    },
    /// What this brought; it may end before it was to.
    Swept {
        sweep: Sweep,
        read: Option<Vec<Arc<Stored>>>,
    },
    /// By an operator.
    Order(OperatorOrder),
    /// Ends a batch of inputs: what they made possible begins now.
    Tick,
    /// Nothing new begins from now on.
    Stop,
}

/// What the runner must do. Each is answered by one input, but for nothing.
#[derive(Debug)]
pub(in crate::engine) enum Effect {
    Deliver {
        event: Arc<Stored>,
        attempt: u32,
    },
    /// Deliver these at once. One input answers for all.
    DeliverTogether(Vec<(Arc<Stored>, u32)>),
    /// Commit what the handler left behind together with `row`.
    Commit {
        event: Arc<Stored>,
        effects: Effects,
        row: StoredLane,
    },
    Save(Save),
    /// Tell an operator what became of an order.
    Answer {
        order: u64,
        answer: Result<u64, Declined>,
    },
    /// Read the events at these positions.
    Fronts(Vec<(Key, u64)>),
    Sweep(Sweep),
}

/// Where one event is, for one subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// The subscription does not want it.
    Skipped,
    /// Handled, or older than the subscription.
    Done,
    /// Not begun, under way for the first time, or behind another event of its key.
    Waiting,
    Retrying,
    /// A dead letter.
    Parked,
}

/// Under which key an event waits: its own, or where events do not wait for each other one that no other has.
pub(super) fn key_of(order: Order, event: &Stored) -> Cow<'_, Key> {
    match order {
        Order::Key => Cow::Borrowed(&event.envelope.key),
        Order::None | Order::Log => Cow::Owned(Key::new("event", event.envelope.id)),
    }
}
