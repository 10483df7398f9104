//! A full disk costs the commits it meets, and nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::bed::{Dir, Fixed, MIGRATIONS, commit, events, insert, note, verified};
use quivive_delivery::{CommitError, Committed, Fault};
use quivive_store::Executor;
use quivive_store_sqlite::{Sqlite, SqliteOptions};

fn no_space(answer: &Result<Committed, CommitError>) -> bool {
    matches!(answer, Err(CommitError::Fault(Fault::NoSpace)))
}

#[tokio::test]
async fn at_the_files_limit_the_whole_group_is_refused_until_there_is_room() {
    let dir = Dir::new();
    let mut options = dir.options();
    options.max_pages = Some(100);
    let store = Sqlite::open(options, MIGRATIONS).unwrap();
    store.apply(commit(vec![insert(1)], 1)).await.unwrap();
    store
        .apply(commit(vec![note(1, 200_000)], 1))
        .await
        .unwrap();
    let mut refused = 0;
    for _ in 0..10 {
        // The second of each three is too large; whatever shares its group goes with it.
        let three = [
            store.apply(events(1)),
            store.apply(commit(vec![insert(2), note(1, 800_000)], 1)),
            store.apply(events(1)),
        ];
        for (i, answer) in three.into_iter().enumerate() {
            let answer = answer.await;
            assert!(answer.is_ok() || no_space(&answer), "{answer:?}");
            refused += u32::from(answer.is_err());
            assert!(i != 1 || answer.is_err());
        }
    }
    assert!(refused >= 10);
    let before = verified(&store).await;
    store.apply(commit(vec![note(1, 1)], 0)).await.unwrap();
    store
        .apply(commit(vec![insert(2), note(1, 150_000)], 3))
        .await
        .unwrap();
    assert_eq!(verified(&store).await, before + 3);
    assert_eq!(*store.fatal().borrow(), None);
}

/// A file system of 4 MiB, as long as it lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(on: &Path) -> Option<Self> {
        std::fs::create_dir(on).ok()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(on)
            .output();
        let mounted = mounted.is_ok_and(|done| done.status.success());
        mounted.then(|| Self(on.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[tokio::test]
async fn on_a_full_disk_commits_are_refused_until_there_is_room() {
    let dir = Dir::new();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk")) else {
        println!("skipped: full disk (needs root)");
        return;
    };
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![1; 1 << 20]).unwrap();
    let options = SqliteOptions::new(disk.0.join("data"), Arc::new(Fixed));
    let store = Sqlite::open(options, MIGRATIONS).unwrap();
    store.apply(commit(vec![insert(1)], 0)).await.unwrap();

    let mut acknowledged = 0;
    let mut refused = 0;
    while refused < 20 {
        let submitted: Vec<_> = (0..20).map(|_| store.apply(events(20))).collect();
        for answer in submitted {
            let answer = answer.await;
            assert!(answer.is_ok() || no_space(&answer), "{answer:?}");
            acknowledged += u64::from(answer.is_ok());
            refused += u64::from(answer.is_err());
        }
    }
    assert_eq!(verified(&store).await, acknowledged * 20);

    std::fs::remove_file(&filler).unwrap();
    store.apply(events(20)).await.unwrap();
    assert_eq!(verified(&store).await, acknowledged * 20 + 20);
    assert_eq!(*store.fatal().borrow(), None);
    drop(store);
}
