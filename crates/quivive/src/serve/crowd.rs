//! What the connections are doing, and which of them goes when there is no place for another.
//!
//! Clients that send nothing, or their headers byte by byte, are let go after some seconds, and who takes nothing of an answer
//! after some minutes; in that time there may be more of them than places. So a new connection takes the place of one that
//! is no good to its client now, the oldest first: of all that never asked, then of those that let an answer lie, then of
//! one that asks for nothing, and last of one that takes its answer. Who is at a request keeps its place, and so does who
//! reads a live stream, which is meant to be quiet and has limits of its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Connections that are looked at to find one that may go.
const LOOK_AT: usize = 1_024;

/// For a client to take the whole of an answer while others want its place: as long as it has to send its headers.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// What came over a connection, and what waits to go. Beside hyper's own timers, which begin when the protocol is known and do not see an h2
/// connection that asks nothing.
#[derive(Default)]
pub(super) struct Activity {
    requests: AtomicU64,
    running: AtomicU64,
    /// Since when the peer has not taken all that was written to it.
    untaken: Mutex<Option<Instant>>,
    sent_away: Notify,
}

/// What a connection does that may go, those first that go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    AskedNothing,
    /// It has had the time to take an answer.
    LetsItLie,
    Idles,
    Takes,
}

impl Activity {
    /// Completes when no request came in `first`, or later none for `idle`.
    pub(super) async fn silence(&self, first: Duration, idle: Duration) {
        tokio::time::sleep(first).await;
        loop {
            let before = self.requests.load(Ordering::Relaxed);
            if before == 0 {
                return;
            }
            tokio::time::sleep(idle).await;
            let quiet = self.requests.load(Ordering::Relaxed) == before;
            if quiet && !self.is_busy() {
                return;
            }
        }
    }

    /// Completes when another takes its place.
    pub(super) async fn sent_away(&self) {
        self.sent_away.notified().await;
    }

    pub(super) fn begin(self: Arc<Self>) -> Running {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(self)
    }

    pub(super) fn has_asked(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }

    /// A request is being worked on, or a live stream is open.
    pub(super) fn is_busy(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
    }

    /// The peer has not taken all that was written to it.
    pub(super) fn leaves_something(&self) {
        self.untaken().get_or_insert_with(Instant::now);
    }

    /// It has now.
    pub(super) fn takes_all(&self) {
        *self.untaken() = None;
    }

    pub(super) fn waits_to_be_taken(&self) -> bool {
        self.untaken().is_some()
    }

    /// It may be cut off where it stands: it asked for nothing, or had its time to take an answer.
    pub(super) fn owes_nothing(&self) -> bool {
        matches!(self.doing(), Some(Doing::AskedNothing | Doing::LetsItLie))
    }

    fn untaken(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: it keeps its place.
    fn doing(&self) -> Option<Doing> {
        if !self.has_asked() {
            return Some(Doing::AskedNothing);
        }
        if self.is_busy() {
            return None;
        }
        let untaken = *self.untaken();
        Some(match untaken {
            None => Doing::Idles,
            Some(since) if since.elapsed() < TAKEN_WITHIN => Doing::Takes,
            Some(_) => Doing::LetsItLie,
        })
    }
}

/// One request under way.
pub(super) struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections, those that were looked at last at the end.
#[derive(Default)]
pub(super) struct Crowd(VecDeque<Weak<Activity>>);

impl Crowd {
    /// One more. At most `limit` of them are there at a time.
    pub(super) fn join(&mut self, activity: &Arc<Activity>, limit: usize) {
        if self.0.len() >= limit.saturating_mul(2) {
            self.0.retain(|it| it.strong_count() > 0);
        }
        self.0.push_back(Arc::downgrade(activity));
    }

