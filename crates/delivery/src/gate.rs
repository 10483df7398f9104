//! A gate before work: so many may be inside at once, and fewer while they take too long.
//!
//! A burst finds room and is over soon, and so is who asks again only when answered: there are never more of them at once. A queue
//! that stands does nobody any good: all wait as long as it is, and no more of them are served. So when somebody was late, and
//! others were turned away meanwhile, the limit falls to as many as would have been in time: how many were inside when somebody
//! came in, over the time that this one took, is what is done a second (Little's law). In time is who takes at most some times as
//! long as it takes when nobody waits. Where no more were inside than may always be, it was not for the others that it took long,
//! and nothing follows. While all are in time the limit rises again as a TCP window does: by one for as many as it lets in. When
//! nobody is inside for a while, and nobody was turned away for a while, there is no queue, and all of the room is there again.
//!
//! Where another gate turns most away ([`Tide`]) that counts as well ([`Gate::others_were_turned_away`]): a gate with much room would
//! let all of a flood in that comes from no more than so many at a time, and make each of them wait for all others. And when
//! those that the other let in starve for a core, a number inside is no limit to what is done a second: then so many come in a
//! second, until the others get on.
//!
//! **Guarantees.** Never more than `most` inside, and never fewer than `least` let in, or 160 a second while others starve. Who
//! is not let in is told at once.
//!
//! **Not guaranteed.** Fairness between those who are not let in: who asks again first gets the next place.

mod pace;
mod tide;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use pace::Pace;
pub use tide::Tide;

/// How many may be inside, and within which time each should be out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub least: usize,
    pub most: usize,
    /// Three times as long as the quickest of late, but no less than this: what is quick may wait as long.
    pub quick: Duration,
    /// And no more than this.
    pub slow: Duration,
}

/// How much longer than the quickest one may take.
const SLOWER: u32 = 3;

/// When nobody was turned away for so long there is no flood.
const LULL: Duration = Duration::from_secs(1);

/// What many do in so long says something.
const WINDOW: Duration = Duration::from_millis(100);

/// The quickest of these last two times counts: what a machine can do does not change often.
const LATELY: Duration = Duration::from_secs(30);

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
    /// When somebody was turned away last.
    full_at: Option<Instant>,
    /// When the last went out.
    empty_since: Option<Instant>,
    quickest: Quickest,
    pace: Pace,
}

/// The least time that somebody took lately.
#[derive(Debug)]
struct Quickest {
    before: Duration,
    now: Duration,
    since: Option<Instant>,
}

impl Quickest {
    /// Of which this is one.
    fn of(&mut self, took: Duration, now: Instant) -> Duration {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < LATELY {
            self.now = self.now.min(took);
        } else {
            self.before = std::mem::replace(&mut self.now, took);
            self.since = Some(now);
        }
        self.now.min(self.before)
    }
}

