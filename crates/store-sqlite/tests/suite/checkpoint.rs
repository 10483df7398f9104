//! The write-ahead log is carried over, and what follows when it cannot be.

use std::process::Command;
use std::sync::Arc;

use crate::bed::{Dir, commit, insert, note, of_parent, raise, verified};
use quivive_store::Executor;
use tokio::task::JoinSet;

const CHILD: &str = "QUIVIVE_TEST_CHECKPOINT_DIR";

/// One page of the write-ahead log's index, in frames of a page and its header.
const BOUND_BYTES: u64 = 4_062 * (4_096 + 24) + 32;

#[tokio::test]
async fn the_write_ahead_log_stays_short_however_many_commit_and_read() {
    let dir = Dir::new();
    let store = Arc::new(dir.open());
    for id in 0..10 {
        store.apply(commit(vec![insert(id)], 0)).await.unwrap();
    }
    let reads = {
        let store = Arc::clone(&store);
        async move {
            loop {
                let sql = "SELECT sum(length(note)) FROM account";
                store.query(sql, Vec::new()).await.unwrap();
            }
        }
    };
    let mut reading = JoinSet::new();
    reading.spawn(reads);
    let wal = dir.data().join("quivive.db-wal");
    let (mut longest, mut written) = (0, 0);
    for version in 1..400 {
        let group: Vec<_> = (0..10)
            .map(|id| store.apply(commit(vec![raise(id, version), note(id, 30_000)], 1)))
            .collect();
        for answer in group {
            answer.await.unwrap();
            written += 30_000;
        }
        longest = longest.max(wal.metadata().unwrap().len());
    }
    reading.abort_all();
    assert!(written > 5 * BOUND_BYTES);
    assert!(longest <= BOUND_BYTES, "{longest} of {BOUND_BYTES}");
    assert_eq!(verified(&store).await, 3_990);
}

/// May not write beyond so much of a file: the database's is longer, its write-ahead log is not.
#[tokio::test]
async fn child() {
    let Some(store) = of_parent(CHILD) else {
        return;
    };
    let mut fatal = store.fatal();
    let mut id = 2;
    let refused = loop {
        let larger = commit(vec![insert(id), note(id, 100_000)], 1);
        match store.apply(larger).await {
            Ok(_) => id += 1,
            Err(error) => break error,
        }
    };
    let why = fatal.wait_for(Option::is_some).await.unwrap().clone();
    // The first commit, of the parent, and one for each account since.
    println!(
        "refused: {refused}\nfatal: {}\nacknowledged: {}",
        why.unwrap(),
        id - 1
    );
}

#[tokio::test]
async fn a_database_that_cannot_be_written_stops_the_store_and_loses_nothing() {
    let dir = Dir::new();
    let store = dir.open();
    let large = commit(vec![insert(1), note(1, 9_000_000)], 1);
    store.apply(large).await.unwrap();
    store.close();
    // In blocks of 512 bytes: 8 MiB.
    let limited = r#"trap '' XFSZ; ulimit -f 16384; exec "$0" "$@""#;
    let told = Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "checkpoint::child", "--nocapture"])
        .env(CHILD, dir.data())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&told.stdout);
    let line = |name| told.lines().find_map(|line| line.strip_prefix(name));
    let fatal = line("fatal: ").unwrap_or_else(|| panic!("it goes on: {told}"));
    assert!(fatal.contains("a write failed"), "{fatal}");
    assert!(fatal.ends_with("checkpoint"), "{fatal}");
    assert!(line("refused: ").unwrap().contains(fatal), "{told}");
    let acknowledged: u64 = line("acknowledged: ").unwrap().parse().unwrap();
    let store = dir.open();
    assert!(acknowledged > 30 && verified(&store).await >= acknowledged);
}
