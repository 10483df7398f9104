//! The clerk: takes jobs in, hands them out, tells who waits, and looks whether those who compute get a core at all.
//!
//! It computes nothing, and nobody waits for it with a lock: what it knows is its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use super::Held;
use super::share::{Balance, LOOK, RunTime, Share};
use super::threads::{Answer, Job, Rhythm, Told};
use super::worker::{Computed, Order, Work, Worker};

/// What the clerk hears.
pub(super) enum Event {
    Job(Box<Job>),
    /// By the number of the thread.
    Done(u64, Computed),
    Over,
}

/// One of those that compute.
struct Hand {
    number: u64,
    worker: Worker,
    doing: Doing,
}

enum Doing {
    Nothing {
        since: Instant,
        has_blocks: bool,
    },
    /// Whoever waits gets it from another: what comes of it is thrown away. It had run for so long when it was given up, or
    /// when something was spare again.
    ForNobody {
        since: Instant,
        ran: Duration,
    },
    Computes(Box<UnderWay>),
}

struct UnderWay {
    answer: Answer,
    held: Held,
    /// The same work, if another has to do it.
    again: Option<Work>,
    since: Instant,
    ran: Duration,
}

/// How the clerk works.
pub(super) struct Terms {
    /// Threads of a share.
    pub(super) most: usize,
    /// What a hash under the current parameters needs.
    pub(super) usual_blocks: usize,
    pub(super) rhythm: Rhythm,
}

pub(super) struct Clerk {
    /// For those that compute to tell.
    events: SyncSender<Event>,
    told: Arc<Told>,
    terms: Terms,
    queue: VecDeque<Box<Job>>,
    crew: Vec<Hand>,
    hired: u64,
    /// Those with this share get work.
    balance: Balance,
    /// How long those that were done lately ran, and took.
    lately: (Duration, Duration),
}

impl Clerk {
    pub(super) fn new(terms: Terms, events: SyncSender<Event>, told: Arc<Told>) -> Self {
        Self {
            events,
            told,
            terms,
            queue: VecDeque::new(),
            crew: Vec::new(),
            hired: 0,
            balance: Balance::new(Share::least()),
            lately: Default::default(),
        }
    }

