//! The handle that callers hold: two queues and the threads behind them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use quivive_delivery::{
    BoxFuture, CommitError, Committed, Fault, Head, Passing, Stored, Transaction, Value,
};
use quivive_store::{Dialect, Executor, Migrated, Migration, Row};
use tokio::sync::{oneshot, watch};

use crate::connection;
use crate::fresh::Fresh;
use crate::halt::Halt;
use crate::open::{self, OpenError, Opened, SqliteOptions};
use crate::queue::{Queue, Refused};
use crate::reader::{self, Question, READ_QUEUE};
use crate::writer::{Job, Writer};

/// What to wait before trying a full queue again: long enough for it to have drained.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An open database. See the crate's documentation.
pub struct Sqlite {
    commits: Arc<Queue<Job>>,
    reads: Arc<Queue<Question>>,
    halt: Arc<Halt>,
    head: watch::Sender<Head>,
    fresh: Arc<Fresh>,
    migrated: Migrated,
    read_only: bool,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
}

impl Sqlite {
    /// Opens the database in the data directory, makes it when there is none, and brings its schema up to date. Blocks
    /// while it does.
    pub fn open(options: SqliteOptions, migrations: &[Migration]) -> Result<Self, OpenError> {
        let Opened {
            connection,
            lock,
            path,
            migrated,
            head,
        } = open::open(&options, migrations)?;
        let store = Self::new(options.queue, head, migrated, false);
        store.start_readers(&path, options.readers)?;
        let writer = Writer {
            connection,
            lock,
            queue: Arc::clone(&store.commits),
            halt: Arc::clone(&store.halt),
            head: store.head.clone(),
            fresh: Arc::clone(&store.fresh),
            clock: options.clock,
        };
        let handle = spawn("quivive-writer".to_owned(), move || writer.run())?;
        store.threads().writer = Some(handle);
        Ok(store)
    }

    /// Opens a database's file for reading, also beside a running server: takes no lock, migrates nothing. Commits are
    /// refused, and [`Executor::head`] stays as it was found.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
        let found = open::found(path)?;
        let store = Self::new(0, found.head, found.migrated, true);
        store.start_readers(path, 1)?;
        Ok(store)
    }

    fn new(queue: usize, head: Head, migrated: Migrated, read_only: bool) -> Self {
        Self {
            commits: Arc::new(Queue::new(queue)),
            reads: Arc::new(Queue::new(READ_QUEUE)),
            halt: Arc::new(Halt::new()),
            head: watch::Sender::new(head),
            fresh: Arc::default(),
            migrated,
            read_only,
            threads: Mutex::default(),
        }
    }

    fn start_readers(&self, path: &Path, count: usize) -> Result<(), OpenError> {
        for number in 0..count.max(1) {
            let connection = connection::reader(path)?;
            let (queue, halt) = (Arc::clone(&self.reads), Arc::clone(&self.halt));
            let run = move || reader::run(connection, &queue, &halt);
            let handle = spawn(format!("quivive-read-{number}"), run)?;
            self.threads().readers.push(handle);
        }
        Ok(())
    }

    /// What opening did to the schema.
    pub fn migrated(&self) -> Migrated {
        self.migrated
    }

    /// Why the store has stopped for good, as soon as it has. The server then ends, with exit code 74 (`EX_IOERR`): a
    /// restart reads back what is on the disk.
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.halt.watch()
    }

    /// Lets nothing more in, finishes what was let in, empties the write-ahead log and releases the lock. Blocks until
    /// that is done; dropping the store does the same. A second call finds nothing to do.
    pub fn close(&self) {
        self.reads.close();
        self.commits.close();
        let Threads { writer, readers } = std::mem::take(&mut *self.threads());
        for handle in readers.into_iter().chain(writer) {
            // A panic has been told already, by `fatal`.
            let _ = handle.join();
        }
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(
        &self,
        transaction: Transaction,
        scrub: bool,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let (answer, answered) = oneshot::channel();
        let ends = ends_something(&transaction);
        let job = Job {
            transaction,
            answer,
            scrub,
        };
        let pushed = if ends {
            self.commits.push_past(job)
        } else {
            self.commits.push(job)
        };
        if let Err(refused) = pushed {
            let fault = if self.read_only {
                Fault::Internal("the database was opened for reading only".to_owned())
            } else {
                self.refusal(refused, "the queue of commits")
            };
            return Box::pin(std::future::ready(Err(fault.into())));
        }
        let halt = Arc::clone(&self.halt);
        Box::pin(async move {
            answered
                .await
                .unwrap_or_else(|_| Err(CommitError::Fault(halt.fault())))
        })
    }

    fn refusal(&self, refused: Refused, queue: &'static str) -> Fault {
        match refused {
            Refused::Full => Fault::Busy {
                what: queue,
                retry_after: RETRY_AFTER,
            },
            Refused::Closed => self.halt.fault(),
        }
    }
}

impl Executor for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn query(
        &self,
        sql: &'static str,
        params: Vec<Value>,
    ) -> BoxFuture<'_, Result<Vec<Row>, Fault>> {
        let (answer, answered) = oneshot::channel();
        let asked = self.reads.push(Question {
            sql,
            params,
            answer,
        });
        Box::pin(async move {
            asked.map_err(|refused| self.refusal(refused, "the queue of reads"))?;
            answered.await.unwrap_or_else(|_| Err(self.halt.fault()))
        })
    }

    fn apply(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        self.submit(transaction, false)
    }

    /// Through the queue: what was acknowledged before lies before it.
    fn scrub(&self) -> BoxFuture<'_, Result<(), Fault>> {
        let nothing = Transaction {
            writes: Vec::new(),
            records: Vec::new(),
        };
        let done = self.submit(nothing, true);
        Box::pin(async move {
            match done.await {
                Ok(_) => Ok(()),
                Err(CommitError::Fault(fault)) => Err(fault),
                Err(missed @ CommitError::Missed(_)) => Err(Fault::Internal(missed.to_string())),
            }
        })
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.head.subscribe()
    }

    fn fresh(&self, after: u64, limit: usize) -> Option<Vec<Arc<Stored>>> {
        self.fresh.after(after, limit)
    }
}

/// Whether it begins by ending a passing row: the outcome of an attempt that was let in before.
fn ends_something(transaction: &Transaction) -> bool {
    let first = transaction.writes.first();
    first.is_some_and(|write| matches!(write.passing, Some(Passing::Goes(_) | Passing::Stays(_))))
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.close();
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(OpenError::Thread)
}