    /// Sends one away; whether there was one that may go.
    pub(super) fn make_room(&mut self) -> bool {
        let mut first: Option<(Doing, Weak<Activity>)> = None;
        for _ in 0..self.0.len().min(LOOK_AT) {
            let Some(next) = self.0.pop_front() else {
                break;
            };
            let Some(activity) = next.upgrade() else {
                continue;
            };
            let doing = activity.doing();
            match (doing, &first) {
                (Some(doing), None) => first = Some((doing, next)),
                (Some(doing), Some((best, _))) if doing < *best => {
                    let better = first.replace((doing, next));
                    self.0.extend(better.map(|(_, kept)| kept));
                }
                _ => self.0.push_back(next),
            }
            if doing == Some(Doing::AskedNothing) {
                break;
            }
        }
        let found = first.and_then(|(_, activity)| activity.upgrade());
        if let Some(activity) = &found {
            activity.sent_away.notify_one();
        }
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(many: usize) -> (Crowd, Vec<Arc<Activity>>) {
        let (mut crowd, mut all) = (Crowd::default(), Vec::new());
        for _ in 0..many {
            let activity = Arc::new(Activity::default());
            crowd.join(&activity, 1_000);
            all.push(activity);
        }
        (crowd, all)
    }

    async fn gone(all: &[Arc<Activity>]) -> Vec<usize> {
        let mut gone = Vec::new();
        for (at, activity) in all.iter().enumerate() {
            let told = tokio::time::timeout(Duration::ZERO, activity.sent_away()).await;
            gone.extend(told.is_ok().then_some(at));
        }
        gone
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_asked_goes_before_who_is_idle_and_who_is_at_a_request_stays() {
        let (mut crowd, all) = crowd(5);
        let running = Arc::clone(&all[0]).begin();
        drop(Arc::clone(&all[1]).begin());
        drop(Arc::clone(&all[3]).begin());
        for want in [2, 4, 1, 3] {
            assert!(crowd.make_room(), "{want}");
            assert_eq!(gone(&all).await, [want]);
        }
        assert!(!crowd.make_room() && gone(&all).await.is_empty());
        drop(running);
        assert!(crowd.make_room());
        assert_eq!(gone(&all).await, [0]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_lets_an_answer_lie_goes_before_who_is_idle_and_who_takes_one_goes_last() {
        let (mut crowd, all) = crowd(5);
        for activity in &all {
            drop(Arc::clone(activity).begin());
        }
        all[3].leaves_something();
        all[4].leaves_something();
        all[4].takes_all();
        tokio::time::advance(TAKEN_WITHIN).await;
        all[0].leaves_something();
        // What it takes meanwhile is not all of it.
        all[3].leaves_something();
        let working = Arc::clone(&all[1]).begin();
        all[1].leaves_something();
        assert!(all[3].owes_nothing() && !all[0].owes_nothing());
        for want in [3, 2, 4, 0] {
            assert!(crowd.make_room(), "{want}");
            assert_eq!(gone(&all).await, [want]);
        }
        assert!(!crowd.make_room());
        drop(working);
    }

    #[test]
    fn those_that_ended_are_forgotten() {
        let mut crowd = Crowd::default();
        for _ in 0..100_000 {
            crowd.join(&Arc::new(Activity::default()), 100);
        }
        assert!(crowd.0.len() <= 200);
        assert!(!crowd.make_room());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_told_of_who_asks_nothing_and_not_of_who_is_answered() {
        let (first, idle) = (Duration::from_secs(10), Duration::from_mins(1));
        let activity = Arc::new(Activity::default());
        let began = tokio::time::Instant::now();
        activity.silence(first, idle).await;
        assert_eq!(began.elapsed(), first);
        let running = Arc::clone(&activity).begin();
        let silence = activity.silence(first, idle);
        assert!(tokio::time::timeout(idle * 5, silence).await.is_err());
        drop(running);
        assert!(
            tokio::time::timeout(idle * 2, activity.silence(first, idle))
                .await
                .is_ok()
        );
    }
}
