//! The connections that commit, and which commit goes on which.
//!
//! **Cast.** A *lane* is a connection with a queue of its own. A commit goes to the one with the least to do; it is *in
//! flight* from its submission to its answer.
//!
//! **Guarantees.** On a lane commits are sent in the order of their submission, many before the first is answered, and the
//! server applies them in that order. A commit that names a passing row another one in flight names goes on that one's
//! lane, or waits until it has landed: so an outcome never overtakes its attempt. Those that name none all go on one lane:
//! so what the delivery engine writes of a subscription is applied in the order in which it was decided.
//!
//! **Not guaranteed.** Any order between commits on different lanes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use quivive_delivery::tasks::Tasks;
use quivive_delivery::{CommitError, Committed, Fault, Passing, Transaction};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::backlog::Backlog;
use crate::commit::{self, Broken, Prepared};
use crate::failure::RETRY_AFTER;
use crate::servers::Servers;
use crate::session::{AtWork, Place, Purpose, Session, idlest};
use crate::sole;

/// Commits that may be in flight. At 10,000 a second it is less than half a second of waiting; more would only be answers that
/// come too late.
pub(crate) const COMMIT_QUEUE: usize = 4_096;

/// Of one lane, those that were sent and not answered: enough for the server never to wait for the next.
const SENT: usize = 64;

/// What one statement of a commit may take, waiting for locks and the disk included.
const STATEMENT_TIME: Duration = Duration::from_secs(30);

/// How long a commit whose connection broke waits for the server to say what became of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

/// The lane of commits that name no passing row.
const IN_ORDER: usize = 0;

fn purpose(place: Uuid) -> Purpose {
    Purpose {
        statement_time: STATEMENT_TIME,
        shared_lock: Some(sole::writers(place)),
        settings: "",
    }
}

pub(crate) type Answer = Result<Committed, CommitError>;

pub(crate) struct Lanes {
    places: Vec<Arc<Place>>,
    inside: Mutex<Inside>,
    in_flight: Arc<AtomicUsize>,
}

struct Inside {
    /// Empty when nothing is let in any more.
    queues: Vec<mpsc::Sender<Job>>,
    /// Who names a passing row: the last that was submitted.
    passing: HashMap<Uuid, Flight>,
}

/// A commit in flight, for those that must come after it.
#[derive(Clone)]
struct Flight {
    lane: usize,
    /// Ends when it has landed.
    landed: watch::Receiver<()>,
}

struct Job {
    transaction: Transaction,
    answer: oneshot::Sender<Answer>,
    /// Those on other lanes that must have landed before.
    after: Vec<watch::Receiver<()>>,
    /// Dropped when it has landed.
    flying: Flying,
}

struct Flying {
    _landed: watch::Sender<()>,
    _at_work: AtWork,
    in_flight: Arc<AtomicUsize>,
}

impl Drop for Flying {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    /// Of the server in a place. The backlog is told of each commit that had events.
    pub(crate) fn start(
        servers: &Arc<Servers>,
        at: Uuid,
        count: usize,
        backlog: &Arc<Backlog>,
        tasks: &Tasks,
    ) -> (Self, Vec<JoinHandle<()>>) {
        let (mut places, mut queues, mut handles) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count.max(1) {
            let place = Place::new(Arc::clone(servers), purpose(at), tasks.clone());
            let place = Arc::new(place);
            // As many again may that end a passing row.
            let (queue, jobs) = mpsc::channel(2 * COMMIT_QUEUE);
            let lane = Lane {
                place: Arc::clone(&place),
                jobs,
                backlog: Arc::clone(backlog),
            };
            handles.push(tasks.spawn(lane.run()));
            places.push(place);
            queues.push(queue);
        }
        let lanes = Self {
            places,
            inside: Mutex::new(Inside {
                queues,
                passing: HashMap::new(),
            }),
            in_flight: Arc::default(),
        };
        (lanes, handles)
    }

