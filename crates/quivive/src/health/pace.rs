//! A watch over the subscriptions: how long what waits for them has waited, and whether any of them stands still.
//!
//! The engine says where a subscription is; what that means takes a look at the log and at the moment before. One task
//! looks every few seconds, for the figures and for `/readyz?verbose` alike. Breakers are the engine's to tell.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quivive_app::ports::EventIndex as _;
use quivive_delivery::engine::{Running, SubscriptionStatus};
use quivive_delivery::subscriber::LaneState;
use quivive_delivery::tasks::Tasks;
use quivive_delivery::{Clock, Fault, Log as _, Time};
use quivive_store::Database;

use super::figures::{self, Figures, Oldest};

/// More often than figures are collected, and seldom enough to look at every key in trouble.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A subscription that is behind and has not moved for this long stands still: longer than a handler may take, so that one
/// slow delivery is not it.
const STILL_AFTER: Duration = Duration::from_secs(45);

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
        figures::describe();
        let (watch, stopping) = (Self::default(), tasks.stopping());
        let watching = watch.clone();
        drop(tasks.spawn(async move {
            let look = async {
                let mut figures = Figures::default();
                loop {
                    let looked = watching.look(&running, &database, clock.as_ref(), &mut figures);
                    if let Err(fault) = looked.await {
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
        figures: &mut Figures,
    ) -> Result<(), Fault> {
        // Of those that another node has, it says so.
        let mut all = running.status();
        all.retain(|status| !status.elsewhere);
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
        figures.begin();
        for status in &all {
            let behind = ages.get(&status.position).filter(|_| status.lag > 0);
            let behind = behind.copied().unwrap_or_default();
            let oldest = |state| {
                let mut lanes = lanes.iter();
                let lane = lanes.find(|(name, of, _)| **name == *status.name && *of == state);
                lane.map_or(Duration::ZERO, |(_, _, since)| age(*since, clock))
            };
            let oldest = Oldest {
                retrying: oldest(LaneState::Retrying),
                parked: oldest(LaneState::Parked),
            };
            if let Some(seen) = self.seen().get_mut(&status.name) {
                seen.pace.age = behind;
                seen.pace.waiting = behind.max(oldest.retrying).max(oldest.parked);
            }
            figures.add(status, self.pace(&status.name), oldest);
        }
        figures.publish();
        index(database, clock).await
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

/// Tells how far the index of the log is behind it.
async fn index(database: &Database, clock: &dyn Clock) -> Result<(), Fault> {
    let (reached, head) = (database.reaches().await?, database.head().borrow().position);
    let next = if reached < head {
        database.read(reached, 1).await?.pop()
    } else {
        None
    };
    let waited = next.map_or(Duration::ZERO, |event| age(event.recorded_at, clock));
    figures::publish_index(head.saturating_sub(reached), waited);
    Ok(())
}

/// Zero where the clock was set back.
fn age(of: Time, clock: &dyn Clock) -> Duration {
    let micros = clock.now().as_microsecond() - of.as_microsecond();
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::health) fn status(position: u64, lag: u64) -> SubscriptionStatus {
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
            elsewhere: false,
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
