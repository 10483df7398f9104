//! Whether a flood comes: more are turned away than let in.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::LULL;

/// Counts who comes, and says whether most of the last whole second were turned away.
#[derive(Debug, Default)]
pub struct Tide {
    state: Mutex<Second>,
}

#[derive(Debug, Default)]
struct Second {
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
        if time >= LULL {
            *state = Second {
                since: Some(now),
                is_flood: time < LULL * 2 && state.turned_away > state.let_in,
                ..Second::default()
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
        advance(LULL * 3).await;
        assert!(!tide.note(false), "that was long ago");
    }
}
