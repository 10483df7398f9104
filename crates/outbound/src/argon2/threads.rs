//! The threads of a pool: those that compute, and the clerk between them and who waits.
//!
//! As long as those that compute get a core at all they take what is spare ([`Share::Spare`]), so that reads and all else that
//! is short goes before them. Under a flood nothing is spare, and sign-ins would stand still for as long as it lasts: then
//! others compute, which take as much of a core as anybody ([`Share::Equal`]), until it has passed.
//!
//! [`Share::Spare`]: super::share::Share::Spare
//! [`Share::Equal`]: super::share::Share::Equal

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use quivive_app::ports::Verdict;
use quivive_delivery::Fault;
use quivive_domain::PasswordHash;
use tokio::sync::oneshot;

use super::Held;
use super::clerk::{Clerk, Event, Terms};
use super::target::Target;
use super::worker::{Computed, Work};

const CLERK_STACK_BYTES: usize = 256 * 1_024;

/// Before the first hash was measured: what one takes on an ordinary core.
const GUESSED_HASH_US: u64 = 15_000;

/// Who waits for a hash.
pub(super) enum Answer {
    Hash(Target, oneshot::Sender<PasswordHash>),
    Verify {
        target: Target,
        outdated: bool,
        answer: oneshot::Sender<Verdict>,
    },
    #[cfg(test)]
    Call(oneshot::Sender<()>),
}

pub(super) struct Job {
    pub(super) work: Work,
    pub(super) answer: Answer,
    /// Dropped when the job is done.
    pub(super) held: Held,
}

/// When an idle thread gives up what it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rhythm {
    /// Frees its blocks. A steady trickle of logins does not pay for making them anew each time.
    pub(super) free_after: Duration,
    /// After that, ends. mimalloc returns freed memory to the system when a thread ends, if it was freed a second ago
    /// or more; the thread has nothing else to stay for.
    pub(super) end_after: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            free_after: Duration::from_secs(10),
            end_after: Duration::from_secs(2),
        }
    }
}

/// What is told of the threads.
#[derive(Debug)]
pub(super) struct Told {
    /// Of the last hash, in microseconds.
    pub(super) last_hash_us: AtomicU64,
    /// For how many thousandths of the time that hashes were under way lately they ran.
    pub(super) core_time: AtomicU32,
    pub(super) alive: AtomicUsize,
    pub(super) queued: AtomicUsize,
}

/// The threads of a pool.
pub(super) struct Threads {
    events: SyncSender<Event>,
    clerk: Option<JoinHandle<()>>,
    most: NonZeroUsize,
    pub(super) told: Arc<Told>,
}

impl Threads {
    /// Starts the clerk, and `most` threads at most at a time when there is something to compute.
    /// There are never more jobs than `places`.
    pub(super) fn new(
        most: NonZeroUsize,
        places: usize,
        usual_blocks: usize,
        rhythm: Rhythm,
    ) -> std::io::Result<Self> {
        // Each thread, of either share, has one thing to tell at a time; and that it is over is told once.
        let (events, heard) = sync_channel(places + 2 * most.get() + 1);
        let told = Arc::new(Told {
            last_hash_us: AtomicU64::new(GUESSED_HASH_US),
            core_time: AtomicU32::new(1_000),
            alive: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
        });
        let terms = Terms {
            most: most.get(),
            usual_blocks,
            rhythm,
        };
        let clerk = Clerk::new(terms, events.clone(), Arc::clone(&told));
        let clerk = Builder::new()
            .name("password-clerk".to_owned())
            .stack_size(CLERK_STACK_BYTES)
            .spawn(move || clerk.serve(&heard))?;
        Ok(Self {
            events,
            clerk: Some(clerk),
            most,
            told,
        })
    }

    /// The most that compute at once.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.most.get()).unwrap_or(u64::MAX)
    }

    #[cfg(test)]
    pub(super) fn alive(&self) -> usize {
        self.told.alive.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.told.queued.load(Ordering::Relaxed)
    }

    /// Queues a job.
    pub(super) fn push(&self, job: Job) -> Result<(), Fault> {
        self.told.queued.fetch_add(1, Ordering::Relaxed);
        // Each job has a place, and there are no more places than this takes.
        let sent = self.events.try_send(Event::Job(Box::new(job)));
        sent.map_err(|_| Fault::Internal("more password hashes than places".to_owned()))
    }
}

impl Drop for Threads {
    /// Jobs that no thread has begun are dropped, and with them the answers.
    fn drop(&mut self) {
        let _ = self.events.send(Event::Over);
        if let Some(clerk) = self.clerk.take() {
            let _ = clerk.join();
        }
    }
}

impl Answer {
    /// Nobody waits for it.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Hash(_, answer) => answer.is_closed(),
            Self::Verify { answer, .. } => answer.is_closed(),
            #[cfg(test)]
            Self::Call(_) => false,
        }
    }

    /// Tells who waits. That nothing could be hashed is heard by this being dropped.
    pub(super) fn give(self, computed: Computed) {
        match (self, computed) {
            (Self::Hash(target, answer), Computed::Hash(computed)) => {
                if let Some(phc) = target.phc(computed) {
                    let _ = answer.send(PasswordHash::new(phc));
                }
            }
            (
                Self::Verify {
                    target,
                    outdated,
                    answer,
                },
                Computed::Hash(computed),
            ) => {
                let matches = target.fits(&computed);
                let _ = answer.send(Verdict { matches, outdated });
            }
            #[cfg(test)]
            (Self::Call(answer), Computed::Called) => {
                let _ = answer.send(());
            }
            _ => {}
        }
    }
}
