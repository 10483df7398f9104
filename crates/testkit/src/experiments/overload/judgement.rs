//! What must hold of the figures.

use std::time::Duration;

use super::{Figures, Seen};

/// What must hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Of those that are let in, p99 in the storm against p99 normally.
    slower: f32,
    /// p99 until somebody is told to come again, in milliseconds.
    refused_ms: f32,
    /// How late this side may send (p99), in milliseconds: beyond it the figures are of this side.
    late_ms: f32,
    again: Duration,
}

/// More memory than before the storm.
const GROWTH_KIB: u64 = 400 * 1_024;

/// In the last half of the storm more than in the first: more would grow for as long as the storm lasts.
const CREEP_KIB: u64 = 32 * 1_024;

/// Of a hundred requests, at most one may get no answer, or another than it should.
const FAILED: f64 = 0.01;

/// So much of what is sent may not have been sent: else it was less of a storm than is said.
const UNSENT: f64 = 0.1;

impl Bounds {
    pub(super) const LONG: Self = Self {
        slower: 2.0,
        refused_ms: 50.0,
        late_ms: 25.0,
        again: Duration::from_secs(30),
    };

    /// Few requests and a busy machine say little; and of a storm of seconds the first tenth of one, in which nobody knows of it
    /// and as many are inside as may be, is more than the hundredth that does not count.
    pub(super) const SHORT: Self = Self {
        slower: 20.0,
        refused_ms: 250.0,
        late_ms: 250.0,
        again: Duration::from_secs(30),
    };

    /// A line for each thing that does not.
    pub(super) fn breaches(&self, figures: &Figures) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                wrong.push(what);
            }
        };
        for it in &figures.of {
            let Seen { kind, .. } = it;
            let slower = it.admitted_p99 / it.normal_p99;
            must(it.admitted > 0.0, format!("no {kind} is let in"));
            must(
                slower < self.slower,
                format!("a {kind} that is let in takes {slower:.1} times as long"),
            );
            must(
                it.refused > 0.0,
                format!("no {kind} is refused: that was no storm"),
            );
            must(
                it.refused_p99 <= self.refused_ms,
                format!("a {kind} is refused after {:.1} ms", it.refused_p99),
            );
            must(
                it.bare == 0,
                format!("a {kind} is refused without Retry-After"),
            );
            must(
                it.admitted + it.refused >= it.sent * (1.0 - FAILED),
                format!("{} of {kind} failed: {}", it.failed, it.failures),
            );
            must(
                it.unsent <= it.sent * UNSENT,
                format!("of {kind} {:.0}/s were not sent", it.unsent),
            );
        }
        let half = figures.highest_kib.len() / 2;
        let (first, last) = figures.highest_kib.split_at(half);
        let highest = |part: &[u64]| part.iter().max().copied().unwrap_or_default();
        let (first, last) = (highest(first), highest(last));
        must(
            first.max(last) <= figures.before_kib + GROWTH_KIB,
            format!("it holds {} KiB", first.max(last)),
        );
        must(
            last <= first + CREEP_KIB,
            format!("memory creeps from {first} to {last} KiB"),
        );
        must(
            figures.normal_again.is_some_and(|time| time <= self.again),
            format!("normal again after {:?}", figures.normal_again),
        );
        must(
            figures.late_p99 <= self.late_ms,
            format!(
                "this side sends {:.1} ms late: its figures say nothing",
                figures.late_p99
            ),
        );
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Figures);

    fn good() -> Figures {
        let seen = Seen {
            kind: "login",
            normal_p99: 100.0,
            sent: 505.0,
            admitted: 20.0,
            refused: 480.0,
            admitted_p99: 199.0,
            refused_p99: 50.0,
            ..Seen::default()
        };
        Figures {
            of: vec![seen],
            before_kib: 50_000,
            highest_kib: vec![60_000, 400_000, 420_000, 400_000],
            normal_again: Some(Duration::from_secs(30)),
            late_p99: 25.0,
            ..Figures::default()
        }
    }

    #[test]
    fn each_bound_can_be_missed() {
        assert_eq!(Bounds::LONG.breaches(&good()), Vec::<String>::new());
        let changes: [(&str, Change); 11] = [
            ("is let in", |f| {
                (f.of[0].admitted, f.of[0].refused) = (0.0, 500.0);
            }),
            ("times as long", |f| f.of[0].admitted_p99 = 200.0),
            ("no storm", |f| {
                (f.of[0].admitted, f.of[0].refused) = (500.0, 0.0);
            }),
            ("refused after", |f| f.of[0].refused_p99 = 51.0),
            ("Retry-After", |f| f.of[0].bare = 1),
            ("failed", |f| f.of[0].sent = 506.0),
            ("not sent", |f| f.of[0].unsent = 51.0),
            ("it holds", |f| f.before_kib = 10_000),
            ("creeps", |f| f.highest_kib[3] = 433_000),
            ("normal again", |f| f.normal_again = None),
            ("sends", |f| f.late_p99 = 26.0),
        ];
        for (what, change) in changes {
            let mut figures = good();
            change(&mut figures);
            let said = Bounds::LONG.breaches(&figures);
            assert!(
                said.len() == 1 && said[0].contains(what),
                "{what}: {said:?}"
            );
        }
    }
}
