//! Requests that were refused before any workflow heard of them: counted in memory, and told to the log once a minute.
//!
//! **Bounded.** A tally for each route and cause, of which there are as many as the program has; its sources are estimated in
//! 256 bytes, however many there are. A minute's events are at most [`NAMED`] and one for each cause: the routes that were
//! refused most, and the others together.
//!
//! **Not guaranteed.** That a refusal is told when the process is killed within the minute: `quivive_requests_rejected_total`
//! has the same figures as they come.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quivive_delivery::{Clock, Code, Fault, Time};
use tokio_util::sync::CancellationToken;

use super::Source;
use crate::facts::RequestsRejected;
use crate::kernel::{Kernel, Request};

/// How often the log is told.
const EVERY: Duration = Duration::from_mins(1);

/// Events a minute that name their route.
const NAMED: usize = 16;

/// The route of what is told together.
const OTHERS: &str = "others";

/// How many different sources there were, estimated from 256 registers (`HyperLogLog`): within some 7 %, and nearly exact
/// for a few.
#[derive(Clone, Copy)]
struct Sources([u8; Self::REGISTERS]);

impl Sources {
    const REGISTERS: usize = 256;

    fn add(&mut self, hash: u64) {
        let [register, ..] = hash.to_le_bytes();
        let rank = u8::try_from((hash | 0xff).leading_zeros() + 1).unwrap_or(u8::MAX);
        let most = &mut self.0[usize::from(register)];
        *most = rank.max(*most);
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = theirs.max(*mine);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate that is at least 1 and rounded"
    )]
    fn estimate(&self) -> u32 {
        let registers = 256.0_f64;
        let sum: f64 = self.0.iter().map(|rank| (-f64::from(*rank)).exp2()).sum();
        let raw = 0.7183 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let filled: u32 = self.0.iter().map(|rank| u32::from(*rank > 0)).sum();
        let empty = 256 - filled;
        let estimate = if raw <= 2.5 * registers && empty > 0 {
            registers * (registers / f64::from(empty)).ln()
        } else {
            raw
        };
        estimate.round().max(1.0) as u32
    }
}

/// What was refused for one reason at one route.
#[derive(Clone, Copy)]
struct Tally {
    since: Time,
    count: u32,
    sources: Sources,
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.since = self.since.min(other.since);
        self.count = self.count.saturating_add(other.count);
        self.sources.merge(&other.sources);
    }
}

type Tallies = HashMap<(&'static str, &'static str), Tally>;

/// Counts them.
pub struct Rejections {
    clock: Arc<dyn Clock>,
    hasher: RandomState,
    tallies: Mutex<Tallies>,
}

impl Rejections {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            hasher: RandomState::new(),
            tallies: Mutex::default(),
        }
    }

    /// One more. `route` is the pattern that the request met, never what it was called with; `cause` the code of its answer.
    pub fn count(&self, route: &'static str, cause: &'static str, source: Source) {
        let hash = self.hasher.hash_one(source);
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry((route, cause)).or_insert_with(|| Tally {
            since: self.clock.now(),
            count: 0,
            sources: Sources([0; Sources::REGISTERS]),
        });
        tally.count = tally.count.saturating_add(1);
        tally.sources.add(hash);
    }

    /// Tells the log, until the server stops; what was counted until then is told at the end.
    pub async fn run(self: Arc<Self>, kernel: Arc<Kernel>, stopping: CancellationToken) {
        loop {
            let goes_on = stopping
                .run_until_cancelled(tokio::time::sleep(EVERY))
                .await
                .is_some();
            if let Err(fault) = self.tell(&kernel).await {
                tracing::warn!(%fault, "requests that were refused were not told to the log; trying again");
            }
            if !goes_on {
                return;
            }
        }
    }

    /// Tells what was counted since the last time. What the log does not take is counted on.
    async fn tell(&self, kernel: &Kernel) -> Result<(), Fault> {
        let counted = self.take();
        let mut left = together(counted).into_iter();
        for (key, tally) in left.by_ref() {
            let (route, cause) = key;
            let fact = RequestsRejected {
                route: route.to_owned(),
                cause: Code::new(cause),
                count: tally.count,
                sources: tally.sources.estimate().min(tally.count),
                since: tally.since,
            };
            if let Err(fault) = kernel.note(&fact, Request::system()).await {
                self.take_back(std::iter::once((key, tally)).chain(left));
                return Err(fault);
            }
        }
        Ok(())
    }

    fn take(&self) -> Tallies {
        std::mem::take(&mut *self.tallies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_back(&self, untold: impl Iterator<Item = ((&'static str, &'static str), Tally)>) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, tally) in untold {
            tallies
                .entry(key)
                .and_modify(|newer| newer.merge(&tally))
                .or_insert(tally);
        }
    }
}

