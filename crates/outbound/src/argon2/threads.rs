//! The threads, their memory, and the queue before them.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use ::argon2::Block;
use quivive_app::ports::Verdict;
use quivive_delivery::Fault;
use quivive_domain::{Password, PasswordHash};
use tokio::sync::oneshot;

use super::Held;
use super::target::Target;

/// Of a thread's blocks at the least, when they are large at all. glibc gives what is larger than 32 MiB back to the
/// system as soon as it is freed, and keeps what is smaller; blocks that are never touched cost nothing.
const MIN_RESERVED_BLOCKS: usize = 33 * 1_024;
/// Blocks up to this many are an ordinary allocation.
const FEW_BLOCKS: usize = 1_024;
/// A hash needs some 20 kB of stack; the rest is for the report of a panic.
const STACK_BYTES: usize = 512 * 1_024;
/// How much less than the others a thread counts when there are too few cores. Sign-ins that come together take every core
/// there is for as long as they come, and wait for each other in any case; what is short need not wait for them.
const GIVES_WAY: i32 = 5;
/// Before the first hash was measured: what one takes on an ordinary core.
const GUESSED_HASH_US: u64 = 15_000;

pub(super) type Answer<T> = oneshot::Sender<T>;

/// One hash to compute.
pub(super) enum Work {
    Hash {
        password: Password,
        target: Target,
        answer: Answer<PasswordHash>,
    },
    Verify {
        password: Password,
        target: Target,
        outdated: bool,
        answer: Answer<Verdict>,
    },
    #[cfg(test)]
    Call(Box<dyn FnOnce() + Send>),
}

pub(super) struct Job {
    pub(super) work: Work,
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

/// The threads of a pool.
pub(super) struct Threads {
    shared: Arc<Shared>,
    most: NonZeroUsize,
    /// Of the last hash, in microseconds.
    pub(super) last_hash_us: Arc<AtomicU64>,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when there is a job, and when it is over.
    changed: Condvar,
    rhythm: Rhythm,
    /// Blocks that a hash under the current parameters needs.
    usual_blocks: usize,
}

struct State {
    jobs: VecDeque<Job>,
    /// Never more jobs than places.
    limit: usize,
    /// Threads that wait for a job.
    idle: usize,
    /// Threads that run.
    alive: usize,
    handles: Vec<JoinHandle<()>>,
    closed: bool,
}

impl Threads {
    pub(super) fn new(
        most: NonZeroUsize,
        limit: usize,
        usual_blocks: usize,
        rhythm: Rhythm,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    jobs: VecDeque::new(),
                    limit,
                    idle: 0,
                    alive: 0,
                    handles: Vec::new(),
                    closed: false,
                }),
                changed: Condvar::new(),
                rhythm,
                usual_blocks,
            }),
            most,
            last_hash_us: Arc::new(AtomicU64::new(GUESSED_HASH_US)),
        }
    }

    /// The most there are at once.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(self.most.get()).unwrap_or(u64::MAX)
    }

    #[cfg(test)]
    pub(super) fn alive(&self) -> usize {
        self.shared.state().alive
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.shared.state().jobs.len()
    }

    /// Queues a job, and starts a thread for it when all are busy and there may be more.
    pub(super) fn push(&self, job: Job) -> Result<(), Fault> {
        let mut state = self.shared.state();
        if state.jobs.len() >= state.limit {
            // Each job has a place, and there are no more places than this.
            return Err(Fault::Internal(
                "more password hashes than places".to_owned(),
            ));
        }
        state.jobs.push_back(job);
        if state.jobs.len() > state.idle && state.alive < self.most.get() {
            self.start(&mut state)?;
        }
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    fn start(&self, state: &mut State) -> Result<(), Fault> {
        let shared = Arc::clone(&self.shared);
        let last_hash_us = Arc::clone(&self.last_hash_us);
        let started = Builder::new()
            .name("password-hash".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || shared.serve(&last_hash_us));
        match started {
            Ok(handle) => {
                state.handles.retain(|handle| !handle.is_finished());
                state.handles.push(handle);
                state.alive += 1;
                Ok(())
            }
            // The others will come to it.
            Err(error) if state.alive > 0 => {
                tracing::warn!(%error, "no further thread for password hashing");
                Ok(())
            }
            Err(error) => {
                state.jobs.pop_back();
                Err(Fault::internal(error))
            }
        }
    }
}

