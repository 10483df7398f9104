//! One server in a place: a lock that the server holds on the sequencer's connection and loses with it. So who has the lock
//! knows that the last run in its place is over, with all that it sent.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use quivive_delivery::Fault;
use tokio::sync::watch;
use uuid::Uuid;

use crate::failure;
use crate::session::{Place, Session};

/// Mixed with the place: the lock's number. "quivive" in ASCII. Such locks are a database's own.
const NUMBER: i64 = 0x0071_7569_7669_7665;

/// Another, which every connection of the place that commits shares. "writers" in ASCII.
const WRITERS: i64 = 0x0077_7269_7465_7273;

/// A number of a place.
fn of(place: Uuid, number: i64) -> i64 {
    let (_, random) = place.as_u64_pair();
    random.cast_signed() ^ number
}

/// The lock that every connection of a place shares that commits.
pub(crate) fn writers(place: Uuid) -> i64 {
    of(place, WRITERS)
}

/// How long a start waits for the lock: the server lets go of one when it has noticed that who held it has ended.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// Between two looks of a start.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a lock that was lost with its connection may be held by that: the server notices a broken one late.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Sole {
    /// Where the server runs.
    at: Uuid,
    held_on: Weak<Session>,
    refused_since: Option<Instant>,
    fatal: watch::Sender<Option<String>>,
}

impl Sole {
    pub(crate) fn new(at: Uuid, fatal: watch::Sender<Option<String>>) -> Self {
        Self {
            at,
            held_on: Weak::new(),
            refused_since: None,
            fatal,
        }
    }

    /// As [`Sole::hold`], at a start: and until nothing that an earlier run sent before it ended is still being applied.
    pub(crate) async fn begin(&mut self, session: &Arc<Session>) -> Result<(), Fault> {
        let began = Instant::now();
        loop {
            let alone = match self.hold(session).await {
                Ok(()) => self.nobody_commits(session).await,
                Err(fault) => Err(fault),
            };
            match alone {
                Err(Fault::Busy { .. }) if began.elapsed() < START_PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                held => return held,
            }
        }
    }

    /// Lets go of the lock at once, where the connection's end would take its time.
    pub(crate) async fn release(&mut self, place: &Place) {
        if let Ok(session) = place.session().await {
            let unlocked = session
                .client
                .batch_execute("SELECT pg_advisory_unlock_all()");
            let _ = unlocked.await;
        }
        self.held_on = Weak::new();
    }

    /// Takes the lock on this connection, unless it has it. [`Fault::Busy`]: another has.
    pub(crate) async fn hold(&mut self, session: &Arc<Session>) -> Result<(), Fault> {
        if self.held_on.as_ptr() == Arc::as_ptr(session) {
            return Ok(());
        }
        let sql = "SELECT pg_try_advisory_lock($1)";
        let asked = session.client.query_one(sql, &[&of(self.at, NUMBER)]).await;
        let row = asked.map_err(|error| failure::fault(&error, sql))?;
        if row.try_get(0).map_err(Fault::internal)? {
            self.held_on = Arc::downgrade(session);
            self.refused_since = None;
            return Ok(());
        }
        let since = *self.refused_since.get_or_insert_with(Instant::now);
        if since.elapsed() > PATIENCE {
            let why = "another server with this data directory works on the database since the connection broke";
            self.fatal.send_replace(Some(why.to_owned()));
        }
        Err(taken())
    }

    async fn nobody_commits(&self, session: &Session) -> Result<(), Fault> {
        let sql = "SELECT pg_try_advisory_lock($1) AND pg_advisory_unlock($1)";
        let asked = session.client.query_one(sql, &[&writers(self.at)]).await;
        let row = asked.map_err(|error| failure::fault(&error, sql))?;
        if row.try_get(0).map_err(Fault::internal)? {
            return Ok(());
        }
        Err(taken())
    }
}

fn taken() -> Fault {
    Fault::Busy {
        what: "the lock on the database",
        retry_after: failure::RETRY_AFTER,
    }
}
