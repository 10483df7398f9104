//! A running engine, as others see it.

use std::sync::Arc;
use std::time::Duration;

use super::after::{AfterCommit, Told};
use super::errands::Tools;
use super::figures;
use super::machine::{DeliveryState, Wish};
use super::roster::Roster;
use super::tail::BATCH_EVENTS;
use crate::envelope::{Priority, Stored};
use crate::fault::Fault;
use crate::subscriber::StoredReplay;

/// One subscription at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionStatus {
    pub name: Arc<str>,
    /// Everything up to here is done, left to a lane, or not wanted. The database may lag behind it by a second, by two
    /// minutes where nothing is wanted.
    pub position: u64,
    /// Events between it and the head of the log, wanted or not.
    pub lag: u64,
    /// Deliveries, and commits of what they left behind.
    pub in_flight: usize,
    pub lanes_retrying: usize,
    pub lanes_parked: usize,
    /// It stands before an event that only a newer program can read, and waits for one.
    pub held: bool,
    /// By an operator, or because keys failed in numbers: nothing begins until it is resumed.
    pub paused: bool,
    /// Its target does not answer: nothing but a probe begins.
    pub broken: bool,
    pub generation: u32,
    /// It is a replay of another one.
    pub replay: Option<StoredReplay>,
}

impl SubscriptionStatus {
    /// What figures call it: the subscriptions of one family, `webhook:…`, are one to them.
    pub fn family(&self) -> &str {
        figures::family(&self.name)
    }
}

/// Which events a subscription takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Names and patterns, in alphabetical order; `None`: all.
    pub types: Option<Vec<String>>,
    /// At least this.
    pub priority: Priority,
}

/// Where one event is, for one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryStatus {
    pub subscription: Arc<str>,
    pub state: DeliveryState,
    /// Attempts begun; 0 when it is done, for nothing is kept of what went well.
    pub attempts: u32,
    /// The last error, where there was one and the event is still in trouble.
    pub error: Option<String>,
    /// From its commit to the end of its handler, if that is among the last 1,024 deliveries since the start.
    pub latency: Option<Duration>,
}

/// An engine that delivers. It ends with the tasks it was started on; this handle only looks at it.
#[derive(Clone)]
pub struct Running {
    pub(crate) tools: Arc<Tools>,
    pub(super) roster: Arc<Roster>,
    pub(super) after: Arc<AfterCommit>,
    /// The head of the log at the start.
    pub(super) began_at: u64,
}

impl Running {
    pub(super) fn new(
        tools: Arc<Tools>,
        roster: Arc<Roster>,
        after: Arc<AfterCommit>,
        began_at: u64,
    ) -> Self {
        Self {
            tools,
            roster,
            after,
            began_at,
        }
    }

    /// Tells the subscriptions of the phase after the commit of an event, and returns what each said.
    pub async fn tell(&self, event: &Arc<Stored>) -> Vec<Told> {
        self.after.tell(event).await
    }

    /// Durable ones, in the order of registration.
    pub fn status(&self) -> Vec<SubscriptionStatus> {
        let head = self.head();
        self.roster
            .all()
            .iter()
            .map(|shared| {
                let position = shared.position(&self.tools.tail);
                let machine = shared.machine();
                SubscriptionStatus {
                    name: Arc::clone(&shared.name),
                    position,
                    lag: head.saturating_sub(position),
                    in_flight: machine.in_flight(),
                    lanes_retrying: machine.lanes_retrying(),
                    lanes_parked: machine.lanes_parked(),
                    held: machine.held().is_some(),
                    paused: machine.is_paused(),
                    broken: machine.is_broken(),
                    generation: shared.target().generation(),
                    replay: shared.replay.clone(),
                }
            })
            .collect()
    }

    /// As in its status, without the rest.
    pub fn position(&self, name: &str) -> Option<u64> {
        let shared = self.roster.find(name)?;
        Some(shared.position(&self.tools.tail))
    }

    /// Wakes every subscription that has not come to `upto`, as far as the database knows: one that rests says how far there is
    /// nothing that it wants.
    pub(crate) fn wake(&self, upto: u64) {
        for shared in self.roster.all() {
            if shared.machine().end_rest(upto) {
                shared.reader.ring();
            }
        }
    }

    /// Moves every subscription that is further behind on to `upto`, for what lies before is about to go; each says how many
    /// events it lost. `after` is where the log begins.
    pub(crate) async fn expire(&self, after: u64, upto: u64) -> Result<(), Fault> {
        let mut behind = self.roster.all();
        behind.retain(|shared| shared.machine().lowest() < upto);
        let mut lost = vec![0_u64; behind.len()];
        let mut at = after;
        while at < upto && !behind.is_empty() {
            let events = self.tools.log.read(at, BATCH_EVENTS).await?;
            let Some(end) = events.last() else {
                break;
            };
            at = end.position;
            for (shared, lost) in behind.iter().zip(&mut lost) {
                let machine = shared.machine();
                let owed = |event: &&Stored| event.position <= upto && machine.owes(event);
                *lost += events.iter().filter(owed).count() as u64;
            }
        }
        for (shared, lost) in behind.iter().zip(lost) {
            if lost > 0 {
                tracing::error!(
                    subscription = &*shared.name,
                    upto,
                    lost,
                    "a subscription is older than the log is kept: it loses events and goes on after them"
                );
            }
            // Its answer comes with the commit, which the database is asked about.
            drop(shared.ask(Wish::Expire { upto, lost }));
        }
        Ok(())
    }

    /// Which events it takes now.
    pub fn wanted(&self, name: &str) -> Option<Wanted> {
        let shared = self.roster.find(name)?;
        let machine = shared.machine();
        let selection = machine.selection();
        Some(Wanted {
            types: selection.types(),
            priority: selection.priority,
        })
    }

    /// Where an event is, for each subscription. One that is older than a subscription counts as done.
    pub fn delivery_of(&self, event: &Stored) -> Vec<DeliveryStatus> {
        self.roster
            .all()
            .iter()
            .map(|shared| {
                let machine = shared.machine();
                let (state, attempts, error) = machine.state_of(event);
                DeliveryStatus {
                    subscription: Arc::clone(&shared.name),
                    state,
                    attempts,
                    error: error.map(str::to_owned),
                    latency: shared.recent.latency(event),
                }
            })
            .collect()
    }

    pub(super) fn head(&self) -> u64 {
        self.tools.log.head().borrow().position
    }
}