/// The routes that were refused most by themselves, and the others together, by cause.
fn together(counted: Tallies) -> Vec<((&'static str, &'static str), Tally)> {
    let mut told: Vec<_> = counted.into_iter().collect();
    told.sort_by_key(|(key, tally)| (std::cmp::Reverse(tally.count), *key));
    let rest = told.split_off(NAMED.min(told.len()));
    let mut others = Tallies::new();
    for ((_, cause), tally) in rest {
        others
            .entry((OTHERS, cause))
            .and_modify(|all| all.merge(&tally))
            .or_insert(tally);
    }
    told.extend(others);
    told
}

#[cfg(test)]
mod tests {
    use quivive_delivery::Stored;
    use serde_json::Value;

    use super::*;
    use crate::testing::{Scene, nobody};

    fn rejections(scene: &Scene) -> Arc<Rejections> {
        let clock = Arc::clone(&scene.kernel.families().clock);
        Arc::new(Rejections::new(clock))
    }

    fn told(scene: &Scene) -> Vec<Value> {
        let log = scene.world.log();
        log.iter()
            .map(|stored: &Stored| {
                assert_eq!(stored.envelope.kind, "admission.requests_rejected");
                serde_json::from_slice(&stored.body).expect("JSON")
            })
            .collect()
    }

    #[tokio::test]
    async fn a_flood_is_one_event_for_each_route_and_cause_and_nothing_is_told_twice() {
        let scene = nobody();
        let rejections = rejections(&scene);
        for number in 0..10_000_u32 {
            let source = Source::V4(number % 500);
            rejections.count("/api/v1/sessions", "rate_limited", source);
            rejections.count("/api/v1/sessions", "malformed_json", Source::Unknown);
        }
        for _ in 0..2 {
            rejections.tell(&scene.kernel).await.expect("told");
        }
        let told = told(&scene);
        assert_eq!(told.len(), 2, "{told:?}");
        let limited = &told[1];
        assert_eq!(limited["route"], "/api/v1/sessions");
        assert_eq!(limited["cause"], "rate_limited");
        assert_eq!(limited["count"], 10_000);
        let sources = limited["sources"].as_u64().expect("a number");
        assert!((400..=600).contains(&sources), "{sources}");
        assert_eq!(told[0]["sources"], 1);
    }

    #[tokio::test]
    async fn however_many_routes_are_refused_a_minute_has_a_few_events_and_all_are_counted() {
        let scene = nobody();
        let rejections = rejections(&scene);
        let routes: Vec<&'static str> = (0..200)
            .map(|number| &*format!("/{number}").leak())
            .collect();
        for (number, route) in routes.iter().enumerate() {
            for _ in 0..=number {
                rejections.count(route, "not_found", Source::V4(1));
            }
            rejections.count(route, "unauthenticated", Source::V4(2));
        }
        rejections.tell(&scene.kernel).await.expect("told");
        let told = told(&scene);
        assert_eq!(told.len(), NAMED + 2, "{told:?}");
        assert_eq!(told[0]["route"], "/199");
        let all: u64 = told.iter().filter_map(|it| it["count"].as_u64()).sum();
        assert_eq!(all, 200 * 201 / 2 + 200);
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_hears_of_it_after_a_minute_and_at_the_end() {
        let scene = nobody();
        let (rejections, stopping) = (rejections(&scene), CancellationToken::new());
        let run = Arc::clone(&rejections).run(Arc::clone(&scene.kernel), stopping.clone());
        let meanwhile = async {
            rejections.count("/a", "not_found", Source::Unknown);
            tokio::time::sleep(Duration::from_secs(59)).await;
            assert_eq!(told(&scene).len(), 0);
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(told(&scene).len(), 1);
            rejections.count("/b", "not_found", Source::Unknown);
            stopping.cancel();
        };
        tokio::join!(run, meanwhile);
        assert_eq!(told(&scene).len(), 2);
    }

    #[tokio::test]
    async fn what_the_log_does_not_take_is_told_with_the_next() {
        let scene = nobody();
        let rejections = rejections(&scene);
        let tally = |count| Tally {
            since: scene.world.now(),
            count,
            sources: Sources([0; Sources::REGISTERS]),
        };
        rejections.count("/a", "not_found", Source::Unknown);
        let untold = [
            (("/a", "not_found"), tally(3)),
            (("/b", "not_found"), tally(4)),
        ];
        rejections.take_back(untold.into_iter());
        rejections.tell(&scene.kernel).await.expect("told");
        let told = told(&scene);
        let counts: Vec<_> = told.iter().map(|it| it["count"].as_u64()).collect();
        assert_eq!(counts, [Some(4), Some(4)]);
    }

    #[test]
    fn sources_are_estimated_within_a_fifth_however_many_there_are() {
        for many in [1_u32, 3, 20, 300, 5_000, 200_000] {
            let mut sources = Sources([0; Sources::REGISTERS]);
            // The finalizer of SplitMix64: a good hash that is the same in every run.
            for number in 0..many {
                let mut hash = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                sources.add(hash ^ (hash >> 31));
            }
            let estimate = f64::from(sources.estimate());
            let off = (estimate / f64::from(many) - 1.0).abs();
            assert!(off <= 0.2, "{many}: {estimate}");
        }
    }
}
