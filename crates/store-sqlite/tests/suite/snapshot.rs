//! A copy as of one moment, and one that is about to take a server's place.

#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::os::unix::fs::PermissionsExt as _;

use quivive_store::{Executor as _, SQLITE_MIGRATIONS};
use quivive_store_sqlite::{
    OpenError, SnapshotError, Sqlite, begin_epoch, lock_directory, snapshot,
};

use crate::bed::{Dir, events, number, verified};

fn open(dir: &Dir) -> Sqlite {
    Sqlite::open(dir.options(), SQLITE_MIGRATIONS).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_whole_up_to_its_head_whatever_is_written_meanwhile() {
    let dir = Dir::new();
    let store = open(&dir);
    let writing = async {
        for _ in 0..300 {
            store.apply(events(7)).await.unwrap();
        }
    };
    let elsewhere = Dir::new();
    let copying = async {
        let mut positions = Vec::new();
        for n in 0..4 {
            let copy = elsewhere.path().join(format!("{n}.db"));
            let (from, to) = (dir.file(), copy.clone());
            let taken = tokio::task::spawn_blocking(move || snapshot(&from, &to));
            let taken = taken.await.unwrap().unwrap();
            assert_eq!((taken.version, taken.head.epoch), (1, 1));
            assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            let opened = Sqlite::open_read_only(&copy).unwrap();
            assert_eq!(*opened.head().borrow(), taken.head);
            assert_eq!(verified(&opened).await, taken.head.position);
            assert_eq!(taken.head.position % 7, 0, "no commit is cut in two");
            positions.push(taken.head.position);
        }
        positions
    };
    let ((), positions) = tokio::join!(writing, copying);
    assert!(positions.is_sorted());
    assert_eq!(store.head().borrow().position, 2_100);
}

#[tokio::test]
async fn a_copy_goes_on_in_its_epoch_with_its_note() {
    let dir = Dir::new();
    let store = open(&dir);
    store.apply(events(3)).await.unwrap();
    let elsewhere = Dir::new();
    std::fs::create_dir(elsewhere.data()).unwrap();
    let copy = elsewhere.file();
    let head = snapshot(&dir.file(), &copy).unwrap().head;
    // A number that the log has passed is not gone back to.
    for (asked, epoch) in [(0, 2), (9, 9), (4, 10)] {
        let begun = begin_epoch(&copy, asked, ("restore", "note")).unwrap();
        assert_eq!(
            (begun.position, begun.chain, begun.epoch),
            (3, head.chain, epoch)
        );
    }
    let restored = open(&elsewhere);
    restored.apply(events(2)).await.unwrap();
    assert_eq!(verified(&restored).await, 5);
    let newer = "SELECT count(*) FROM event WHERE epoch = 10 AND pos > 3";
    assert_eq!(number(&restored, newer).await, 2);
    let noted = "SELECT count(*) FROM meta WHERE name = 'restore' AND value = 'note'";
    assert_eq!(number(&restored, noted).await, 1);
    assert_eq!(store.head().borrow().epoch, 1, "the original is as it was");
}

#[test]
fn nothing_is_copied_over_what_is_there_or_from_nothing() {
    let dir = Dir::new();
    let store = open(&dir);
    let there = dir.path().join("there.db");
    std::fs::write(&there, "something").unwrap();
    let copied = snapshot(&dir.file(), &there);
    assert!(matches!(copied, Err(SnapshotError::Io(_))), "{copied:?}");
    assert_eq!(std::fs::read(&there).unwrap(), b"something");
    let copied = snapshot(&dir.path().join("nothing.db"), &dir.path().join("new.db"));
    assert!(matches!(copied, Err(SnapshotError::Io(_))), "{copied:?}");

    let held = lock_directory(&dir.data()).map(|_| ());
    assert!(matches!(held, Err(OpenError::InUse { .. })));
    store.close();
    assert!(lock_directory(&dir.data()).is_ok());
}
