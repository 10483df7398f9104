//! One server per database, until several share its subscriptions out: a lock that the server holds on the sequencer's
//! connection and loses with it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use quivive_delivery::Fault;
use tokio::sync::watch;

use crate::failure;
use crate::session::Session;

/// The lock's number: "quivive" in ASCII. Such locks are a database's own.
const NUMBER: i64 = 0x0071_7569_7669_7665;

/// How long a lock that was lost with its connection may be held by that: the server notices a broken one late.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Sole {
    held_on: Weak<Session>,
    refused_since: Option<Instant>,
    fatal: watch::Sender<Option<String>>,
}

impl Sole {
    pub(crate) fn new(fatal: watch::Sender<Option<String>>) -> Self {
        Self {
            held_on: Weak::new(),
            refused_since: None,
            fatal,
        }
    }

    /// Takes the lock on this connection, unless it has it. [`Fault::Busy`]: another has.
    pub(crate) async fn hold(&mut self, session: &Arc<Session>) -> Result<(), Fault> {
        if self.held_on.as_ptr() == Arc::as_ptr(session) {
            return Ok(());
        }
        let sql = "SELECT pg_try_advisory_lock($1)";
        let asked = session.client.query_one(sql, &[&NUMBER]).await;
        let row = asked.map_err(|error| failure::fault(&error, sql))?;
        if row.try_get(0).map_err(Fault::internal)? {
            self.held_on = Arc::downgrade(session);
            self.refused_since = None;
            return Ok(());
        }
        let since = *self.refused_since.get_or_insert_with(Instant::now);
        if since.elapsed() > PATIENCE {
            let why = "another server works on this database since the connection broke";
            self.fatal.send_replace(Some(why.to_owned()));
        }
        Err(Fault::Busy {
            what: "the lock on the database",
            retry_after: failure::RETRY_AFTER,
        })
    }
}
