//! The handle that callers hold: connections that read, lanes that commit, and the sequencer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quivive_delivery::tasks::Tasks;
use quivive_delivery::{BoxFuture, CommitError, Committed, Fault, Head, Transaction, Value};
use quivive_store::{Dialect, Executor, Migrated, Migration, Row};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_util::sync::CancellationToken;

use crate::backlog::Backlog;
use crate::failure::{self, RETRY_AFTER};
use crate::lanes::Lanes;
use crate::open::{self, OpenError, PostgresOptions};
use crate::partitions::Partitions;
use crate::sequencer::Sequencer;
use crate::servers::Servers;
use crate::session::{Form, Place, Purpose, idlest};
use crate::sole::Sole;
use crate::value::{Bound, Column};
use crate::wakeups::{self, Told};

/// Reads that may be under way. More would only be answers that come too late.
const READ_QUEUE: usize = 1_024;

/// What one read may take: nothing the product asks for takes a tenth of it.
const READ_TIME: Duration = Duration::from_secs(10);

/// When a server that does not answer a read is given up: it would have broken it off itself before.
const ANSWER_TIME: Duration = Duration::from_secs(15);

const PURPOSE: Purpose = Purpose {
    statement_time: READ_TIME,
    shared_lock: None,
    settings: "",
};

/// An open database. See the crate's documentation.
pub struct Postgres {
    /// None where the database was opened for reading only.
    lanes: Option<Lanes>,
    readers: Vec<Arc<Place>>,
    reading: AtomicUsize,
    backlog: Arc<Backlog>,
    head: watch::Sender<Head>,
    fatal: watch::Sender<Option<String>>,
    migrated: Migrated,
    shown: String,
    ending: CancellationToken,
    running: Mutex<Running>,
    tasks: Tasks,
}

#[derive(Default)]
struct Running {
    lanes: Vec<JoinHandle<()>>,
    sequencer: Option<JoinHandle<()>>,
}

impl Postgres {
    /// Opens the database and brings its schema up to date. Must be called within a Tokio runtime, which it then uses.
    pub async fn open(
        options: PostgresOptions,
        migrations: &[Migration],
    ) -> Result<Self, OpenError> {
        let tasks = Tasks::new();
        let servers = Arc::new(Servers::of(&options.way));
        let fatal = watch::Sender::new(None);
        let at = options.place;
        let mut sole = Sole::new(at, fatal.clone());
        let place = Sequencer::place(&servers, &tasks);
        let shown = options.shown();
        let opened = open::open(&options, &place, &mut sole, migrations).await?;
        let head = watch::Sender::new(opened.head);
        let backlog = Arc::new(Backlog::default());
        let ending = CancellationToken::new();
        let mut sequencer = Sequencer {
            place,
            backlog: Arc::clone(&backlog),
            head: head.clone(),
            clock: options.clock,
            ending: ending.clone(),
            sole,
            told: Told::nobody(at),
            partitions: Partitions::of(options.partition),
        };
        // What a server left behind that ended in between.
        sequencer.catch_up().await?;
        let (lanes, handles) = Lanes::start(&servers, at, options.lanes, &backlog, &tasks);
        let listening = wakeups::hear(Arc::clone(&servers), at, Arc::clone(&backlog));
        drop(tasks.spawn(ending.clone().run_until_cancelled_owned(listening)));
        let reader = || Arc::new(Place::new(Arc::clone(&servers), PURPOSE, tasks.clone()));
        Ok(Self {
            lanes: Some(lanes),
            readers: (0..options.readers.max(1)).map(|_| reader()).collect(),
            reading: AtomicUsize::new(0),
            backlog,
            head,
            fatal,
            migrated: opened.migrated,
            shown,
            ending,
            running: Mutex::new(Running {
                lanes: handles,
                sequencer: Some(tasks.spawn(sequencer.run())),
            }),
            tasks,
        })
    }

