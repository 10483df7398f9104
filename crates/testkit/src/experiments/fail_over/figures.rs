//! What is printed.

use std::fmt;
use std::time::Duration;

/// What became of all of it.
#[derive(Debug, Default)]
pub struct Figures {
    pub fail_overs: usize,
    pub acknowledged: usize,
    pub put_off: usize,
    pub unanswered: usize,
    /// Used secrets that were tried again after a kill.
    pub tried_again: usize,
    pub workflows: usize,
    pub interrupted: usize,
    pub events: usize,
    /// From a kill to the first acknowledgement of a request that came after it, shortest first.
    pub away: Vec<Duration>,
    pub lost: Vec<String>,
    pub breaches: Vec<String>,
}

impl Figures {
    pub fn whole(&self) -> bool {
        self.lost.is_empty() && self.breaches.is_empty()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |at: usize| self.away.get(at).map_or(f64::NAN, Duration::as_secs_f64);
        write!(
            f,
            "{} fail-overs, away {:.2} s in the middle and {:.2} s at worst; {} requests acknowledged, {} told to come again, \
             {} without an answer; {} used secrets tried again; {} workflows whole, {} of them closed as interrupted, {} events \
             verified and seen once by two feeds; {} lost, {} breaches",
            self.fail_overs,
            seconds(self.away.len() / 2),
            seconds(self.away.len().saturating_sub(1)),
            self.acknowledged,
            self.put_off,
            self.unanswered,
            self.tried_again,
            self.workflows,
            self.interrupted,
            self.events,
            self.lost.len(),
            self.breaches.len(),
        )?;
        for what in self.lost.iter().chain(&self.breaches).take(10) {
            write!(f, "\n  {what}")?;
        }
        Ok(())
    }
}
