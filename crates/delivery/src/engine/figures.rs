//! What a subscription counts for the operator. Handles are looked up once; a label is a family of subscriptions, an
//! outcome or a priority. Where subscriptions are, [`Running::status`](super::Running::status) tells.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram, Unit};

use super::machine::Verdict;
use crate::envelope::Priority;

pub(super) struct Figures {
    /// From the commit of an event to the end of its handler, by priority. One is registered when it is first needed:
    /// of hundreds of subscriptions most are idle.
    seconds: [Option<Histogram>; Priority::ALL.len()],
    family: Arc<str>,
    outcomes: [Counter; OUTCOMES.len()],
    counted: [u64; OUTCOMES.len()],
    pub(super) losses: Losses,
}

/// What a subscription lost, for it was older than the log is kept: how often, and how many events.
#[derive(Clone)]
pub(super) struct Losses {
    times: Counter,
    events: Counter,
}

impl Losses {
    pub(super) fn count(&self, events: u64) {
        self.times.increment(1);
        self.events.increment(events);
    }
}

/// What figures call a subscription: those of one family, `webhook:…`, are one to them.
pub(super) fn family(subscription: &str) -> &str {
    subscription.split(':').next().unwrap_or(subscription)
}

/// In the order of `Figures::outcomes`.
const OUTCOMES: [&str; 7] = [
    "done", "retry", "give_up", "timeout", "panic", "poison", "pause",
];

impl Figures {
    pub(super) fn describe() {
        metrics::describe_counter!(
            "quivive_deliveries_total",
            Unit::Count,
            "Deliveries, by how they ended"
        );
        metrics::describe_counter!(
            "quivive_subscriptions_expired_total",
            "Times that a subscription was older than the log is kept, and lost events"
        );
        metrics::describe_counter!(
            "quivive_subscription_events_lost_total",
            Unit::Count,
            "Events that were cut from the log before a subscription had them"
        );
        metrics::describe_histogram!(
            "quivive_delivery_seconds",
            Unit::Seconds,
            "From the commit of an event to the end of its handler"
        );
    }

    pub(super) fn new(subscription: &str) -> Self {
        let family: Arc<str> = family(subscription).into();
        let counter =
            |name: &'static str| metrics::counter!(name, "subscription" => Arc::clone(&family));
        Self {
            seconds: [const { None }; Priority::ALL.len()],
            outcomes: OUTCOMES.map(|outcome| {
                metrics::counter!("quivive_deliveries_total", "subscription" => Arc::clone(&family), "outcome" => outcome)
            }),
            counted: [0; OUTCOMES.len()],
            losses: Losses {
                times: counter("quivive_subscriptions_expired_total"),
                events: counter("quivive_subscription_events_lost_total"),
            },
            family,
        }
    }

    /// Counts one delivery; `latency` is how long ago its event was committed.
    pub(super) fn count(&mut self, verdict: &Verdict, priority: Priority, latency: Duration) {
        let outcome = match verdict {
            Verdict::Done | Verdict::DoneWith(_) => {
                let family = &self.family;
                let seconds = self.seconds[priority as usize].get_or_insert_with(|| {
                    metrics::histogram!(
                        "quivive_delivery_seconds",
                        "subscription" => Arc::clone(family), "priority" => priority.as_str()
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

    /// Publishes what was counted.
    pub(super) fn publish(&mut self) {
        for (counter, counted) in self.outcomes.iter().zip(&mut self.counted) {
            if *counted > 0 {
                counter.increment(std::mem::take(counted));
            }
        }
    }
}
