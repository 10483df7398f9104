//! A watch over the subscriptions: how long what waits for them has waited, and whether any of them stands still.
//!
//! The engine says where a subscription is; what that means takes a look at the log and at the moment before. One task
//! looks every few seconds, for the figures and for `/readyz?verbose` alike. Breakers are the engine's to tell.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quivive_delivery::engine::{Running, SubscriptionStatus};
use quivive_delivery::subscriber::LaneState;
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Clock, Fault, Log as _, Time};
use quivive_store::Database;

/// More often than figures are collected, and seldom enough to look at every key in trouble.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A subscription that is behind and has not moved for this long stands still: longer than a handler may take, so that one
/// slow delivery is not it.
const STILL_AFTER: Duration = Duration::from_secs(45);

const LANES: [(LaneState, &str); 2] = [
    (LaneState::Retrying, "retrying"),
    (LaneState::Parked, "parked"),
];

/// One subscription, as it was at the last look.
#[derive(Debug, Clone, Copy)]
struct Seen {
    position: u64,
    /// It has not moved since, though there was something to do.
    since: Instant,
    pace: Pace,
}

/// How a subscription keeps up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Pace {
    /// How long ago the oldest event that it has not come to was committed; zero when there is none.
    pub age: Duration,
    /// As `age`, of all that waits: also of keys in trouble, since they are.
    pub waiting: Duration,
    /// It is behind and stands still.
    pub stuck: bool,
}

/// What was seen. Clones see the same.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Mutex<HashMap<Arc<str>, Seen>>>);

