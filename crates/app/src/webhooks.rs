//! Webhooks: events posted to endpoints, signed after Standard Webhooks.
//!
//! **Cast.** An endpoint is a row ([`crate::ports::Endpoint`]) and a durable subscription of the engine, `webhook:<id>`,
//! whose handler is a `Delivery`: it makes a message of an event, lets a `Sender` sign and post it, and says what that
//! means. [`Endpoints`] keeps rows and subscriptions together. `Notes` writes down, some at a time, what became of the last
//! messages and since when an endpoint only fails.
//!
//! **Flow.** An administrator's change is a workflow (`webhook_endpoint_change`); its Succeeded reaches the `webhooks`
//! subscriber, which calls [`Endpoints::follow`]. A start reads all rows.
//!
//! **Guarantees.** An endpoint gets every event it wants from its registration on, at least once, each under one
//! `webhook-id` however often it is tried; in order by key where it asks for that. One that is disabled keeps its place and
//! goes on from there. Nothing personal is sent.
//!
//! **Not guaranteed.** The log of attempts: what was not written down yet goes with the process.

mod delivery;
mod message;
mod notes;
mod recovery;
mod secrets;
mod sender;
mod wanted;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quivive_delivery::cloudevents::Origin;
use quivive_delivery::engine::{Declined, Running};
use quivive_delivery::subscriber::{Begin, Order, Retry};
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Fault, Log, Subscription};
use quivive_domain::EndpointId;
use quivive_domain::webhook;

use crate::kernel::{Failure, Families, Kernel, Request};
use crate::ports::{Attempt, Endpoint, Positions};
use crate::step_up::Proven;
use crate::workflows::webhooks::change_endpoint::{Change, ChangeEndpoint, Refusal, Reply};
use delivery::Delivery;
use message::Message;
use notes::Notes;
use sender::Sender;

pub use recovery::{Recovery, RecoveryState, Since};
pub(crate) use secrets::fresh as fresh_secret;
pub use wanted::{Unknown, Wanted};

/// What the names of all their subscriptions begin with.
pub const FAMILY: &str = "webhook:";

/// Messages under way to one endpoint, and as many again of those in trouble.
const CONCURRENCY: usize = 4;

/// Messages under way to one that takes them all.
const GROWING_TO: usize = 64;

/// More than the way out takes at most.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The name of an endpoint's subscription.
pub fn name_of(id: EndpointId) -> String {
    format!("{FAMILY}{id}")
}

/// What all who send share.
struct Tools {
    kernel: Arc<Kernel>,
    log: Arc<dyn Log>,
    origin: Origin,
    notes: Notes,
}

impl Tools {
    fn families(&self) -> &Families {
        self.kernel.families()
    }
}

/// The endpoints of a server, with their subscriptions.
pub struct Endpoints {
    tools: Arc<Tools>,
    tasks: Tasks,
    /// Given up when the server stops: the engine holds handlers that hold this.
    running: Mutex<Option<Running>>,
    /// Held while a subscription is brought in line.
    following: tokio::sync::Mutex<()>,
}

impl Endpoints {
    /// `origin` is what messages say of the server.
    pub fn new(kernel: Arc<Kernel>, log: Arc<dyn Log>, tasks: Tasks, origin: Origin) -> Self {
        Self {
            tools: Arc::new(Tools {
                kernel,
                log,
                origin,
                notes: Notes::default(),
            }),
            tasks,
            running: Mutex::default(),
            following: tokio::sync::Mutex::default(),
        }
    }

