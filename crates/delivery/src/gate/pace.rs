//! How many come in a second at the most, while others starve for the same cores.

use tokio::time::Instant;

use super::{LULL, WINDOW};

/// With less of its time than this part the other starves.
const STARVES: f64 = 0.45;

/// With more, it could spare some.
const PLENTY: f64 = 0.55;

/// So many a second at first, and never fewer.
const LEAST: f64 = 160.0;

/// From one look to the next, a [`WINDOW`] later.
const QUICKER: f64 = 1.05;
const SLOWER: f64 = 0.9;

/// A look counts for one part of so many: what lasts for a moment is not to be mended.
const LOOKS: f64 = 5.0;

/// Who comes after others were slow may come with so many more.
const TOGETHER: f64 = 2.0;

/// The pace at which some come in.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// `None`: any.
    a_second: Option<f64>,
    /// How many might come in at once, and when that was so.
    ready: f64,
    ready_at: Option<Instant>,
    /// Somebody was too quick since the last look.
    held_up: bool,
    /// The part of their time that the others ran lately.
    ran: Option<f64>,
    looked: Option<Instant>,
}

impl Pace {
    /// Whether one more may come in.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let long_ago = |looked| now.saturating_duration_since(looked) >= LULL;
        if self.looked.is_some_and(long_ago) {
            *self = Self::default();
        }
        let Some(rate) = self.a_second else {
            return true;
        };
        let before = self.ready_at.replace(now).unwrap_or(now);
        let time = now.saturating_duration_since(before).as_secs_f64();
        self.ready = (self.ready + rate * time).min(TOGETHER);
        if self.ready < 1.0 {
            self.held_up = true;
            return false;
        }
        self.ready -= 1.0;
        true
    }

    /// The others ran for that part of their time.
    pub(super) fn others_ran(&mut self, part: f64, now: Instant) {
        let lately = |looked| now.saturating_duration_since(looked) < WINDOW;
        if self.looked.is_some_and(lately) {
            return;
        }
        self.looked = Some(now);
        let held_up = std::mem::take(&mut self.held_up);
        let ran = self.ran.map_or(part, |ran| ran + (part - ran) / LOOKS);
        self.ran = Some(ran);
        if ran < STARVES {
            self.a_second = Some(self.a_second.map_or(LEAST, |rate| LEAST.max(rate * SLOWER)));
        } else if ran > PLENTY && held_up {
            self.a_second = self.a_second.map(|rate| rate * QUICKER);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    /// How many come in while the others run for that part of their time, of those that come every millisecond.
    async fn come(pace: &mut Pace, part: f64, windows: u32) -> u32 {
        let mut let_in = 0;
        for _ in 0..windows * 100 {
            pace.others_ran(part, Instant::now());
            advance(Duration::from_millis(1)).await;
            let_in += u32::from(pace.allows(Instant::now()));
        }
        let_in
    }

    #[tokio::test(start_paused = true)]
    async fn while_others_starve_few_come_in_and_never_none() {
        let mut pace = Pace::default();
        assert_eq!(come(&mut pace, 0.9, 3).await, 300);
        // One look says little.
        assert_eq!(come(&mut pace, 0.1, 2).await, 200);
        come(&mut pace, 0.1, 4).await;
        for _ in 0..3 {
            let came = come(&mut pace, 0.0, 10).await;
            assert!((158..=162).contains(&came), "{came}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn more_come_in_for_as_long_as_others_have_plenty() {
        let mut pace = Pace::default();
        let at_first = come(&mut pace, 0.1, 1).await;
        assert!(at_first <= 18, "the first look is all there is: {at_first}");
        let few = come(&mut pace, 0.5, 20).await;
        assert!((318..=322).contains(&few), "neither: {few}");
        come(&mut pace, 0.9, 20).await;
        let more = come(&mut pace, 0.5, 20).await;
        assert!(more > few * 2, "{few} {more}");
        // It takes a while to be believed, and then they are slower bit by bit.
        come(&mut pace, 0.2, 8).await;
        let fewer = come(&mut pace, 0.5, 20).await;
        assert!(few < fewer && fewer < more, "{few} {fewer} {more}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_slower_when_the_others_have_not_been_heard_of_for_a_while() {
        let mut pace = Pace::default();
        come(&mut pace, 0.1, 1).await;
        advance(LULL).await;
        let at_once = (0..100).filter(|_| pace.allows(Instant::now())).count();
        assert_eq!(at_once, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_slow_does_not_come_with_all_others() {
        let mut pace = Pace::default();
        come(&mut pace, 0.1, 1).await;
        advance(LULL / 2).await;
        let at_once = (0..100).filter(|_| pace.allows(Instant::now())).count();
        assert_eq!(at_once, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_no_quicker_where_nobody_is_held_up() {
        let mut pace = Pace::default();
        pace.others_ran(0.1, Instant::now());
        assert!(!pace.allows(Instant::now()), "it begins with nobody");
        for _ in 0..50 {
            advance(WINDOW).await;
            pace.others_ran(0.9, Instant::now());
            assert!(pace.allows(Instant::now()));
        }
        // It would be eleven times as quick.
        let came = come(&mut pace, 0.5, 1).await;
        assert!(came <= 20, "{came}");
    }
}
