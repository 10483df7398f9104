//! What was acknowledged is there after the process was killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use crate::bed::{Dir, commit, insert, number, of_parent, raise, verified};
use quivive_store::Executor;

const CHILD: &str = "QUIVIVE_TEST_CRASH_DIR";

/// Kills are at arbitrary moments; a few suffice here, the end-to-end suite kills at every call.
const KILLS: u64 = 5;

/// The process that is killed: commits as fast as it can, says each acknowledged position.
#[tokio::test]
async fn child() {
    let Some(store) = of_parent(CHILD) else {
        return;
    };
    let accounts = number(&store, "SELECT count(*) FROM account").await;
    store
        .apply(commit(vec![insert(accounts)], 0))
        .await
        .unwrap();
    let mut version = 1;
    loop {
        let submitted: Vec<_> = (0..20)
            .map(|i| store.apply(commit(vec![raise(accounts, version + i)], 3)))
            .collect();
        version += 20;
        for answer in submitted {
            let position = answer.await.unwrap().first_position.unwrap();
            let mut out = std::io::stdout().lock();
            writeln!(out, "acknowledged {position}").unwrap();
            out.flush().unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let dir = Dir::new();
    for round in 1..=KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child", "--nocapture"])
            .env(CHILD, dir.data())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut acknowledged = 0;
        for (count, line) in BufReader::new(child.stdout.take().unwrap())
            .lines()
            .enumerate()
        {
            if let Some(position) = line.unwrap().strip_prefix("acknowledged ") {
                acknowledged = position.parse().unwrap();
            }
            if count as u64 == 100 + round * 37 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let store = dir.open();
        let events = verified(&store).await;
        assert!(
            acknowledged > 0 && events >= acknowledged + 2,
            "round {round}"
        );
        // State and events came together: each raise has its three.
        let sql = "SELECT sum(version) - count(*) FROM account";
        assert_eq!(number(&store, sql).await * 3, events.cast_signed());
    }
}