/// Somebody is inside until this is dropped.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    since: Instant,
    /// How many were inside when it came in, itself among them.
    inside: usize,
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
                full_at: None,
                empty_since: None,
                quickest: Quickest {
                    before: Duration::MAX,
                    now: Duration::MAX,
                    since: None,
                },
                pace: Pace::default(),
            }),
        })
    }

    /// For who has not begun yet. `None` when there is no place.
    pub fn enter(self: &Arc<Self>) -> Option<Place> {
        self.let_in(|state, now| state.inside < state.limit && state.pace.allows(now))
    }

    /// For who was let in before and has left its place to others: as long as there is any.
    pub fn enter_again(self: &Arc<Self>) -> Option<Place> {
        self.let_in(|state, _| state.inside < self.room.most)
    }

    /// Under the same load, and not here. Those who were let in there ran for that part of their time, from 0 to 1.
    pub fn others_were_turned_away(&self, ran: f64) {
        let now = Instant::now();
        let mut state = self.state();
        state.full_at = Some(now);
        state.pace.others_ran(ran, now);
    }

    /// How many are inside.
    pub fn inside(&self) -> usize {
        self.state().inside
    }

    fn let_in(self: &Arc<Self>, may: impl FnOnce(&mut State, Instant) -> bool) -> Option<Place> {
        let now = Instant::now();
        let mut state = self.state();
        let is_long_ago = |at, time| now.saturating_duration_since(at) >= time;
        if state
            .empty_since
            .is_some_and(|since| is_long_ago(since, self.room.quick / 2))
            && state
                .full_at
                .is_none_or(|full_at| is_long_ago(full_at, LULL))
        {
            state.limit = self.room.most;
        }
        if !may(&mut state, now) {
            state.full_at = Some(now);
            return None;
        }
        state.empty_since = None;
        state.inside += 1;
        Some(Place {
            gate: Arc::clone(self),
            since: now,
            inside: state.inside,
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
            quick,
            slow,
        } = self.gate.room;
        let now = Instant::now();
        let took = now.saturating_duration_since(self.since);
        let mut state = self.gate.state();
        let quickest = state.quickest.of(took, now);
        let in_time = quickest.saturating_mul(SLOWER).clamp(quick, slow);
        if took <= in_time {
            state.in_time += 1;
            if state.in_time >= state.limit {
                state.limit = most.min(state.limit + 1);
                state.in_time = 0;
            }
        } else if self.inside > least
            && state.full_at.is_some_and(|full_at| full_at >= self.since)
            && state.fell_at.is_none_or(|fell_at| fell_at <= self.since)
        {
            let done = self.inside as u128 * in_time.as_micros() / took.as_micros();
            state.limit = usize::try_from(done).unwrap_or(most).clamp(least, most);
            state.in_time = 0;
            state.fell_at = Some(now);
        }
        state.inside -= 1;
        if state.inside == 0 {
            state.empty_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const ROOM: Room = Room {
        least: 4,
        most: 100,
        quick: IN_TIME,
        slow: IN_TIME,
    };

    const IN_TIME: Duration = Duration::from_secs(1);

    /// As many as are let in.
    fn fill(gate: &Arc<Gate>) -> Vec<Place> {
        std::iter::from_fn(|| gate.enter()).collect()
    }

    /// As many come in as may, and one after the other is served, so many a second.
    async fn serve(gate: &Arc<Gate>, rate: u32) {
        for place in fill(gate) {
            advance(Duration::from_secs(1) / rate).await;
            drop(place);
        }
    }

    fn limit(gate: &Gate) -> usize {
        gate.state().limit
    }

    /// How many would find room now. The next is turned away.
    fn room(gate: &Arc<Gate>) -> usize {
        let limit = limit(gate);
        let found = fill(gate);
        assert_eq!(found.len(), limit);
        found.into_iter().for_each(std::mem::forget);
        gate.state().inside = 0;
        limit
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_finds_room_and_a_queue_that_stands_does_not() {
        let gate = Gate::new(ROOM);
        serve(&gate, 100).await;
        assert_eq!(room(&gate), 100, "all were in time");
        // The 21st is the first that is late; those behind it came in under the old limit.
        serve(&gate, 20).await;
        assert_eq!(room(&gate), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn it_falls_again_for_who_came_in_since_and_not_under_the_least() {
        let gate = Gate::new(ROOM);
        serve(&gate, 20).await;
        serve(&gate, 10).await;
        // Up by one for each of the first four, who took less than half the time, and down to what is served a second.
        assert_eq!(room(&gate), 10);
        serve(&gate, 1).await;
        assert_eq!(room(&gate), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn few_that_are_late_say_nothing_of_a_queue() {
        let gate = Gate::new(ROOM);
        let few: Vec<_> = (0..ROOM.least).map(|_| gate.enter()).collect();
        advance(IN_TIME * 9).await;
        drop(few);
        assert_eq!(room(&gate), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn it_rises_by_one_for_as_many_as_it_lets_in() {
        let gate = Gate::new(ROOM);
        serve(&gate, 10).await;
        assert_eq!(room(&gate), 10);
        advance(Duration::from_millis(1)).await;
        let late: Vec<_> = (0..10).map(|_| gate.enter()).collect();
        advance(IN_TIME * 2).await;
        // Nobody is turned away meanwhile; who is late is not counted.
        drop(late);
        assert_eq!(limit(&gate), 10);
        for limit in 11..=100 {
            drop(fill(&gate));
            assert_eq!(room(&gate), limit);
        }
        drop(fill(&gate));
        assert_eq!(room(&gate), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_that_is_turned_away_elsewhere_is_one_here() {
        let gate = Gate::new(ROOM);
        let half = || (0..50).map(|_| gate.enter()).collect::<Vec<_>>();
        let serve = async |places| {
            for place in places {
                advance(IN_TIME / 10).await;
                drop(place);
            }
        };
        serve(half()).await;
        assert_eq!(limit(&gate), 100, "nobody was turned away");
        let places = half();
        gate.others_were_turned_away(1.0);
        serve(places).await;
        assert_eq!(limit(&gate), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_is_turned_away_all_may_be_late() {
        let gate = Gate::new(ROOM);
        for _ in 0..3 {
            let all: Vec<_> = (0..ROOM.most).map(|_| gate.enter()).collect();
            for place in all {
                advance(IN_TIME / 20).await;
                drop(place);
            }
        }
        assert_eq!(room(&gate), 100);
        // Who was turned away before they came says nothing of them.
        drop(fill(&gate));
        advance(IN_TIME / 4).await;
        let all: Vec<_> = (0..ROOM.most).map(|_| gate.enter()).collect();
        advance(IN_TIME * 2).await;
        drop(all);
        assert_eq!(room(&gate), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn when_nobody_was_inside_or_turned_away_for_a_while_all_of_the_room_is_there() {
        let gate = Gate::new(ROOM);
        serve(&gate, 20).await;
        gate.others_were_turned_away(1.0);
        advance(IN_TIME / 2).await;
        drop(gate.enter());
        assert_eq!(limit(&gate), 20);
        advance(LULL).await;
        drop(gate.enter());
        assert_eq!(limit(&gate), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn others_that_starve_hold_up_who_has_not_begun_and_for_no_longer_than_they_do() {
        let gate = Gate::new(ROOM);
        serve(&gate, 20).await;
        gate.others_were_turned_away(0.0);
        assert!(gate.enter().is_none(), "it begins with nobody");
        drop(gate.enter_again().expect("it was let in before"));
        advance(LULL / 2).await;
        assert_eq!(fill(&gate).len(), 2);
        assert!(gate.enter().is_none(), "and nobody is inside");
        advance(LULL).await;
        drop(gate.enter());
        assert_eq!(room(&gate), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_time_goes_by_the_quickest_of_late() {
        let gate = Gate::new(Room {
            quick: Duration::from_millis(10),
            ..ROOM
        });
        // A slow disk: nobody is quicker than 100 ms, so 300 ms are in time; the 6th that is served takes 350 ms.
        let queue = fill(&gate);
        advance(Duration::from_millis(50)).await;
        for place in queue {
            advance(Duration::from_millis(50)).await;
            drop(place);
        }
        assert_eq!(room(&gate), 5);
        // On a quick one, 20 of 2,000 a second would be in time.
        let gate = Gate::new(gate.room);
        serve(&gate, 2_000).await;
        assert_eq!(room(&gate), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_inside_before_finds_a_place_as_long_as_there_is_any() {
        let gate = Gate::new(ROOM);
        serve(&gate, 1).await;
        let inside = fill(&gate);
        assert_eq!(inside.len(), 4);
        let again: Vec<_> = std::iter::from_fn(|| gate.enter_again()).collect();
        assert_eq!(again.len(), 96);
    }
}
