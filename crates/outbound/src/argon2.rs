//! Passwords, hashed with Argon2id (RFC 9106) on threads and in memory of their own.
//!
//! **Cast.** A workflow takes a place with [`PasswordHasher::admit`] and gives its passwords to a clerk (`threads`), who
//! hands them to a few threads (`worker`), one a core; each has its own 19 MiB of blocks, made at its first hash and used
//! again. They take what is spare of a core, and an equal share where nothing is (`share`).
//!
//! **Guarantees.** No more memory than the threads have: what does not find a place is refused at once, with the time
//! after which to come back. There are fewer places under a flood ([`Gate`]), so that who has one is soon served. One
//! workflow has one hash under way at a time, so a place is a job. A hash of no account, or in an unknown format, costs the
//! same work as one under the current parameters. A panic in a hash fails that one. Threads that have had nothing to do for 12 s
//! give their memory back and end; the next job starts one.
//!
//! **Not guaranteed.** The same time for a hash made under other parameters, or by another system; the next login
//! replaces it. Such hashes bring their own memory, within bounds, for as long as they are computed.

mod clerk;
mod imported;
mod phc;
mod share;
mod target;
mod threads;
mod worker;

use std::any::Any;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::available_parallelism;
use std::time::Duration;

use ::argon2::Params;
use quivive_app::ports::{Entrance, HashTicket, PasswordHasher, Read, UnusableHash, Verdict};
use quivive_delivery::gate::{Gate, Place, Room};
use quivive_delivery::{Fault, Ids};
use quivive_domain::{Password, PasswordHash};
use tokio::sync::{Mutex, oneshot};

use phc::SALT_BYTES;
use target::Target;
use threads::{Answer, Job, Rhythm, Threads};
use worker::Work;

/// How passwords are hashed, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashing {
    /// Argon2's m.
    pub memory_kib: u32,
    /// Argon2's t.
    pub iterations: u32,
    /// Argon2's p. They are computed one after another.
    pub lanes: u32,
    /// `None`: one a core.
    pub threads: Option<NonZeroUsize>,
    /// Workflows that may hash or wait for it at once; the next is refused. `None`: 64 a thread, one second's work of a core.
    pub places: Option<NonZeroUsize>,
}

/// Places a thread, for a burst.
const PLACES: NonZeroUsize = NonZeroUsize::new(64).expect("it is not 0");

/// Places while a queue stands, at the least.
const LEAST: usize = 8;

/// For a workflow to have hashed, where others are turned away.
const IN_TIME: Duration = Duration::from_millis(200);