impl Drop for Threads {
    /// Jobs that no thread has begun are dropped, and with them the answers.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        drop(jobs);
        self.shared.changed.notify_all();
        for handle in handles {
            // Panics are caught inside.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// A panic under the lock leaves the state whole: each step below it is complete or not begun.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life: work, then wait with the blocks, then without, then end.
    fn serve(&self, last_hash_us: &AtomicU64) {
        give_way();
        let mut blocks = Vec::new();
        while let Some(job) = self.next(&mut blocks) {
            let begun = Instant::now();
            // Blocks are plain memory, written from the start by every hash: a panic leaves nothing in them that matters.
            let done = catch_unwind(AssertUnwindSafe(|| job.run(&mut blocks, self.usual_blocks)));
            if done.is_err() {
                tracing::error!("a password hash panicked");
                blocks = Vec::new();
            }
            let took = begun.elapsed();
            last_hash_us.store(
                u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                Ordering::Relaxed,
            );
            metrics::histogram!("quivive_password_hash_seconds").record(took.as_secs_f64());
        }
    }

    /// The next job; `None` when there was none for long, or it is over: then the thread is no longer counted.
    fn next(&self, blocks: &mut Vec<Block>) -> Option<Job> {
        let mut state = self.state();
        let mut deadline = Instant::now() + self.rhythm.free_after;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed || (left.is_zero() && blocks.capacity() == 0) {
                state.alive -= 1;
                return None;
            }
            if left.is_zero() {
                drop(state);
                *blocks = Vec::new();
                deadline = Instant::now() + self.rhythm.end_after;
                state = self.state();
                continue;
            }
            state.idle += 1;
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
            state.idle -= 1;
        }
    }
}

impl Job {
    /// Computes, answers, gives the place back. Nobody may be waiting any more; then there is nothing to compute.
    fn run(self, blocks: &mut Vec<Block>, usual: usize) {
        let Self { work, held } = self;
        match work {
            Work::Hash {
                password,
                target,
                answer,
            } if !answer.is_closed() => {
                let computed = compute(&target, &password, blocks, usual);
                // The place first: who hears the answer finds it free.
                drop(held);
                if let Some(phc) = computed.and_then(|computed| target.phc(computed)) {
                    let _ = answer.send(PasswordHash::new(phc));
                }
            }
            Work::Verify {
                password,
                target,
                outdated,
                answer,
            } if !answer.is_closed() => {
                let computed = compute(&target, &password, blocks, usual);
                drop(held);
                if let Some(computed) = computed {
                    let matches = target.fits(&computed);
                    let _ = answer.send(Verdict { matches, outdated });
                }
            }
            Work::Hash { .. } | Work::Verify { .. } => {}
            #[cfg(test)]
            Work::Call(call) => call(),
        }
    }
}

/// Lowers the priority of this thread. On Linux, for only there a thread has one of its own.
fn give_way() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        let thread = Some(rustix::thread::gettid());
        // Nobody is refused this. If it were, hashes would go on as they are.
        let _ = getpriority_process(thread)
            .and_then(|nice| setpriority_process(thread, nice + GIVES_WAY));
    }
}

/// `None` when the algorithm refuses, which it was asked before: whoever waits hears that nothing could be hashed.
fn compute(
    target: &Target,
    password: &Password,
    blocks: &mut Vec<Block>,
    usual: usize,
) -> Option<::argon2::password_hash::phc::Output> {
    let needed = target.blocks();
    if blocks.len() < needed {
        *blocks = reserve(needed);
    }
    let computed = target.compute(password.expose().as_bytes(), blocks);
    if needed > usual {
        // Made for one hash with older, larger parameters.
        *blocks = Vec::new();
    }
    computed
}

fn reserve(needed: usize) -> Vec<Block> {
    let capacity = if needed <= FEW_BLOCKS {
        needed
    } else {
        needed.max(MIN_RESERVED_BLOCKS)
    };
    let mut blocks = Vec::with_capacity(capacity);
    blocks.resize(needed, Block::new());
    blocks
}