    pub(crate) fn submit(
        &self,
        transaction: Transaction,
    ) -> Result<oneshot::Receiver<Answer>, Fault> {
        let room = if ends_something(&transaction) {
            2 * COMMIT_QUEUE
        } else {
            COMMIT_QUEUE
        };
        let busy = || Fault::Busy {
            what: "the queue of commits",
            retry_after: RETRY_AFTER,
        };
        let mut inside = self.inside();
        if self.in_flight.load(Ordering::Relaxed) >= room {
            return Err(busy());
        }
        let rows: Vec<Uuid> = transaction.writes.iter().filter_map(row).collect();
        let before: Vec<Flight> = rows
            .iter()
            .filter_map(|row| inside.passing.get(row).cloned())
            .filter(|flight| flight.landed.has_changed().is_ok())
            .collect();
        let lane = match before.first() {
            Some(flight) => flight.lane,
            None if rows.is_empty() => IN_ORDER,
            None => idlest(&self.places).map_or(IN_ORDER, |(lane, _)| lane),
        };
        let place = self.places.get(lane);
        let at_work = place.map(Place::enter).ok_or_else(busy)?;
        let after = before.into_iter().filter(|flight| flight.lane != lane);
        let (landing, landed) = watch::channel(());
        let (answer, answered) = oneshot::channel();
        let job = Job {
            transaction,
            answer,
            after: after.map(|flight| flight.landed).collect(),
            flying: Flying {
                _landed: landing,
                _at_work: at_work,
                in_flight: Arc::clone(&self.in_flight),
            },
        };
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let Some(queue) = inside.queues.get(lane) else {
            return Err(Fault::Stopped("it was closed".to_owned()));
        };
        queue.try_send(job).map_err(|_| busy())?;
        for row in rows {
            inside.passing.insert(
                row,
                Flight {
                    lane,
                    landed: landed.clone(),
                },
            );
        }
        inside.forget_landed();
        Ok(answered)
    }

    /// Lets nothing more in. The lanes end when they have sent what is in their queues and were answered.
    pub(crate) fn close(&self) {
        self.inside().queues.clear();
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Now and then, so that it costs a commit next to nothing.
    fn forget_landed(&mut self) {
        if self.passing.len() > 2 * COMMIT_QUEUE {
            self.passing
                .retain(|_, flight| flight.landed.has_changed().is_ok());
        }
    }
}

/// Asks what became of a commit on a connection that broke, until somebody knows, or patience ends. A server that has taken
/// over does not know: it may have given the number to another commit.
async fn resolved(
    place: &Place,
    broken: &Session,
    number: Option<String>,
    fault: Fault,
) -> Result<(), CommitError> {
    broken.end();
    let Some(number) = number else {
        return Err(fault.into());
    };
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Ok(session) = place.session().await {
            if session.timeline != broken.timeline {
                return Err(fault.into());
            }
            match commit::fate(&session, &number).await {
                Ok(Some(true)) => return Ok(()),
                Ok(Some(false)) => return Err(fault.into()),
                Ok(None) | Err(_) => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(fault.into())
}

/// The passing row that a write names.
fn row(write: &quivive_delivery::Write) -> Option<Uuid> {
    match write.passing? {
        Passing::Comes(id) | Passing::Stays(id) | Passing::Goes(id) => Some(id),
    }
}

/// Whether it begins by ending a passing row: the outcome of an attempt that was let in before.
fn ends_something(transaction: &Transaction) -> bool {
    let first = transaction.writes.first();
    first.is_some_and(|write| matches!(write.passing, Some(Passing::Goes(_) | Passing::Stays(_))))
}

struct Lane {
    place: Arc<Place>,
    jobs: mpsc::Receiver<Job>,
    backlog: Arc<Backlog>,
}

impl Lane {
    async fn run(mut self) {
        let permits = Arc::new(Semaphore::new(SENT));
        let mut flying = JoinSet::new();
        while let Some(job) = self.jobs.recv().await {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            while flying.try_join_next().is_some() {}
            if let Some(landing) = self.send(job).await {
                flying.spawn(async move {
                    landing.await;
                    drop(permit);
                });
            }
        }
        while flying.join_next().await.is_some() {}
        self.place.close().await;
    }

    /// Sends a commit, and hands back what waits for its answer.
    async fn send(&self, job: Job) -> Option<impl Future<Output = ()> + Send + use<>> {
        let Job {
            transaction,
            answer,
            after,
            flying,
        } = job;
        for mut landed in after {
            while landed.changed().await.is_ok() {}
        }
        let appends = !transaction.records.is_empty();
        let ready = match self.place.session().await {
            Ok(session) => Prepared::new(&session, transaction)
                .await
                .map(|prepared| (session, prepared)),
            Err(fault) => Err(fault.into()),
        };
        let (session, prepared) = match ready {
            Ok(ready) => ready,
            Err(error) => {
                let _ = answer.send(Err(error));
                return None;
            }
        };
        let place = Arc::clone(&self.place);
        let backlog = Arc::clone(&self.backlog);
        let mut landing = Box::pin(async move {
            let done = match prepared.run(&session.client).await {
                Ok(()) => Ok(()),
                Err(Broken::Undone(error)) => Err(error),
                Err(Broken::InDoubt(number, fault)) => {
                    resolved(&place, &session, number, fault).await
                }
            };
            if done.is_ok() && appends {
                backlog.add();
            }
            drop(flying);
            // Who no longer listens has its commit all the same.
            let _ = answer.send(done.map(|()| Committed {
                first_position: None,
            }));
        });
        // The first poll puts it on its way, before the next of this lane.
        let sent = std::future::poll_fn(|cx| Poll::Ready(landing.as_mut().poll(cx))).await;
        sent.is_pending().then_some(landing)
    }
}