    /// The subscriptions of all endpoints, for the start of the engine.
    pub async fn subscriptions(&self) -> Result<Vec<Subscription>, Fault> {
        let endpoints = self.tools.families().webhooks.endpoints().await?;
        let mut subscriptions = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            self.tools.notes.begin(endpoint.id, endpoint.failing_since);
            subscriptions.push(self.subscription(endpoint).await?);
        }
        Ok(subscriptions)
    }

    /// From now on, until the server stops, subscriptions come and go with their endpoints, and what became of messages is
    /// written down.
    pub fn run(self: &Arc<Self>, running: Running) {
        self.set_running(Some(running));
        let (endpoints, stopping) = (Arc::clone(self), self.tasks.stopping());
        self.tasks.spawn(async move {
            let tools = &endpoints.tools;
            // What came on another node between the first look and the head from which this one follows.
            if let Err(fault) = endpoints.look_again().await {
                tracing::warn!(%fault, "endpoints that came meanwhile are not known yet");
            }
            let pause = || tokio::time::sleep(notes::PAUSE);
            while stopping.run_until_cancelled(pause()).await.is_some() {
                tools.notes.write(tools.families(), &*tools.log).await;
            }
            tools.notes.write(tools.families(), &*tools.log).await;
            endpoints.set_running(None);
        });
    }

    fn set_running(&self, running: Option<Running>) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    fn running(&self) -> Option<Running> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.clone()
    }

    /// Changes an endpoint, and its subscription with it.
    pub async fn change(
        &self,
        command: ChangeEndpoint,
        request: Request,
    ) -> Result<Reply, Failure<Refusal>> {
        let (id, action) = (command.endpoint, command.change.action());
        let reply = self.tools.kernel.execute(command, request).await?;
        // An event that comes right after the answer is to find it. Where this fails, the subscriber does it again.
        if let Err(fault) = self.carry_out(id, action.as_str()).await {
            tracing::warn!(endpoint = %id, %fault, "a webhook's subscription does not follow its change yet");
        }
        Ok(reply)
    }

    async fn look_again(&self) -> Result<(), Fault> {
        for endpoint in self.tools.families().webhooks.endpoints().await? {
            self.align(endpoint.id).await?;
        }
        Ok(())
    }

    /// Brings the subscription of an endpoint in line with its row, after a change that any node made. Whether deliveries are
    /// made is for the one to say that makes them.
    pub async fn follow(&self, id: EndpointId, action: &str) -> Result<(), Fault> {
        let enabled = self.align(id).await?;
        match self.running().zip(enabled) {
            Some((running, enabled)) if running.is_here(&name_of(id)) => {
                self.set_going(&running, id, enabled, action).await
            }
            _ => Ok(()),
        }
    }

    /// The same, of a change of this node: which gets the subscription for it, where another has that.
    async fn carry_out(&self, id: EndpointId, action: &str) -> Result<(), Fault> {
        let enabled = self.align(id).await?;
        match self.running().zip(enabled) {
            Some((running, enabled)) => self.set_going(&running, id, enabled, action).await,
            None => Ok(()),
        }
    }

    /// Brings what is registered in line with the row. Says whether the endpoint is enabled; `None`: there is none.
    async fn align(&self, id: EndpointId) -> Result<Option<bool>, Fault> {
        let Some(running) = self.running() else {
            // The next start will find it as it is.
            return Ok(None);
        };
        let _turn = self.following.lock().await;
        let name = name_of(id);
        let Some(endpoint) = self.tools.families().webhooks.endpoint(id).await? else {
            self.tools.notes.forget(id);
            running.remove(&name).await.map_err(Fault::internal)?;
            return Ok(None);
        };
        self.tools.notes.begin(id, endpoint.failing_since);
        let enabled = endpoint.disabled.is_none();
        let subscription = self.subscription(endpoint).await?;
        let replaced = running.replace(subscription.clone()).await;
        if !replaced.map_err(Fault::internal)? {
            running.add(subscription).await.map_err(Fault::internal)?;
        }
        Ok(Some(enabled))
    }

    async fn set_going(
        &self,
        running: &Running,
        id: EndpointId,
        enabled: bool,
        action: &str,
    ) -> Result<(), Fault> {
        let name = name_of(id);
        let _turn = self.following.lock().await;
        let replay = recovery::replay_of(running, &name).map(|replay| replay.name);
        for name in [Some(&*name), replay.as_deref()].into_iter().flatten() {
            let done = if !enabled {
                running.pause(name).await
            } else if action == "enable" {
                running.resume(name).await
            } else {
                Ok(())
            };
            match done {
                // It is so already.
                Ok(()) | Err(Declined::WrongState) => {}
                // A recovery may have ended meanwhile.
                Err(Declined::NotFound) if Some(name) == replay.as_deref() => {}
                Err(declined) => return Err(Fault::internal(declined)),
            }
        }
        Ok(())
    }

    /// Posts a message that is no event to an endpoint, now. `None` when there is no such endpoint.
    pub async fn test(&self, id: EndpointId) -> Result<Option<Attempt>, Fault> {
        let Some(endpoint) = self.tools.families().webhooks.endpoint(id).await? else {
            return Ok(None);
        };
        let sender = Sender::to(&self.tools, endpoint).await?;
        let message = Message::test(&self.tools, id)?;
        let attempt = sender.send(&message, 0).await.attempt;
        self.tools.notes.attempt(attempt.clone());
        Ok(Some(attempt))
    }

    /// Begins to send again what an endpoint was sent since then, in the background. It goes on after a restart.
    pub async fn recover(
        &self,
        id: EndpointId,
        since: Since,
        by: Proven,
        request: Request,
    ) -> Result<Recovery, Failure<Refusal>> {
        let after = recovery::after(&*self.tools.log, since).await;
        let after = after.map_err(Failure::Fault)?;
        let range = Positions {
            from: Some(after.saturating_add(1)),
            to: Some(self.position(id)),
        };
        let command = ChangeEndpoint {
            endpoint: id,
            change: Change::Recover(range),
            by: Some(by),
        };
        self.tools.kernel.execute(command, request).await?;
        if range.from > range.to {
            return Ok(Recovery::of_nothing(range));
        }
        let begun = self.recovery(id).await.map_err(Failure::Fault)?;
        Ok(begun.unwrap_or_else(|| Recovery::of_nothing(range)))
    }

    /// The last recovery of an endpoint.
    pub async fn recovery(&self, id: EndpointId) -> Result<Option<Recovery>, Fault> {
        let name = name_of(id);
        let stored = self.tools.families().webhooks.recovery(id, &name).await?;
        let running = self.running().filter(|_| stored.is_some());
        let replay = running.and_then(|running| recovery::replay_of(&running, &name));
        Ok(stored.map(|stored| {
            let replay = replay.filter(|replay| replay.generation == stored.generation);
            Recovery::of(stored, replay.as_ref())
        }))
    }

    /// What became of the last messages, newest first.
    pub async fn attempts(&self, id: EndpointId) -> Result<Vec<Attempt>, Fault> {
        let (tools, families) = (&self.tools, self.tools.families());
        tools.notes.write(families, &*tools.log).await;
        families.webhooks.attempts(id).await
    }

    /// Whether the engine holds the endpoint back: it was disabled, or its messages failed in numbers.
    pub fn is_paused(&self, id: EndpointId) -> bool {
        let name = name_of(id);
        let status = self.running().map(|running| running.status());
        let status = status.unwrap_or_default();
        status
            .iter()
            .any(|known| *known.name == *name && known.paused)
    }

    /// Up to where its events are done or left to a lane.
    fn position(&self, id: EndpointId) -> u64 {
        let name = name_of(id);
        let status = self.running().map(|running| running.status());
        let status = status.unwrap_or_default();
        let known = status.iter().find(|known| *known.name == *name);
        known.map_or(0, |known| known.position)
    }

    async fn subscription(&self, endpoint: Endpoint) -> Result<Subscription, Fault> {
        let catalogue = self.tools.kernel.catalogue();
        let filter = wanted::Filter::of(catalogue, &endpoint.events);
        let entries = filter.subscription();
        let order = match endpoint.order {
            webhook::Order::Key => Order::Key,
            webhook::Order::None => Order::None,
        };
        let name = name_of(endpoint.id);
        let sender = Sender::to(&self.tools, endpoint).await?;
        let delivery = Delivery::new(self.tasks.clone(), sender, filter);
        Ok(Subscription::durable(name, entries, Arc::new(delivery))
            .order(order)
            .concurrency(CONCURRENCY)
            .growing_to(GROWING_TO)
            .timeout(TIMEOUT)
            .retry(Retry::WEBHOOK)
            .begin(Begin::Head))
    }
}
