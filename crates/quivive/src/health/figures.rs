//! Where subscriptions are, as figures: one set for each family, of whose members the one that is worst off counts, or their
//! sum. What each of hundreds of webhooks does is the API's to tell.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::Unit;
use quivive_delivery::engine::SubscriptionStatus;

use super::pace::Pace;

/// How long the key that is longest in trouble has been, by what became of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Oldest {
    pub retrying: Duration,
    pub parked: Duration,
}

#[derive(Debug, Default, PartialEq)]
struct Family {
    position: Option<u64>,
    lag: u64,
    age: Duration,
    in_flight: usize,
    stuck: usize,
    broken: usize,
    paused: usize,
    /// How many, and since when the oldest is.
    retrying: (usize, Duration),
    parked: (usize, Duration),
}

/// A family that has no members any more is told as nothing: figures stay once they are there.
#[derive(Default)]
pub(super) struct Figures(BTreeMap<String, Family>);

impl Figures {
    /// All that is told is added anew.
    pub(super) fn begin(&mut self) {
        self.0
            .values_mut()
            .for_each(|family| *family = Family::default());
    }

    pub(super) fn add(&mut self, status: &SubscriptionStatus, pace: Pace, oldest: Oldest) {
        let family = self.0.entry(status.family().to_owned()).or_default();
        let position = family.position.unwrap_or(u64::MAX);
        family.position = Some(position.min(status.position));
        family.lag = family.lag.max(status.lag);
        family.age = family.age.max(pace.age);
        family.in_flight += status.in_flight;
        family.stuck += usize::from(pace.stuck);
        family.broken += usize::from(status.broken);
        family.paused += usize::from(status.paused);
        family.retrying.0 += status.lanes_retrying;
        family.retrying.1 = family.retrying.1.max(oldest.retrying);
        family.parked.0 += status.lanes_parked;
        family.parked.1 = family.parked.1.max(oldest.parked);
    }

    pub(super) fn publish(&self) {
        for (name, family) in &self.0 {
            family.publish(name);
        }
    }
}

impl Family {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; positions are far below 2^52"
    )]
    fn publish(&self, name: &str) {
        let gauge = |figure: &'static str, value: f64| {
            metrics::gauge!(figure, "subscription" => name.to_owned()).set(value);
        };
        if let Some(position) = self.position {
            gauge("quivive_subscription_position", position as f64);
        }
        gauge("quivive_subscription_lag_events", self.lag as f64);
        gauge("quivive_subscription_lag_seconds", self.age.as_secs_f64());
        gauge("quivive_subscription_in_flight", self.in_flight as f64);
        gauge("quivive_subscription_stuck", self.stuck as f64);
        gauge("quivive_subscription_broken", self.broken as f64);
        gauge("quivive_subscription_paused", self.paused as f64);
        for (state, (lanes, oldest)) in [("retrying", self.retrying), ("parked", self.parked)] {
            let gauge = |figure: &'static str, value: f64| {
                metrics::gauge!(figure, "subscription" => name.to_owned(), "state" => state)
                    .set(value);
            };
            gauge("quivive_lanes", lanes as f64);
            gauge("quivive_lanes_oldest_seconds", oldest.as_secs_f64());
        }
    }
}

/// How far the index of the log is behind it.
#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; positions are far below 2^52"
)]
pub(super) fn publish_index(lag: u64, age: Duration) {
    metrics::gauge!("quivive_search_index_lag_events").set(lag as f64);
    metrics::gauge!("quivive_search_index_lag_seconds").set(age.as_secs_f64());
}

pub(super) fn describe() {
    for (name, unit, text) in [
        (
            "quivive_subscription_position",
            Unit::Count,
            "Position up to which everything is done or left to a lane; of a family, the lowest",
        ),
        (
            "quivive_subscription_lag_events",
            Unit::Count,
            "Events between a subscription and the head of the log; of a family, the most",
        ),
        (
            "quivive_subscription_lag_seconds",
            Unit::Seconds,
            "Age of the oldest event that a subscription has not come to",
        ),
        (
            "quivive_subscription_in_flight",
            Unit::Count,
            "Deliveries under way, and commits of what they left behind",
        ),
        (
            "quivive_subscription_stuck",
            Unit::Count,
            "Subscriptions that are behind and have not moved for 45 seconds",
        ),
        (
            "quivive_subscription_broken",
            Unit::Count,
            "Subscriptions whose target does not answer, so that nothing but a probe is delivered",
        ),
        (
            "quivive_subscription_paused",
            Unit::Count,
            "Subscriptions of which nothing is delivered until an operator resumes them",
        ),
        ("quivive_lanes", Unit::Count, "Keys in trouble"),
        (
            "quivive_lanes_oldest_seconds",
            Unit::Seconds,
            "For how long the key that is longest in trouble has been",
        ),
        (
            "quivive_search_index_lag_events",
            Unit::Count,
            "Events that are not in the index of the log yet",
        ),
        (
            "quivive_search_index_lag_seconds",
            Unit::Seconds,
            "Age of the oldest event that is not in the index of the log yet",
        ),
    ] {
        metrics::describe_gauge!(name, unit, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::pace::tests::status;

    #[test]
    fn a_family_is_as_its_members_are_and_nothing_when_they_are_gone() {
        let mut figures = Figures::default();
        let member = |name: &str, position, lanes_parked| SubscriptionStatus {
            name: name.into(),
            lanes_parked,
            broken: true,
            ..status(position, 100 - position)
        };
        let pace = |secs| Pace {
            age: Duration::from_secs(secs),
            ..Pace::default()
        };
        let parked = |secs| Oldest {
            parked: Duration::from_secs(secs),
            ..Oldest::default()
        };
        figures.add(&member("webhook:1", 90, 2), pace(3), parked(9));
        figures.add(&member("webhook:2", 80, 1), pace(1), parked(4));
        figures.add(&member("mail", 100, 0), pace(0), parked(0));
        let family = Family {
            position: Some(80),
            lag: 20,
            age: Duration::from_secs(3),
            broken: 2,
            parked: (3, Duration::from_secs(9)),
            ..Family::default()
        };
        let names: Vec<_> = figures.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["mail", "webhook"]);
        assert_eq!(figures.0["webhook"], family);

        figures.begin();
        figures.add(&member("mail", 100, 0), pace(0), parked(0));
        assert_eq!(figures.0["webhook"], Family::default());
    }
}
