//! What a subscription tells the operator. Handles are looked up once; a label is a subscription, an outcome, a
//! state or a priority.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};

use super::machine::{Machine, Verdict};
use crate::envelope::Priority;

pub(super) struct Figures {
    position: Gauge,
    lag: Gauge,
    retrying: Gauge,
    parked: Gauge,
    /// From the commit of an event to the end of its handler, by priority. One is registered when it is first needed:
    /// of hundreds of subscriptions most are idle.
    seconds: [Option<Histogram>; Priority::ALL.len()],
    subscription: Arc<str>,
    outcomes: [Counter; OUTCOMES.len()],
    counted: [u64; OUTCOMES.len()],
}

/// In the order of `Figures::outcomes`.
const OUTCOMES: [&str; 7] = [
    "done", "retry", "give_up", "timeout", "panic", "poison", "pause",
];

impl Figures {
    pub(super) fn describe() {
        let gauge = |name, text| metrics::describe_gauge!(name, Unit::Count, text);
        gauge(
            "quivive_subscription_position",
            "Position up to which everything is done or left to a lane",
        );
        gauge(
            "quivive_subscription_lag_events",
            "Events between a subscription and the head of the log",
        );
        gauge("quivive_lanes", "Keys in trouble");
        metrics::describe_counter!(
            "quivive_deliveries_total",
            Unit::Count,
            "Deliveries, by how they ended"
        );
        metrics::describe_histogram!(
            "quivive_delivery_seconds",
            Unit::Seconds,
            "From the commit of an event to the end of its handler"
        );
    }

    pub(super) fn new(subscription: &Arc<str>) -> Self {
        let lanes = |state: &'static str| metrics::gauge!("quivive_lanes", "subscription" => Arc::clone(subscription), "state" => state);
        Self {
            position: metrics::gauge!("quivive_subscription_position", "subscription" => Arc::clone(subscription)),
            lag: metrics::gauge!("quivive_subscription_lag_events", "subscription" => Arc::clone(subscription)),
            retrying: lanes("retrying"),
            parked: lanes("parked"),
            seconds: [const { None }; Priority::ALL.len()],
            subscription: Arc::clone(subscription),
            outcomes: OUTCOMES.map(|outcome| {
                metrics::counter!("quivive_deliveries_total", "subscription" => Arc::clone(subscription), "outcome" => outcome)
            }),
            counted: [0; OUTCOMES.len()],
        }
    }

    /// Counts one delivery; `latency` is how long ago its event was committed.
    pub(super) fn count(&mut self, verdict: &Verdict, priority: Priority, latency: Duration) {
        let outcome = match verdict {
            Verdict::Done | Verdict::DoneWith(_) => {
                let subscription = &self.subscription;
                let seconds = self.seconds[priority as usize].get_or_insert_with(|| {
                    metrics::histogram!(
                        "quivive_delivery_seconds",
                        "subscription" => Arc::clone(subscription), "priority" => priority.as_str()
                    )
                });
                seconds.record(latency.as_secs_f64());
                0
            }
            Verdict::Retry(_) | Verdict::RetryAfter(..) | Verdict::Alone(_) => 1,
            Verdict::GiveUp(_) => 2,
            Verdict::TimedOut => 3,
            Verdict::Panicked => 4,
            Verdict::Poison(_) => 5,
            Verdict::Pause(_) => 6,
        };
        self.counted[outcome] += 1;
    }

    /// Publishes what was counted and where the subscription is.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; positions are far below 2^52"
    )]
    pub(super) fn publish(&mut self, machine: &Machine, position: u64, head: u64) {
        for (counter, counted) in self.outcomes.iter().zip(&mut self.counted) {
            if *counted > 0 {
                counter.increment(std::mem::take(counted));
            }
        }
        self.position.set(position as f64);
        self.lag.set(head.saturating_sub(position) as f64);
        self.retrying.set(machine.lanes_retrying() as f64);
        self.parked.set(machine.lanes_parked() as f64);
    }
}
