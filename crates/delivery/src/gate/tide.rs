//! Whether a flood comes: more are turned away than let in.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::{LULL, WINDOW};

/// So many say something after a [`WINDOW`], fewer after a [`LULL`].
const MANY: u32 = 16;

/// Counts who comes, and says whether most of those were turned away who came in the last whole tenth of a second, or second where
/// few come.
#[derive(Debug, Default)]
pub struct Tide {
    state: Mutex<Lately>,
}

#[derive(Debug, Default)]
struct Lately {
    since: Option<Instant>,
    let_in: u32,
    turned_away: u32,
    is_flood: bool,
}

impl Tide {
    /// One more came. Whether there is a flood.
    pub fn note(&self, was_let_in: bool) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *state.since.get_or_insert(now);
        let time = now.saturating_duration_since(since);
        let came = state.let_in + state.turned_away;
        if time >= LULL || time >= WINDOW && came >= MANY {
            *state = Lately {
                since: Some(now),
                is_flood: time < LULL * 2 && state.turned_away > state.let_in,
                ..Lately::default()
            };
        }
        *if was_let_in {
            &mut state.let_in
        } else {
            &mut state.turned_away
        } += 1;
        state.is_flood
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_a_flood_while_most_are_turned_away() {
        let tide = Tide::default();
        let second = async |let_in: usize, turned_away: usize| {
            for i in 0..let_in + turned_away {
                advance(LULL / 10).await;
                if tide.note(i < let_in) {
                    return true;
                }
            }
            false
        };
        assert!(!second(5, 5).await);
        assert!(!second(4, 6).await, "it is told when the second is over");
        assert!(second(10, 0).await);
        let tide = Tide::default();
        for _ in 0..MANY {
            assert!(!tide.note(false), "so many of them may be a burst");
        }
        advance(WINDOW).await;
        assert!(tide.note(false));
        let tide = Tide::default();
        for _ in 1..MANY {
            tide.note(false);
        }
        advance(WINDOW).await;
        assert!(!tide.note(false), "too few to say it yet");
        advance(LULL).await;
        assert!(tide.note(false));
        advance(LULL * 3).await;
        assert!(!tide.note(false), "that was long ago");
    }
}
