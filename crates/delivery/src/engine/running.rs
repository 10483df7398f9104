//! A running engine, as others see it.

use std::sync::Arc;
use std::time::Duration;

use super::after::{AfterCommit, Told};
use super::errands::Tools;
use super::figures;
use super::machine::{DeliveryState, Machine, Wish};
use super::roster::Roster;
use super::runner::Shared;
use super::tail::BATCH_EVENTS;
use super::view::View;
use crate::envelope::{Priority, Stored};
use crate::fault::Fault;
use crate::subscriber::StoredReplay;

/// One subscription at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
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
    /// Another node has it: then this is as the database had it a second ago.
    pub elsewhere: bool,
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
    pub(super) views: Arc<[Arc<View>]>,
    /// The head of the log at the start.
    pub(super) began_at: u64,
}

impl Running {
    pub(super) fn new(
        tools: Arc<Tools>,
        roster: Arc<Roster>,
        after: Arc<AfterCommit>,
        views: Arc<[Arc<View>]>,
        began_at: u64,
    ) -> Self {
        Self {
            tools,
            roster,
            after,
            views,
            began_at,
        }
    }

    /// Tells the subscriptions of the phase after the commit of an event, and returns what each said.
    pub async fn tell(&self, event: &Arc<Stored>) -> Vec<Told> {
        self.after.tell(event).await
    }

    /// Durable ones in the order of registration, then replays, then views.
    pub fn status(&self) -> Vec<SubscriptionStatus> {
        let here = self.roster.all();
        let known = self.roster.known();
        let of_known = known.iter().filter_map(|(known, _)| {
            let shared = here.iter().find(|shared| shared.name == known.name);
            let elsewhere = || self.status_elsewhere(&known.name);
            shared
                .map(|shared| self.status_here(shared))
                .or_else(elsewhere)
        });
        let replays = here.iter().filter(|shared| shared.replay.is_some());
        let replays = replays.map(|shared| self.status_here(shared));
        let views = self.views.iter().map(|view| self.status_of(view));
        of_known.chain(replays).chain(views).collect()
    }

    fn status_here(&self, shared: &Shared) -> SubscriptionStatus {
        let position = shared.position(&self.tools.tail);
        let machine = shared.machine();
        SubscriptionStatus {
            name: Arc::clone(&shared.name),
            position,
            lag: self.head().saturating_sub(position),
            in_flight: machine.in_flight(),
            lanes_retrying: machine.lanes_retrying(),
            lanes_parked: machine.lanes_parked(),
            held: machine.held().is_some(),
            paused: machine.is_paused(),
            broken: machine.is_broken(),
            generation: shared.target().generation(),
            replay: shared.replay.clone(),
            elsewhere: false,
        }
    }

    fn status_elsewhere(&self, name: &str) -> Option<SubscriptionStatus> {
        let found = self.roster.elsewhere_of(name)?;
        Some(SubscriptionStatus {
            name: name.into(),
            position: found.stored.position,
            lag: self.head().saturating_sub(found.stored.position),
            in_flight: 0,
            lanes_retrying: found.lanes_retrying,
            lanes_parked: found.lanes_parked,
            held: false,
            paused: found.stored.condition.paused,
            broken: false,
            generation: found.stored.generation,
            replay: found.replay,
            elsewhere: true,
        })
    }

    fn status_of(&self, view: &View) -> SubscriptionStatus {
        let position = view.position();
        SubscriptionStatus {
            name: Arc::clone(&view.target.name),
            position,
            lag: self.head().saturating_sub(position),
            in_flight: 0,
            lanes_retrying: 0,
            lanes_parked: 0,
            held: false,
            paused: false,
            broken: false,
            generation: 1,
            replay: None,
            elsewhere: false,
        }
    }

    /// As in its status, without the rest.
    pub fn position(&self, name: &str) -> Option<u64> {
        if let Some(shared) = self.roster.find(name) {
            return Some(shared.position(&self.tools.tail));
        }
        let view = self.views.iter().find(|view| *view.target.name == *name);
        let elsewhere = || self.roster.elsewhere_of(name);
        view.map(|view| view.position())
            .or_else(|| elsewhere().map(|found| found.stored.position))
    }

    /// Whether its deliveries are made by this node, now.
    pub fn is_here(&self, name: &str) -> bool {
        self.roster.find(name).is_some()
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
        let view = || {
            let view = self.views.iter().find(|view| *view.target.name == *name)?;
            Some(view.selection.clone())
        };
        let known = || self.roster.known_of(name).map(|(_, selection)| selection);
        let selection = match self.roster.find(name) {
            Some(shared) => shared.machine().selection().clone(),
            None => known().or_else(view)?,
        };
        Some(Wanted {
            types: selection.types(),
            priority: selection.priority,
        })
    }

    /// Where an event is, for each subscription. One that is older than a subscription counts as done.
    /// What another node has is as the database has it.
    pub async fn delivery_of(&self, event: &Stored) -> Result<Vec<DeliveryStatus>, Fault> {
        let here = self.roster.all();
        let mut deliveries: Vec<_> = here
            .iter()
            .map(|shared| {
                let latency = shared.recent.latency(event);
                delivery(&shared.name, &shared.machine(), event, latency)
            })
            .collect();
        for (known, selection) in self.roster.known() {
            let name = &known.name;
            let is_here = here.iter().any(|shared| shared.name == *name);
            if let Some(found) = self.roster.elsewhere_of(name).filter(|_| !is_here) {
                let tools = &self.tools;
                let machine = Roster::machine(tools, &known, &selection, found.stored, None);
                deliveries.push(delivery(name, &machine.await?, event, None));
            }
        }
        Ok(deliveries)
    }

    pub(super) fn head(&self) -> u64 {
        self.tools.log.head().borrow().position
    }
}

fn delivery(
    name: &Arc<str>,
    machine: &Machine,
    event: &Stored,
    latency: Option<Duration>,
) -> DeliveryStatus {
    let (state, attempts, error) = machine.state_of(event);
    DeliveryStatus {
        subscription: Arc::clone(name),
        state,
        attempts,
        error: error.map(str::to_owned),
        latency,
    }
}