    /// Until it hears that it is over.
    pub(super) fn serve(mut self, heard: &Receiver<Event>) {
        loop {
            let event = match self.alarm() {
                None => heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => heard.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match event {
                Ok(Event::Job(job)) => self.queue.push_back(job),
                Ok(Event::Done(number, computed)) => self.done(number, computed),
                Ok(Event::Over) | Err(RecvTimeoutError::Disconnected) => return self.end(),
                Err(RecvTimeoutError::Timeout) => self.retire(),
            }
            self.look();
            self.hand_out();
            self.told.queued.store(self.queue.len(), Ordering::Relaxed);
            self.told.alive.store(self.crew.len(), Ordering::Relaxed);
        }
    }

    /// When to look again, if nothing is heard.
    fn alarm(&self) -> Option<Instant> {
        let at = |hand: &Hand| match &hand.doing {
            Doing::Nothing { since, has_blocks } => {
                let freed = *since + self.terms.rhythm.free_after;
                Some(if *has_blocks {
                    freed
                } else {
                    freed + self.terms.rhythm.end_after
                })
            }
            _ if self.keeps_from_work(hand) => Some(Instant::now() + LOOK),
            _ => None,
        };
        self.crew.iter().filter_map(at).min()
    }

    /// Hands out what waits, to those that have blocks first. Nobody may be waiting any more; then there is nothing to
    /// compute.
    fn hand_out(&mut self) {
        while let Some(job) = self.queue.pop_front() {
            if job.answer.is_closed() {
                continue;
            }
            let Some(hand) = self.free_hand() else {
                if self.crew.iter().any(|hand| !hand.is_free()) {
                    self.queue.push_front(job);
                } else {
                    // The system has no thread for it, and nobody would come to what waits.
                    self.queue.clear();
                }
                return;
            };
            let Job { work, answer, held } = *job;
            let again = work.again();
            hand.doing = Doing::Computes(Box::new(UnderWay {
                answer,
                held,
                again,
                since: Instant::now(),
                ran: hand.ran(),
            }));
            hand.worker.tell(Order::Compute(Box::new(work)));
        }
    }

    fn free_hand(&mut self) -> Option<&mut Hand> {
        let share = self.balance.share();
        let of_share = |hand: &Hand| hand.worker.share == share;
        let free = |hand: &Hand| match hand.doing {
            Doing::Nothing { has_blocks, .. } if of_share(hand) => Some(has_blocks),
            _ => None,
        };
        let best = self
            .crew
            .iter()
            .enumerate()
            .filter_map(|(at, hand)| Some((free(hand)?, at)));
        let at = match best.max() {
            Some((_, at)) => at,
            None if self.crew.iter().filter(|hand| of_share(hand)).count() < self.terms.most => {
                self.hire(share)?
            }
            None => return None,
        };
        self.crew.get_mut(at)
    }

    /// One more. `None` when the system has no thread.
    fn hire(&mut self, share: Share) -> Option<usize> {
        self.hired += 1;
        let (number, events) = (self.hired, self.events.clone());
        let done = move |computed| {
            let _ = events.send(Event::Done(number, computed));
        };
        match Worker::start(share, self.terms.usual_blocks, done) {
            Ok(worker) => {
                self.crew.push(Hand {
                    number,
                    worker,
                    doing: Doing::Nothing {
                        since: Instant::now(),
                        has_blocks: false,
                    },
                });
                Some(self.crew.len() - 1)
            }
            Err(error) => {
                tracing::warn!(%error, "no further thread for password hashing");
                None
            }
        }
    }

    fn done(&mut self, number: u64, computed: Computed) {
        let Some(hand) = self.crew.iter_mut().find(|hand| hand.number == number) else {
            return;
        };
        let now = Instant::now();
        let did = std::mem::replace(
            &mut hand.doing,
            Doing::Nothing {
                since: now,
                has_blocks: true,
            },
        );
        let Doing::Computes(did) = did else { return };
        let took = now.saturating_duration_since(did.since);
        self.told.last_hash_us.store(
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        metrics::histogram!("quivive_password_hash_seconds").record(took.as_secs_f64());
        let ran = hand.ran().saturating_sub(did.ran);
        if hand.worker.share == Share::Equal {
            self.had(ran, took, now);
        }
        self.lately.0 += ran;
        self.lately.1 += took;
        // The place first: who hears the answer finds it free.
        drop(did.held);
        did.answer.give(computed);
    }

    /// One that shares equally ran for so long of that time.
    fn had(&mut self, ran: Duration, time: Duration, now: Instant) {
        if !self.balance.had(ran, time, now) {
            return;
        }
        for hand in &mut self.crew {
            if let Doing::ForNobody { .. } = hand.doing {
                hand.doing = Doing::ForNobody {
                    since: now,
                    ran: hand.ran(),
                };
            }
        }
    }

    /// Somebody waits for what it is at, or for its end.
    fn keeps_from_work(&self, hand: &Hand) -> bool {
        let is_stuck = matches!(hand.doing, Doing::ForNobody { .. });
        let is_free = hand.is_free() || is_stuck && self.queue.is_empty();
        !is_free && hand.worker.share == Share::Spare && self.balance.share() == Share::Spare
    }

    /// Tells how much those that compute have had, once it is of some time. Where the system does not say nothing is told.
    fn tell_core_time(&mut self) {
        let under_way = || {
            self.crew.iter().filter_map(|hand| match &hand.doing {
                Doing::Computes(did) => Some((hand, did)),
                _ => None,
            })
        };
        let (mut ran, mut took) = self.lately;
        took += under_way()
            .map(|(_, did)| did.since.elapsed())
            .sum::<Duration>();
        if took < LOOK || self.crew.iter().any(|hand| hand.worker.ran.is_none()) {
            return;
        }
        ran += under_way()
            .map(|(hand, did)| hand.ran().saturating_sub(did.ran))
            .sum::<Duration>();
        let thousandths = ran.as_nanos() * 1_000 / took.as_nanos();
        let thousandths = u32::try_from(thousandths).unwrap_or(u32::MAX);
        self.told.core_time.store(thousandths, Ordering::Relaxed);
        self.lately = Default::default();
    }

    /// Whether those that compute get anything.
    fn look(&mut self) {
        self.tell_core_time();
        let now = Instant::now();
        let had = |hand: &Hand| {
            let (since, ran) = match &hand.doing {
                Doing::Computes(did) => (did.since, did.ran),
                Doing::ForNobody { since, ran } => (*since, *ran),
                Doing::Nothing { .. } => return None,
            };
            let time = now.saturating_duration_since(since);
            (time >= LOOK).then(|| (hand.ran().saturating_sub(ran), time))
        };
        let at_work = self.crew.iter().filter(|hand| self.keeps_from_work(hand));
        let all_had: Vec<_> = at_work.filter_map(had).collect();
        let balance = &mut self.balance;
        if all_had
            .iter()
            .any(|(ran, time)| balance.starves(*ran, *time, now))
        {
            metrics::counter!("quivive_password_hash_starved_total").increment(1);
            self.take_back(now);
        }
    }

    /// What those that starve are at is done by others.
    fn take_back(&mut self, now: Instant) {
        let spare = |hand: &&mut Hand| hand.worker.share == Share::Spare;
        for hand in self.crew.iter_mut().filter(spare) {
            let stuck = Doing::ForNobody {
                since: now,
                ran: hand.ran(),
            };
            let doing = std::mem::replace(&mut hand.doing, stuck);
            match doing {
                Doing::Computes(mut did) => match did.again.take() {
                    Some(work) => self.queue.push_front(Box::new(Job {
                        work,
                        answer: did.answer,
                        held: did.held,
                    })),
                    None => hand.doing = Doing::Computes(did),
                },
                other => hand.doing = other,
            }
        }
    }

    /// Those that have had nothing to do for some time free their blocks, and end: when they get a core, for which nobody waits.
    fn retire(&mut self) {
        let (now, rhythm) = (Instant::now(), self.terms.rhythm);
        self.crew.retain_mut(|hand| {
            let Doing::Nothing { since, has_blocks } = &mut hand.doing else {
                return true;
            };
            let time = now.saturating_duration_since(*since);
            if *has_blocks && time >= rhythm.free_after {
                hand.worker.tell(Order::FreeBlocks);
                *has_blocks = false;
            }
            time < rhythm.free_after + rhythm.end_after
        });
    }

    fn end(mut self) {
        self.queue.clear();
        for hand in self.crew {
            // What is for nobody may take long, and nobody waits for it.
            if !matches!(hand.doing, Doing::ForNobody { .. }) {
                hand.worker.end();
            }
        }
    }
}

impl Hand {
    fn is_free(&self) -> bool {
        matches!(self.doing, Doing::Nothing { .. })
    }

    /// Since its thread began.
    fn ran(&self) -> Duration {
        let ran = self.worker.ran.as_ref();
        ran.and_then(RunTime::read).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
