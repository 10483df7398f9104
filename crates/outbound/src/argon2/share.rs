//! How a thread that hashes shares its core with others.

use std::time::{Duration, Instant};

/// What it takes of a core that others want, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Nothing: it runs while nobody else would, and stops at once for who wakes up. What is short does not wait for hashes.
    Spare,
    /// As much as any other thread.
    Equal,
}

impl Share {
    /// The least that is wise here. Without a look at how long a thread ran nobody would notice that it starves.
    pub(super) fn least() -> Self {
        if RunTime::of_this_thread().is_some() {
            Self::Spare
        } else {
            Self::Equal
        }
    }

    /// This thread shares so from now on. A thread that takes what is spare cannot take more again without a privilege.
    pub(super) fn take(self) {
        #[cfg(target_os = "linux")]
        if self == Self::Spare {
            use preempt_rt::sched::{Pid, Scheduler, SchedulerParams, set_scheduler};
            let nothing = SchedulerParams { priority: 0 };
            // Nobody is refused this. If it were, hashes would take as much as others.
            let _ = set_scheduler(Pid::current_thread(), Scheduler::SCHED_IDLE, nothing);
        }
    }
}

/// How often those that hash are asked how much they got.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// How long a thread that takes what is spare may be at a hash before that says anything: a wave of connections has all of a core
/// for a second, and is over.
const PATIENCE: Duration = Duration::from_secs(2);

/// Less than one part of so many of the time: there is nothing spare.
const STARVED: u32 = 3;

/// So much of the time, over at least [`CALM`] of it: something may be spare again.
const PLENTY: f64 = 0.4;
const CALM: Duration = Duration::from_secs(1);

/// It was not where there is nothing again before so many times as long: then it has to last twice as long, up to this.
const SOON: u32 = 4;
const LONGEST_CALM: Duration = Duration::from_secs(32);

/// Which share hashes take now: what is spare, and as much as others while nothing is.
#[derive(Debug)]
pub(super) struct Balance {
    least: Share,
    share: Share,
    /// How long those with an equal share ran lately, and how long they were at it.
    ran: Duration,
    time: Duration,
    calm: Duration,
    /// Since they take what is spare again.
    since: Option<Instant>,
}

impl Balance {
    /// `least` is what they take while they get anything.
    pub(super) fn new(least: Share) -> Self {
        Self {
            least,
            share: least,
            ran: Duration::ZERO,
            time: Duration::ZERO,
            calm: CALM,
            since: None,
        }
    }

    pub(super) fn share(&self) -> Share {
        self.share
    }

    /// A thread that takes what is spare ran for so long of that time. Whether it follows that there is nothing.
    pub(super) fn starves(&mut self, ran: Duration, time: Duration, now: Instant) -> bool {
        let starves = self.share == Share::Spare && time >= PATIENCE && ran < time / STARVED;
        if starves {
            let soon = |since| now.saturating_duration_since(since) < self.calm * SOON;
            self.calm = if self.since.is_some_and(soon) {
                LONGEST_CALM.min(self.calm * 2)
            } else {
                CALM
            };
            self.share = Share::Equal;
            (self.ran, self.time) = Default::default();
        }
        starves
    }

    /// A thread with an equal share ran for so long of that time. Whether it follows that something is spare.
    pub(super) fn had(&mut self, ran: Duration, time: Duration, now: Instant) -> bool {
        self.ran += ran;
        self.time += time;
        if self.time < self.calm {
            return false;
        }
        let is_plenty = self.ran.as_secs_f64() > self.time.as_secs_f64() * PLENTY;
        (self.ran, self.time) = Default::default();
        if is_plenty {
            self.share = self.least;
            self.since = Some(now);
        }
        is_plenty
    }
}

/// How long a thread ran, for others to look at.
#[derive(Debug)]
pub(super) struct RunTime {
    #[cfg(target_os = "linux")]
    statistics: std::fs::File,
}

impl RunTime {
    /// `None` where the system does not tell. On Linux it does, if `/proc` is there.
    pub(super) fn of_this_thread() -> Option<Self> {
        #[cfg(target_os = "linux")]
        {
            let statistics = std::fs::File::open("/proc/thread-self/schedstat").ok()?;
            let this = Self { statistics };
            this.read().is_some().then_some(this)
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Since the thread began. What it waited for a core is not in it.
    pub(super) fn read(&self) -> Option<Duration> {
        #[cfg(target_os = "linux")]
        {
            use std::os::unix::fs::FileExt as _;
            let mut text = [0; 64];
            let length = self.statistics.read_at(&mut text, 0).ok()?;
            let text = str::from_utf8(text.get(..length)?).ok()?;
            let nanoseconds = text.split_ascii_whitespace().next()?.parse().ok()?;
            Some(Duration::from_nanos(nanoseconds))
        }
        #[cfg(not(target_os = "linux"))]
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_spare_is_taken_until_it_is_next_to_nothing_and_again_when_there_is_plenty() {
        let now = Instant::now();
        let mut balance = Balance::new(Share::Spare);
        for (ran, time, starves) in [
            (0, 1_999, false),
            (667, 2_000, false),
            (900, 2_500, false),
            (666, 2_000, true),
        ] {
            assert_eq!(balance.share(), Share::Spare);
            assert_eq!(
                balance.starves(ran * MS, time * MS, now),
                starves,
                "{ran} of {time}"
            );
        }
        assert_eq!(balance.share(), Share::Equal);
        assert!(
            !balance.starves(Duration::ZERO, 5_000 * MS, now),
            "it does no more"
        );
        // What was had long ago says nothing of now.
        assert!(!balance.had(999 * MS, 999 * MS, now));
        assert!(!balance.had(Duration::ZERO, 2_000 * MS, now));
        assert_eq!(balance.share(), Share::Equal);
        assert!(balance.had(500 * MS, 1_000 * MS, now));
        assert_eq!(balance.share(), Share::Spare);
    }

    #[test]
    fn what_was_not_spare_after_all_is_believed_later_each_time() {
        let (mut now, second) = (Instant::now(), Duration::from_secs(1));
        let mut balance = Balance::new(Share::Spare);
        for seconds in [1, 2, 4, 8, 16, 32, 32] {
            assert!(balance.starves(Duration::ZERO, PATIENCE, now));
            for waited in 1..=seconds {
                now += second;
                assert_eq!(balance.had(second, second, now), waited == seconds);
            }
            now += second;
        }
        now += second * 200;
        assert!(balance.starves(Duration::ZERO, PATIENCE, now));
        assert!(balance.had(second, second, now), "that was long ago");
    }

    #[test]
    fn where_nothing_less_is_wise_the_share_stays_equal() {
        let now = Instant::now();
        let mut balance = Balance::new(Share::Equal);
        assert!(!balance.starves(Duration::ZERO, 5_000 * MS, now));
        balance.had(1_000 * MS, 1_000 * MS, now);
        assert_eq!(balance.share(), Share::Equal);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_that_waits_does_not_run() {
        let ran = RunTime::of_this_thread().expect("there is /proc");
        let before = ran.read().expect("it is told");
        let began = std::time::Instant::now();
        while ran.read().expect("it is told") < before + 5 * MS {
            assert!(began.elapsed() < Duration::from_secs(10), "it counts");
        }
        let (before, began) = (ran.read().expect("it is told"), std::time::Instant::now());
        let (_tell, told) = std::sync::mpsc::sync_channel::<()>(1);
        let _ = told.recv_timeout(100 * MS);
        let ran = ran.read().expect("it is told").saturating_sub(before);
        assert!(ran < began.elapsed() / 2, "{ran:?}");
    }
}
