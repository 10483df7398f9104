//! What stops the store, and what callers get then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::bed::{Dir, Fixed, MIGRATIONS, commit, events, insert, number, verified};
use quivive_delivery::{Clock, CommitError, Committed, Fault, Time};
use quivive_store::Executor;
use quivive_store_sqlite::Sqlite;

fn stopped(answer: Result<Committed, CommitError>) -> String {
    match answer {
        Err(CommitError::Fault(Fault::Stopped(why))) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn another_writer_of_the_log_stops_the_store() {
    let dir = Dir::new();
    let store = dir.open();
    store.apply(events(1)).await.unwrap();
    let foreign = rusqlite::Connection::open(dir.file()).unwrap();
    foreign
        .execute("UPDATE log_head SET next_pos = 7", [])
        .unwrap();

    let mut fatal = store.fatal();
    let why = stopped(store.apply(commit(vec![insert(1)], 1)).await);
    assert_eq!(why, "the head of the log was moved by another program");
    fatal.wait_for(Option::is_some).await.unwrap();
    assert_eq!(fatal.borrow().as_deref(), Some(why.as_str()));
    assert_eq!(stopped(store.apply(events(1)).await), why);
    assert_eq!(number(&store, "SELECT count(*) FROM account").await, 0);
    assert_eq!(store.head().borrow().position, 1);
}

#[tokio::test]
async fn a_position_that_is_taken_stops_the_store() {
    let dir = Dir::new();
    let store = dir.open();
    store.apply(events(1)).await.unwrap();
    let foreign = rusqlite::Connection::open(dir.file()).unwrap();
    foreign.execute("UPDATE event SET pos = 2", []).unwrap();
    let why = stopped(store.apply(events(1)).await);
    assert!(why.starts_with("position 2 of the log is taken"), "{why}");
}

/// Panics at its third reading.
struct Broken(AtomicU32);

impl Clock for Broken {
    fn now(&self) -> Time {
        assert!(
            self.0.fetch_add(1, Ordering::Relaxed) < 2,
            "the clock broke"
        );
        Fixed.now()
    }
}

#[tokio::test]
async fn a_panic_of_the_writer_leaves_nobody_waiting() {
    let dir = Dir::new();
    let mut options = dir.options();
    options.clock = Arc::new(Broken(AtomicU32::new(0)));
    let store = Sqlite::open(options, MIGRATIONS).unwrap();
    store.apply(events(1)).await.unwrap();
    store.apply(events(1)).await.unwrap();
    let submitted: Vec<_> = (0..10).map(|_| store.apply(events(1))).collect();
    for answer in submitted {
        assert_eq!(stopped(answer.await), "the writer panicked");
    }
    assert_eq!(stopped(store.apply(events(1)).await), "the writer panicked");
    drop(store);
    assert_eq!(verified(&dir.open()).await, 2);
}

#[tokio::test]
async fn another_program_at_the_file_is_waited_for_and_then_refused() {
    let dir = Dir::new();
    let store = dir.open();
    let foreign = rusqlite::Connection::open(dir.file()).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = store.apply(commit(vec![insert(1)], 1)).await;
    let busy = matches!(answer, Err(CommitError::Fault(Fault::Busy { .. })));
    assert!(busy, "{answer:?}");
    foreign.execute_batch("ROLLBACK").unwrap();
    store.apply(commit(vec![insert(1)], 1)).await.unwrap();
    assert_eq!(verified(&store).await, 1);
}
