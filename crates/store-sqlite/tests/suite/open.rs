//! Opening, migrating, locking, closing.

use std::os::unix::fs::PermissionsExt as _;

use crate::bed::{Dir, MIGRATIONS, commit, events, insert, number, verified};
use quivive_delivery::{CommitError, Fault, Write};
use quivive_store::Executor;
use quivive_store_sqlite::{Migration, OpenError, Sqlite};

fn refused(opened: Result<Sqlite, OpenError>) -> OpenError {
    match opened {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[test]
fn a_second_opener_learns_who_was_first() {
    let dir = Dir::new();
    let store = dir.open();
    let error = refused(Sqlite::open(dir.options(), MIGRATIONS));
    let own = std::process::id();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is in use by process {own}: stop it first, or give this server a data directory of its own",
            dir.data().display()
        )
    );
    store.close();
    dir.open();
}

#[test]
fn only_the_owner_may_look_into_its_files() {
    let dir = Dir::new();
    let _store = dir.open();
    let mode = |name| {
        let path = dir.data().join(name);
        path.metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    for file in [
        "quivive.db",
        "quivive.db-wal",
        "quivive.db-shm",
        "quivive.lock",
    ] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}

#[test]
fn migrations_are_applied_once_and_a_newer_database_is_refused() {
    let dir = Dir::new();
    let migrated = Sqlite::open(dir.options(), &MIGRATIONS[..1])
        .unwrap()
        .migrated();
    assert_eq!((migrated.applied, migrated.version), (1, 1));
    let migrated = dir.open().migrated();
    assert_eq!((migrated.applied, migrated.version), (1, 2));
    assert_eq!(dir.open().migrated().applied, 0);

    let error = refused(Sqlite::open(dir.options(), &MIGRATIONS[..1]));
    let newer = matches!(error, OpenError::Newer { found: 2, known: 1 });
    assert!(
        newer && error.to_string().contains("newer version"),
        "{error}"
    );
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let dir = Dir::new();
    let store = dir.open();
    let writes = vec![
        insert(1),
        quivive_delivery::Write::one(
            "INSERT INTO session (id, account) VALUES (1, 1)",
            Vec::new(),
        ),
    ];
    store.apply(commit(writes, 0)).await.unwrap();
    drop(store);
    let with = |sql| {
        let more = [MIGRATIONS, &[Migration { version: 3, sql }]].concat();
        Sqlite::open(dir.options(), &more)
    };
    let error = refused(with(
        "CREATE TABLE new (id INTEGER); INSERT INTO nowhere VALUES (1)",
    ));
    assert!(
        matches!(error, OpenError::Migration { version: 3, .. }),
        "{error}"
    );
    // Its session would refer to nobody.
    let error = refused(with("CREATE TABLE new (id INTEGER); DELETE FROM account"));
    assert!(
        matches!(error, OpenError::Dangling { version: 3 }),
        "{error}"
    );

    let store = with("CREATE TABLE new (id INTEGER)").unwrap();
    assert_eq!(store.migrated().applied, 1);
    assert_eq!(number(&store, "SELECT count(*) FROM account").await, 1);
}

#[tokio::test]
async fn closing_finishes_what_was_let_in() {
    let dir = Dir::new();
    let store = dir.open();
    let submitted: Vec<_> = (0..500).map(|_| store.apply(events(1))).collect();
    store.close();
    for answer in submitted {
        answer.await.unwrap();
    }
    let late = store.apply(events(1)).await;
    let closed =
        matches!(&late, Err(CommitError::Fault(Fault::Stopped(why))) if why == "it was closed");
    assert!(closed, "{late:?}");
    assert!(store.query("SELECT 1", Vec::new()).await.is_err());
    assert_eq!(*store.fatal().borrow(), None);
    let wal = dir.data().join("quivive.db-wal");
    assert_eq!(wal.metadata().unwrap().len(), 0);

    let again = dir.open();
    assert_eq!(again.head().borrow().position, 500);
    assert_eq!(verified(&again).await, 500);
}

#[tokio::test]
async fn a_running_servers_database_can_be_read_beside_it() {
    let dir = Dir::new();
    let store = dir.open();
    store.apply(events(5)).await.unwrap();
    let beside = Sqlite::open_read_only(&dir.file()).unwrap();
    assert_eq!(verified(&beside).await, 5);
    assert_eq!(beside.migrated().version, 2);
    let answer = beside.apply(events(1)).await;
    assert!(matches!(
        answer,
        Err(CommitError::Fault(Fault::Internal(_)))
    ));
    drop(beside);
    // Who reads for long keeps the server neither from closing nor from starting.
    let foreign = rusqlite::Connection::open(dir.file()).unwrap();
    foreign.execute_batch("BEGIN; SELECT * FROM event").unwrap();
    store.apply(events(1)).await.unwrap();
    drop(store);
    let wal = dir.data().join("quivive.db-wal");
    assert_ne!(wal.metadata().unwrap().len(), 0);
    drop(dir.open());
    foreign.execute_batch("COMMIT").unwrap();
    // And without the server.
    let alone = Sqlite::open_read_only(&dir.file()).unwrap();
    assert_eq!(verified(&alone).await, 6);
}

#[tokio::test]
async fn a_log_that_was_tampered_with_is_not_opened() {
    for (tamper, position) in [
        ("DELETE FROM event WHERE pos = 5", 5),
        ("UPDATE event SET chain = zeroblob(32) WHERE pos = 5", 6),
        ("UPDATE log_head SET next_pos = 3", 3),
    ] {
        let dir = Dir::new();
        dir.open().apply(events(5)).await.unwrap();
        let connection = rusqlite::Connection::open(dir.file()).unwrap();
        connection.execute(tamper, []).unwrap();
        drop(connection);
        match refused(Sqlite::open(dir.options(), MIGRATIONS)) {
            OpenError::Head { position: found } => assert_eq!(found, position, "{tamper}"),
            other => panic!("{tamper}: {other}"),
        }
    }
}

#[tokio::test]
async fn after_a_scrub_no_file_holds_what_was_deleted_or_replaced() {
    let dir = Dir::new();
    let store = dir.open();
    let names = ["name 11111", "name 22222"];
    let holds = || {
        let files = ["quivive.db", "quivive.db-wal"];
        let bytes = files.map(|file| std::fs::read(dir.data().join(file)).unwrap());
        names.map(|name| {
            let name = name.as_bytes();
            let held = |bytes: &Vec<u8>| bytes.windows(name.len()).any(|part| part == name);
            bytes.iter().any(held)
        })
    };
    let both = vec![insert(11_111), insert(22_222)];
    store.apply(commit(both, 0)).await.unwrap();
    store.scrub().await.unwrap();
    assert_eq!(holds(), [true; 2]);
    let gone = Write::one("DELETE FROM account WHERE id = 11111", Vec::new());
    let renamed = Write::one("UPDATE account SET name = 'x' WHERE id = 22222", Vec::new());
    store.apply(commit(vec![gone, renamed], 0)).await.unwrap();
    store.scrub().await.unwrap();
    assert_eq!(holds(), [false; 2]);

    // Whoever reads in an older state keeps it there: that is not called done.
    store.apply(commit(vec![insert(3)], 0)).await.unwrap();
    let foreign = rusqlite::Connection::open(dir.file()).unwrap();
    foreign
        .execute_batch("BEGIN; SELECT * FROM account")
        .unwrap();
    let kept = store.scrub().await;
    assert!(matches!(kept, Err(Fault::Busy { .. })), "{kept:?}");
    foreign.execute_batch("COMMIT").unwrap();
    store.scrub().await.unwrap();
}