impl Default for Hashing {
    /// As OWASP's Password Storage Cheat Sheet has it: 19 MiB, two passes, one lane.
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            iterations: 2,
            lanes: 1,
            threads: None,
            places: None,
        }
    }
}

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum InvalidHashing {
    /// Argon2 does not take such parameters.
    #[error("these password hashing parameters cannot be used: {0}")]
    Parameters(String),
    #[error("no thread for password hashing: {0}")]
    NoThread(#[from] std::io::Error),
}

/// Threads that hash passwords. Dropping it ends them, after the hashes under way.
pub struct Argon2Pool {
    params: Params,
    ids: Arc<dyn Ids>,
    gate: Arc<Gate>,
    threads: Threads,
    /// Stands in for the hash of an account that is not there: no password fits it, at the cost of any other.
    nobody: Target,
}

/// A place in the queue.
struct Ticket {
    _place: Place,
    /// Held by a job from before it is queued until it is done: one at a time.
    turn: Arc<Mutex<()>>,
}

impl Argon2Pool {
    /// Starts one thread, which waits; those that hash come with the first password. `ids` gives the salts.
    pub fn new(hashing: Hashing, ids: Arc<dyn Ids>) -> Result<Self, InvalidHashing> {
        Self::with_rhythm(hashing, ids, Rhythm::default())
    }

    fn with_rhythm(
        hashing: Hashing,
        ids: Arc<dyn Ids>,
        rhythm: Rhythm,
    ) -> Result<Self, InvalidHashing> {
        let invalid = |error: ::argon2::Error| InvalidHashing::Parameters(error.to_string());
        let params =
            phc::params(hashing.memory_kib, hashing.iterations, hashing.lanes).map_err(invalid)?;
        let one = NonZeroUsize::MIN;
        let count = hashing
            .threads
            .unwrap_or_else(|| available_parallelism().unwrap_or(one));
        let places = hashing.places.unwrap_or(PLACES.saturating_mul(count)).get();
        let room = Room {
            least: LEAST.min(places),
            most: places,
            quick: IN_TIME,
            slow: IN_TIME,
        };
        let mut salt = [0; SALT_BYTES];
        ids.random(&mut salt);
        Ok(Self {
            threads: Threads::new(count, places, params.block_count(), rhythm)?,
            nobody: Target::fresh(&params, salt),
            params,
            ids,
            gate: Gate::new(room),
        })
    }

    /// How many workflows have a place.
    pub fn admitted(&self) -> usize {
        self.gate.inside()
    }

    /// When the queue of now will be done, in whole seconds.
    fn retry_after(&self) -> Duration {
        let hashes = u64::try_from(self.admitted()).unwrap_or(u64::MAX);
        let one_us = self.threads.told.last_hash_us.load(Ordering::Relaxed);
        let all_us = hashes.saturating_mul(one_us) / self.threads.count();
        Duration::from_secs(all_us.div_ceil(1_000_000).clamp(1, 30))
    }

    /// Queues the work when it is the ticket's turn, and waits for the answer.
    fn submit<'a, T: Send + 'static>(
        &'a self,
        ticket: &HashTicket,
        work: impl FnOnce(oneshot::Sender<T>) -> (Work, Answer) + Send + 'a,
    ) -> Read<'a, T> {
        // Kept until the answer: a place is not free while its job is under way.
        let place = Arc::clone(ticket);
        let turn = ticket
            .downcast_ref()
            .map(|ticket: &Ticket| Arc::clone(&ticket.turn));
        Box::pin(async move {
            let Some(turn) = turn else {
                return Err(Fault::Internal(
                    "the ticket is of another hasher".to_owned(),
                ));
            };
            let turn = turn.lock_owned().await;
            let (answer, answered) = oneshot::channel();
            let (work, answer) = work(answer);
            self.threads.push(Job {
                work,
                answer,
                held: Box::new((turn, place)),
            })?;
            answered
                .await
                .map_err(|_| Fault::Internal("a password could not be hashed".to_owned()))
        })
    }
}

impl PasswordHasher for Argon2Pool {
    fn read(&self, text: &str) -> Result<PasswordHash, UnusableHash> {
        Target::read(text).map(|(_, stored)| PasswordHash::new(stored))
    }

    fn admit(&self, entrance: Entrance) -> Result<HashTicket, Fault> {
        let place = match entrance {
            Entrance::First => self.gate.enter(),
            Entrance::Again => self.gate.enter_again(),
        };
        let place = place.ok_or_else(|| {
            metrics::counter!("quivive_password_hash_refused_total").increment(1);
            Fault::Busy {
                what: "password hashing",
                retry_after: self.retry_after(),
            }
        })?;
        Ok(Arc::new(Ticket {
            _place: place,
            turn: Arc::default(),
        }))
    }

    fn core_time(&self) -> f64 {
        f64::from(self.threads.told.core_time.load(Ordering::Relaxed)) / 1_000.0
    }

    fn hash(&self, ticket: &HashTicket, password: &Password) -> Read<'_, PasswordHash> {
        let mut salt = [0; SALT_BYTES];
        self.ids.random(&mut salt);
        let password = password.clone();
        let target = Target::fresh(&self.params, salt);
        self.submit(ticket, move |answer| {
            let answer = Answer::Hash(target.clone(), answer);
            (Work::Hash { password, target }, answer)
        })
    }

    fn verify(
        &self,
        ticket: &HashTicket,
        password: &Password,
        hash: Option<&PasswordHash>,
    ) -> Read<'_, Verdict> {
        let password = password.clone();
        let target = hash.and_then(|hash| match Target::read(hash.phc()) {
            Ok((target, _)) => Some(target),
            Err(error) => {
                tracing::warn!(?hash, %error, "a stored password hash cannot be used: nothing fits it");
                None
            }
        });
        let outdated = target
            .as_ref()
            .is_some_and(|target| !target.is_made_by(&self.params));
        let target = target.unwrap_or_else(|| self.nobody.clone());
        self.submit(ticket, move |answer| {
            let answer = Answer::Verify {
                target: target.clone(),
                outdated,
                answer,
            };
            (Work::Hash { password, target }, answer)
        })
    }
}

impl fmt::Debug for Argon2Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Argon2Pool")
            .field("params", &self.params)
            .field("admitted", &self.admitted())
            .finish_non_exhaustive()
    }
}

/// What a job holds on to while it is under way, and nobody looks into.
type Held = Box<dyn Any + Send>;

#[cfg(test)]
mod tests;
