//! How a thread that hashes shares its core with others.

use std::time::Duration;

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

/// How long a thread that takes what is spare may be at a hash before it is asked how much it got.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// Less than one part of so many of the time: there is nothing spare.
const STARVED: u32 = 3;

/// So much of the time, over at least [`CALM`] of it: something is spare again.
const PLENTY: f64 = 0.45;
const CALM: Duration = Duration::from_secs(1);

/// Which share hashes take now: what is spare, and as much as others while nothing is.
#[derive(Debug)]
pub(super) struct Balance {
    least: Share,
    share: Share,
    /// How long those with an equal share ran lately, and how long they were at it.
    ran: Duration,
    time: Duration,
}

impl Balance {
    /// `least` is what they take while they get anything.
    pub(super) fn new(least: Share) -> Self {
        Self {
            least,
            share: least,
            ran: Duration::ZERO,
            time: Duration::ZERO,
        }
    }

    pub(super) fn share(&self) -> Share {
        self.share
    }

    /// A thread that takes what is spare ran for so long of that time. Whether it follows that there is nothing.
    pub(super) fn starves(&mut self, ran: Duration, time: Duration) -> bool {
        let starves = self.share == Share::Spare && time >= LOOK && ran < time / STARVED;
        if starves {
            self.share = Share::Equal;
            (self.ran, self.time) = Default::default();
        }
        starves
    }

    /// A thread with an equal share ran for so long of that time.
    pub(super) fn had(&mut self, ran: Duration, time: Duration) {
        self.ran += ran;
        self.time += time;
        if self.time < CALM {
            return;
        }
        if self.ran.as_secs_f64() > self.time.as_secs_f64() * PLENTY {
            self.share = self.least;
        }
        (self.ran, self.time) = Default::default();
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
        let mut balance = Balance::new(Share::Spare);
        for (ran, time, starves) in [
            (0, 99, false),
            (34, 100, false),
            (900, 1_000, false),
            (33, 100, true),
        ] {
            assert_eq!(balance.share(), Share::Spare);
            assert_eq!(
                balance.starves(ran * MS, time * MS),
                starves,
                "{ran} of {time}"
            );
        }
        assert_eq!(balance.share(), Share::Equal);
        assert!(
            !balance.starves(Duration::ZERO, 500 * MS),
            "it does no more"
        );
        // What was had long ago says nothing of now.
        balance.had(999 * MS, 999 * MS);
        balance.had(Duration::ZERO, 1_500 * MS);
        assert_eq!(balance.share(), Share::Equal);
        balance.had(700 * MS, 1_000 * MS);
        assert_eq!(balance.share(), Share::Spare);
    }

    #[test]
    fn where_nothing_less_is_wise_the_share_stays_equal() {
        let mut balance = Balance::new(Share::Equal);
        assert!(!balance.starves(Duration::ZERO, 500 * MS));
        balance.had(1_000 * MS, 1_000 * MS);
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