    /// Opens a database for reading, also beside a running server: takes no lock, migrates nothing. Commits are refused, and
    /// [`Executor::head`] stays as it was found.
    pub async fn open_read_only(options: PostgresOptions) -> Result<Self, OpenError> {
        let tasks = Tasks::new();
        let servers = Arc::new(Servers::of(&options.way));
        let place = Arc::new(Place::new(servers, PURPOSE, tasks.clone()));
        let opened = open::found(&options, &place).await?;
        Ok(Self {
            lanes: None,
            readers: vec![place],
            reading: AtomicUsize::new(0),
            backlog: Arc::default(),
            head: watch::Sender::new(opened.head),
            fatal: watch::Sender::new(None),
            migrated: opened.migrated,
            shown: options.shown(),
            ending: CancellationToken::new(),
            running: Mutex::default(),
            tasks,
        })
    }

    /// Where the server is, for people: no password.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// What opening did to the schema.
    pub fn migrated(&self) -> Migrated {
        self.migrated
    }

    /// Why the store has stopped for good, as soon as it has.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.fatal.subscribe()
    }

    /// Lets nothing more in, finishes what was let in, gives its events their positions, and ends the connections. A second
    /// call finds nothing to do.
    pub async fn close(&self) {
        if let Some(lanes) = &self.lanes {
            lanes.close();
        }
        let Running { lanes, sequencer } = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *running)
        };
        for lane in lanes {
            let _ = lane.await;
        }
        self.ending.cancel();
        if let Some(sequencer) = sequencer {
            let _ = sequencer.await;
        }
        for reader in &self.readers {
            reader.close().await;
        }
        self.tasks.shut_down().await;
    }

    /// Once more where the connection turns out to be broken, which is often noticed by who uses it next.
    async fn read(&self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, Fault> {
        match self.read_once(sql, params).await {
            Err(Fault::Unreachable(_)) => self.read_once(sql, params).await,
            answered => answered,
        }
    }

    async fn read_once(&self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, Fault> {
        let Some((_, place)) = idlest(&self.readers) else {
            return Ok(Vec::new());
        };
        let _at_work = place.enter();
        let session = place.session().await?;
        let failed = |error| failure::fault(&error, sql);
        let statement = session.prepared(sql, Form::Plain, params.len()).await;
        let statement = statement.map_err(failed)?;
        let bound: Vec<_> = params.iter().map(Bound).collect();
        let bound: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|p| p as _).collect();
        let asked = session.client.query(&statement, &bound);
        let Ok(rows) = tokio::time::timeout(ANSWER_TIME, asked).await else {
            session.end();
            return Err(failure::unreachable("it does not answer"));
        };
        let rows = rows.map_err(failed)?;
        let row = |row: &tokio_postgres::Row| -> Result<Row, tokio_postgres::Error> {
            (0..row.len())
                .map(|at| row.try_get::<_, Column>(at).map(|column| column.0))
                .collect()
        };
        rows.iter()
            .map(row)
            .collect::<Result<_, _>>()
            .map_err(failed)
    }
}

/// Its tasks end by themselves; nobody waits for them.
impl Drop for Postgres {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

impl Executor for Postgres {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn query(
        &self,
        sql: &'static str,
        params: Vec<Value>,
    ) -> BoxFuture<'_, Result<Vec<Row>, Fault>> {
        Box::pin(async move {
            let _counted = Counted::new(&self.reading)?;
            self.read(sql, &params).await
        })
    }

    fn apply(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let read_only = || Fault::Internal("the database was opened for reading only".to_owned());
        let lanes = self.lanes.as_ref().ok_or_else(read_only);
        match lanes.and_then(|lanes| lanes.submit(transaction)) {
            Ok(answered) => Box::pin(async move {
                let stopped = || Fault::Stopped("it was closed".to_owned());
                answered.await.unwrap_or_else(|_| Err(stopped().into()))
            }),
            Err(fault) => Box::pin(std::future::ready(Err(fault.into()))),
        }
    }

    /// At once: this store has no files. What was deleted is gone from the server's when it has vacuumed the table and
    /// recycled its log, which is the operator's to set; a client cannot wait for it.
    fn scrub(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.backlog.settled())
    }

    fn confirmed(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.backlog.confirmed())
    }
}

/// One read under way.
struct Counted<'c>(&'c AtomicUsize);

impl<'c> Counted<'c> {
    fn new(reading: &'c AtomicUsize) -> Result<Self, Fault> {
        let counted = Self(reading);
        if reading.fetch_add(1, Ordering::Relaxed) < READ_QUEUE {
            return Ok(counted);
        }
        Err(Fault::Busy {
            what: "the queue of reads",
            retry_after: RETRY_AFTER,
        })
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
