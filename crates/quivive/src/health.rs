//! How the server is doing: the engine's state, the store's, and what was counted.

mod figures;
mod pace;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics_exporter_prometheus::PrometheusHandle;
use quivive_app::processes::account_provisioning;
use quivive_app::webhooks;
use quivive_delivery::engine::{
    DeliveryState, DeliveryStatus, Engine, Running, SubscriptionStatus, Wanted,
};
use quivive_delivery::relay;
use quivive_delivery::subscriber::Subscription;
use quivive_delivery::{BoxFuture, Stored};
use quivive_outbound::Mailbox;
use quivive_web::{KeptLetter, Operation};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::builder::Opened;
use crate::start::StartError;
use pace::{Pace, Watch};

/// Duties of one node: to fill the index of the log, and to cut the log.
pub(crate) const INDEX: &str = "duty:index";
pub(crate) const RETENTION: &str = quivive_delivery::retention::DUTY;

/// The running engine, and what it runs on.
pub(crate) struct Health {
    running: Running,
    watch: Watch,
    nodes: watch::Receiver<u32>,
    fatal: watch::Receiver<Option<String>>,
    stopping: AtomicBool,
    metrics: Option<PrometheusHandle>,
}

impl Health {
    /// Starts the subscriptions.
    pub(crate) async fn start(
        opened: &Opened,
        subscriptions: Vec<Subscription>,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Self, StartError> {
        let running = Engine::new(opened.engine.clone(), subscriptions)
            // There while somebody is to be told of new accounts.
            .family(account_provisioning::FAMILY)
            .family(webhooks::FAMILY)
            .family(relay::FAMILY)
            .duty(INDEX)
            .duty(RETENTION)
            .start()
            .await
            .map_err(StartError::Subscriptions)?;
        opened.deliveries.started(&running);
        let database = opened.database.clone();
        let clock = Arc::clone(&opened.clock);
        let watch = Watch::start(running.clone(), database, clock, &opened.tasks);
        Ok(Self {
            nodes: running.nodes(),
            running,
            watch,
            fatal: opened.store.fatal(),
            stopping: AtomicBool::new(false),
            metrics,
        })
    }

    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// How many subscriptions run.
    pub(crate) fn count(&self) -> usize {
        self.running.status().len()
    }

    /// From now on it is not ready: whoever sends requests here should send them elsewhere.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

impl Operation for Health {
    fn ready(&self) -> Result<(), String> {
        if let Some(why) = self.fatal.borrow().as_ref() {
            return Err(format!("the store has stopped: {why}"));
        }
        if self.stopping.load(Ordering::Relaxed) {
            return Err("the server is stopping".to_owned());
        }
        Ok(())
    }

    fn subscriptions(&self) -> Vec<Value> {
        let told = |status: &SubscriptionStatus| {
            let wanted = self.running.wanted(&status.name);
            subscription(status, self.watch.pace(&status.name), wanted.as_ref())
        };
        self.running.status().iter().map(told).collect()
    }

    fn deliveries(&self, event: &Stored) -> BoxFuture<'_, Vec<Value>> {
        let event = event.clone();
        Box::pin(async move {
            let found = self.running.delivery_of(&event).await;
            let found = found.unwrap_or_else(|fault| {
                tracing::warn!(%fault, "where an event is cannot be said");
                Vec::new()
            });
            found.iter().map(delivery).collect()
        })
    }

    fn nodes(&self) -> u32 {
        *self.nodes.borrow()
    }

    fn metrics(&self) -> String {
        self.metrics
            .as_ref()
            .map(PrometheusHandle::render)
            .unwrap_or_default()
    }
}

fn subscription(status: &SubscriptionStatus, pace: Pace, wanted: Option<&Wanted>) -> Value {
    let state = match status {
        SubscriptionStatus { held: true, .. } => "held",
        SubscriptionStatus { paused: true, .. } => "paused",
        SubscriptionStatus { broken: true, .. } => "broken",
        SubscriptionStatus {
            lanes_parked: 1.., ..
        } => "parked",
        SubscriptionStatus {
            lanes_retrying: 1..,
            ..
        } => "retrying",
        _ => "running",
    };
    json!({
        "name": &*status.name,
        "position": status.position,
        "lag": status.lag,
        "lag_seconds": pace.age.as_secs_f64(),
        "state": state,
        "stuck": pace.stuck,
        "oldest_waiting_seconds": pace.waiting.as_secs_f64(),
        "in_flight": status.in_flight,
        "lanes_retrying": status.lanes_retrying,
        "lanes_parked": status.lanes_parked,
        "held": status.held,
        "paused": status.paused,
        "broken": status.broken,
        "generation": status.generation,
        "elsewhere": status.elsewhere,
        "replays": status.replay.as_ref().map(|replay| {
            json!({"subscription": replay.subscription, "from": replay.from, "to": replay.to})
        }),
        "types": wanted.map(|wanted| &wanted.types),
        "priority": wanted.map(|wanted| wanted.priority),
    })
}

fn delivery(status: &DeliveryStatus) -> Value {
    json!({
        "subscription": &*status.subscription,
        "state": word(status.state),
        "attempts": status.attempts,
        "error": status.error,
        "latency_seconds": status.latency.map(|latency| latency.as_secs_f64()),
    })
}

fn word(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Skipped => "skipped",
        DeliveryState::Done => "done",
        DeliveryState::Waiting => "waiting",
        DeliveryState::Retrying => "retrying",
        DeliveryState::Parked => "parked",
    }
}

/// The mailbox as the web shows it.
pub(crate) struct Kept(pub(crate) Arc<Mailbox>);

impl quivive_web::Mailbox for Kept {
    fn letters(&self) -> Vec<KeptLetter> {
        let letter = |kept: &Arc<quivive_outbound::mailbox::Kept>| KeptLetter {
            id: kept.id.clone(),
            to: kept.to.clone(),
            subject: kept.subject.clone(),
            template: kept.template.to_owned(),
            text: kept.text.clone(),
            html: kept.html.clone(),
            sent_at: kept.sent_at.to_string(),
        };
        self.0.list().iter().map(letter).collect()
    }
}
