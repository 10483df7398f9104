//! A gate before work: so many may be inside at once, and fewer while they take too long.
//!
//! A burst is over soon and finds room. A queue that stands does nobody any good: all wait as long as it is, and no more of
//! them are served. So when somebody who was let in under the present limit takes longer than the work should, the limit falls
//! to as many as would have been in time: their number over their time is what is done a second (Little's law). While all are in time
//! it rises again, by one for as many as it lets in, as a TCP window does.
//!
//! **Guarantees.** Never more than `most` inside, and never fewer than `least` let in. Who is not let in is told at once.
//!
//! **Not guaranteed.** Fairness between those who are not let in: who asks again first gets the next place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many may be inside, and within which time each should be out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub least: usize,
    pub most: usize,
    pub in_time: Duration,
}

/// The gate.
#[derive(Debug)]
pub struct Gate {
    room: Room,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    inside: usize,
    limit: usize,
    /// Since the limit changed.
    in_time: usize,
    /// When the limit fell last. Who came in before says nothing of the new one.
    fell_at: Option<Instant>,
}

/// Somebody is inside until this is dropped.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    since: Instant,
}

impl Gate {
    pub fn new(room: Room) -> Arc<Self> {
        Arc::new(Self {
            room,
            state: Mutex::new(State {
                inside: 0,
                limit: room.most,
                in_time: 0,
                fell_at: None,
            }),
        })
    }

    /// For who has not begun yet. `None` when there is no place.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        self.let_in(|state| state.limit)
    }

    /// For who was let in before and has left its place to others: as long as there is any.
    pub fn enter_again(self: &Arc<Self>) -> Option<Place> {
        self.let_in(|_| self.room.most)
    }

    /// How many are inside.
    pub fn inside(&self) -> usize {
        self.state().inside
    }

    fn let_in(self: &Arc<Self>, limit: impl Fn(&State) -> usize) -> Option<Place> {
        let mut state = self.state();
        if state.inside >= limit(&state) {
            return None;
        }
        state.inside += 1;
        Some(Place {
            gate: Arc::clone(self),
            since: Instant::now(),
        })
    }

    /// A panic under the lock leaves the state whole: each step below it is complete or not begun.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Room {
            least,
            most,
            in_time,
        } = self.gate.room;
        let now = Instant::now();
        let took = now.saturating_duration_since(self.since);
        let mut state = self.gate.state();
        if took <= in_time {
            state.in_time += 1;
            if state.in_time >= state.limit {
                state.limit = most.min(state.limit + 1);
                state.in_time = 0;
            }
        } else if state.fell_at.is_none_or(|fell_at| fell_at <= self.since) {
            let done = state.inside as u128 * in_time.as_micros() / took.as_micros();
            state.limit = usize::try_from(done).unwrap_or(most).clamp(least, most);
            state.in_time = 0;
            state.fell_at = Some(now);
        }
        state.inside -= 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const ROOM: Room = Room {
        least: 4,
        most: 100,
        in_time: Duration::from_secs(1),
    };

    /// As many as are let in.
    fn fill(gate: &Arc<Gate>) -> Vec<Place> {
        std::iter::from_fn(|| gate.enter()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_finds_room_and_a_queue_that_stands_does_not() {
        let gate = Gate::new(ROOM);
        let burst = fill(&gate);
        assert_eq!((burst.len(), gate.inside()), (100, 100));
        advance(ROOM.in_time).await;
        drop(burst);
        assert_eq!(fill(&gate).len(), 100, "all were in time");

        // A hundred took five times as long: a fifth of them would have been in time.
        let queue = fill(&gate);
        advance(ROOM.in_time * 5).await;
        drop(queue);
        assert_eq!(fill(&gate).len(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_falls_once_for_those_who_came_in_under_it_and_not_under_the_least() {
        let gate = Gate::new(ROOM);
        let mut queue = fill(&gate);
        for _ in 0..100 {
            advance(Duration::from_millis(100)).await;
            queue.remove(0);
        }
        // The first that was late, after 1.1 s: then 90 were inside.
        assert_eq!(fill(&gate).len(), 81);
        for _ in 0..5 {
            let queue = fill(&gate);
            advance(ROOM.in_time * 9).await;
            drop(queue);
        }
        assert_eq!(fill(&gate).len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn it_rises_by_one_for_as_many_as_it_lets_in_up_to_the_most() {
        let gate = Gate::new(ROOM);
        let queue = fill(&gate);
        advance(ROOM.in_time * 10).await;
        drop(queue);
        let mut was = fill(&gate).len();
        assert_eq!(was, 10);
        for _ in 0..3 {
            // Filling it just now was in time, too.
            let is = fill(&gate).len();
            assert_eq!(is, was + 1);
            was = is;
        }
        while was < 100 {
            was = fill(&gate).len();
        }
        assert_eq!(fill(&gate).len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_inside_before_finds_a_place_as_long_as_there_is_any() {
        let gate = Gate::new(ROOM);
        let queue = fill(&gate);
        advance(ROOM.in_time * 100).await;
        drop(queue);
        let inside = fill(&gate);
        assert_eq!(inside.len(), 4);
        let again: Vec<_> = std::iter::from_fn(|| gate.enter_again()).collect();
        assert_eq!(again.len(), 96);
    }
}