impl Watch {
    /// Looks until the server stops.
    pub(super) fn start(
        running: Running,
        database: Database,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
    ) -> Self {
        describe();
        let (watch, stopping) = (Self::default(), tasks.stopping());
        let watching = watch.clone();
        drop(tasks.spawn(async move {
            let look = async {
                loop {
                    if let Err(fault) = watching.look(&running, &database, clock.as_ref()).await {
                        tracing::warn!(%fault, "how old what waits is cannot be said");
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            stopping.run_until_cancelled(look).await;
        }));
        watch
    }

    /// As of the last look.
    pub(super) fn pace(&self, name: &str) -> Pace {
        let seen = self.seen();
        seen.get(name).map(|seen| seen.pace).unwrap_or_default()
    }

    async fn look(
        &self,
        running: &Running,
        database: &Database,
        clock: &dyn Clock,
    ) -> Result<(), Fault> {
        let all = running.status();
        self.compare(&all, Instant::now());
        let behind = all.iter().filter(|status| status.lag > 0);
        let positions: BTreeSet<u64> = behind.map(|status| status.position).collect();
        let mut ages = HashMap::new();
        for position in positions {
            let next = database.read(position, 1).await?;
            let age = next.first().map(|event| age(event.recorded_at, clock));
            ages.insert(position, age.unwrap_or_default());
        }
        let in_trouble =
            |status: &SubscriptionStatus| status.lanes_retrying + status.lanes_parked > 0;
        let lanes = if all.iter().any(in_trouble) {
            database.oldest_lanes().await?
        } else {
            Vec::new()
        };
        for status in &all {
            let behind = ages.get(&status.position).filter(|_| status.lag > 0);
            let behind = behind.copied().unwrap_or_default();
            let mut waiting = behind;
            for (state, word) in LANES {
                let lane = lanes
                    .iter()
                    .find(|(name, of, _)| **name == *status.name && *of == state);
                let oldest = lane.map(|(_, _, since)| age(*since, clock));
                let oldest = oldest.unwrap_or_default();
                metrics::gauge!(
                    "quivive_lanes_oldest_seconds",
                    "subscription" => Arc::clone(&status.name), "state" => word
                )
                .set(oldest.as_secs_f64());
                waiting = waiting.max(oldest);
            }
            if let Some(seen) = self.seen().get_mut(&status.name) {
                (seen.pace.age, seen.pace.waiting) = (behind, waiting);
            }
            publish(status, self.pace(&status.name));
        }
        Ok(())
    }

    /// Notes who has moved, and says once of each who has not for long.
    fn compare(&self, all: &[SubscriptionStatus], now: Instant) {
        let mut seen = self.seen();
        for status in all {
            let mut fresh = Seen {
                position: status.position,
                since: now,
                pace: Pace::default(),
            };
            let one = seen.entry(Arc::clone(&status.name)).or_insert(fresh);
            if one.position != status.position || status.lag == 0 {
                if one.pace.stuck {
                    tracing::info!(subscription = &*status.name, "it moves again");
                }
                fresh.pace = Pace {
                    stuck: false,
                    ..one.pace
                };
                *one = fresh;
            } else if !one.pace.stuck && now - one.since >= STILL_AFTER {
                one.pace.stuck = true;
                tracing::warn!(
                    subscription = &*status.name,
                    position = status.position,
                    lag = status.lag,
                    "it stands still"
                );
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Arc<str>, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Zero where the clock was set back.
fn age(of: Time, clock: &dyn Clock) -> Duration {
    let micros = clock.now().as_microsecond() - of.as_microsecond();
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "deliveries under way are far fewer than 2^52"
)]
fn publish(status: &SubscriptionStatus, pace: Pace) {
    let gauge =
        |name: &'static str| metrics::gauge!(name, "subscription" => Arc::clone(&status.name));
    gauge("quivive_subscription_lag_seconds").set(pace.age.as_secs_f64());
    gauge("quivive_subscription_in_flight").set(status.in_flight as f64);
    gauge("quivive_subscription_stuck").set(f64::from(u8::from(pace.stuck)));
    gauge("quivive_subscription_broken").set(f64::from(u8::from(status.broken)));
    gauge("quivive_subscription_paused").set(f64::from(u8::from(status.paused)));
}

fn describe() {
    metrics::describe_gauge!(
        "quivive_subscription_lag_seconds",
        metrics::Unit::Seconds,
        "Age of the oldest event that a subscription has not come to"
    );
    metrics::describe_gauge!(
        "quivive_subscription_in_flight",
        "Deliveries under way, and commits of what they left behind"
    );
    metrics::describe_gauge!(
        "quivive_subscription_stuck",
        "1 where a subscription is behind and has not moved for 45 seconds"
    );
    metrics::describe_gauge!(
        "quivive_subscription_broken",
        "1 where the target of a subscription does not answer, and nothing but a probe is delivered"
    );
    metrics::describe_gauge!(
        "quivive_subscription_paused",
        "1 where nothing is delivered until an operator resumes the subscription"
    );
    metrics::describe_gauge!(
        "quivive_lanes_oldest_seconds",
        metrics::Unit::Seconds,
        "For how long the key that is longest in trouble has been"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(position: u64, lag: u64) -> SubscriptionStatus {
        SubscriptionStatus {
            name: "mail".into(),
            position,
            lag,
            in_flight: 0,
            lanes_retrying: 0,
            lanes_parked: 0,
            held: false,
            paused: false,
            broken: false,
            generation: 1,
            replay: None,
        }
    }

    #[test]
    fn one_that_is_behind_and_does_not_move_is_stuck() {
        let watch = Watch::default();
        let mut now = Instant::now();
        let mut after = |secs: u64, position, lag| {
            now += Duration::from_secs(secs);
            watch.compare(&[status(position, lag)], now);
            watch.pace("mail").stuck
        };
        assert!(!after(0, 5, 0));
        // Nothing to do for long is no standing still, nor is what comes after it.
        assert!(!after(100, 5, 0));
        assert!(!after(1, 5, 3));
        assert!(!after(43, 5, 4));
        assert!(after(2, 5, 5));
        assert!(after(100, 5, 5));
        assert!(!after(1, 6, 5), "it moves again, however slowly");
        assert!(!after(44, 6, 5));
        assert!(after(1, 6, 5));
        assert!(!after(1, 11, 0));
        assert_eq!(watch.pace("nobody"), Pace::default());
    }
}
