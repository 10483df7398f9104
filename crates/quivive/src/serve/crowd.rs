//! What the connections are doing, and which of them goes when there is no place for another.
//!
//! Clients that send nothing, or their headers byte by byte, are let go after some seconds; in that time there may be more
//! of them than places. So a new connection takes the place of one that asks for nothing now, the oldest first, and of all
//! that never asked before one that did. Who is at a request keeps its place.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

/// Connections that are looked at to find one that may go.
const LOOK_AT: usize = 1_024;

/// What came over a connection. Beside hyper's own timers, which begin when the protocol is known and do not see an h2
/// connection that asks nothing.
#[derive(Default)]
pub(super) struct Activity {
    requests: AtomicU64,
    running: AtomicU64,
    sent_away: Notify,
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

    fn is_busy(&self) -> bool {
        self.running.load(Ordering::Relaxed) > 0
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
        let mut idle = None;
        for _ in 0..self.0.len().min(LOOK_AT) {
            let Some(next) = self.0.pop_front() else {
                break;
            };
            let Some(activity) = next.upgrade() else {
                continue;
            };
            if !activity.has_asked() {
                activity.sent_away.notify_one();
                // The one that was kept for want of a better may stay.
                self.0.extend(idle.map(|it| Arc::downgrade(&it)));
                return true;
            }
            if idle.is_none() && !activity.is_busy() {
                idle = Some(activity);
            } else {
                self.0.push_back(next);
            }
        }
        let found = idle.is_some();
        if let Some(activity) = idle {
            activity.sent_away.notify_one();
        }
        found
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
