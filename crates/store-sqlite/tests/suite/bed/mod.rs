//! A store in a directory of its own, and commits to give it.

#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use quivive_delivery::log::{Appender, Record};
use quivive_delivery::seal::Sealed;
use quivive_delivery::{
    Actor, Body, Clock, Envelope, Key, Priority, Stored, Time, Transaction, Value, Write, chain,
};
use quivive_store::{Executor, Row};
use quivive_store_sqlite::{Migration, Sqlite, SqliteOptions};
use uuid::Uuid;

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sql: include_str!("log.sql"),
    },
    Migration {
        version: 2,
        sql: "CREATE TABLE account (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL
                  CHECK (version > 0), note BLOB) STRICT;
              CREATE TABLE session (id INTEGER PRIMARY KEY, account INTEGER NOT NULL REFERENCES account) STRICT;
              CREATE TABLE guest (id BLOB NOT NULL PRIMARY KEY, stays INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
    },
];

pub(crate) const INSERT: &str = "INSERT INTO account (id, name, version) VALUES ($1, $2, 1)";
pub(crate) const RAISE: &str =
    "UPDATE account SET version = version + 1 WHERE id = $1 AND version = $2";
pub(crate) const NOTE: &str = "UPDATE account SET note = zeroblob($2) WHERE id = $1";

/// A directory that goes with its value.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quivive-sqlite-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.data().join("quivive.db")
    }

    pub(crate) fn options(&self) -> SqliteOptions {
        SqliteOptions::new(self.data(), Arc::new(Fixed))
    }

    pub(crate) fn open(&self) -> Sqlite {
        Sqlite::open(self.options(), MIGRATIONS).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The store that the parent process of a test names in this variable; `None` where the test runs by itself.
pub(crate) fn of_parent(variable: &str) -> Option<Sqlite> {
    #[expect(clippy::disallowed_methods, reason = "how the parent tells its child")]
    let data_dir = std::env::var(variable).ok()?;
    let options = SqliteOptions::new(data_dir, Arc::new(Fixed));
    Some(Sqlite::open(options, MIGRATIONS).unwrap())
}

pub(crate) struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Time {
        time(1_800_000_000_000_000)
    }
}

pub(crate) fn time(microseconds: i64) -> Time {
    Time::from_microsecond(microseconds).unwrap()
}

pub(crate) fn record(number: u64) -> Record {
    let envelope = Envelope {
        id: Uuid::from_u64_pair(1, number),
        kind: "account.raised".to_owned(),
        version: 1,
        key: Key::new("account", number % 7),
        priority: Priority::High,
        time: time(1_700_000_000_000_000),
        workflow_id: Uuid::from_u64_pair(2, number),
        correlation_id: Uuid::from_u64_pair(3, number),
        causation_id: number
            .is_multiple_of(2)
            .then(|| Uuid::from_u64_pair(4, number)),
        subject: Some(format!("account {number}")),
        actor: Actor {
            kind: "user".into(),
            id: Some(Uuid::from_u64_pair(5, number)),
        },
        request_id: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    };
    let body = Body {
        open: format!(r#"{{"number":{number}}}"#).into_bytes(),
        personal: None,
    };
    Appender::new().record(envelope, body, None, None)
}

pub(crate) fn events(count: u64) -> Transaction {
    commit(Vec::new(), count)
}

pub(crate) fn commit(writes: Vec<Write>, events: u64) -> Transaction {
    Transaction {
        writes,
        records: (0..events).map(record).collect(),
    }
}

pub(crate) fn insert(id: i64) -> Write {
    Write::one(INSERT, vec![id.into(), format!("name {id}").into()])
}

pub(crate) fn note(id: i64, bytes: i64) -> Write {
    Write::one(NOTE, vec![id.into(), bytes.into()])
}

pub(crate) fn raise(id: i64, from: i64) -> Write {
    Write::one(RAISE, vec![id.into(), from.into()])
}

pub(crate) async fn number(store: &Sqlite, sql: &'static str) -> i64 {
    match store.query(sql, Vec::new()).await.unwrap()[0][0] {
        Value::Int(number) => number,
        ref other => panic!("{other:?}"),
    }
}

/// Reads the whole log and walks its chain up to the head; returns how many events there are.
pub(crate) async fn verified(store: &Sqlite) -> u64 {
    let head = *store.head().borrow();
    let sql = "SELECT * FROM event ORDER BY pos";
    let rows = store.query(sql, Vec::new()).await.unwrap();
    let count = rows.len() as u64;
    let mut walk = chain::Walk::from(0, chain::GENESIS);
    let oldest = store.fresh(0, 1).map_or(0, |events| events.len() as u64);
    for row in rows {
        let event = stored(row);
        walk.step(&event).unwrap();
        // What memory has of it is the same.
        let fresh = store.fresh(event.position - 1, 1);
        let fresh = fresh.into_iter().flatten().next();
        assert!(fresh.is_some() || oldest == 0);
        if let Some(fresh) = fresh {
            assert_eq!(format!("{fresh:?}"), format!("{event:?}"));
        }
    }
    walk.finish(head.position, &head.chain).unwrap();
    count
}

/// Maps a row of `event` by the order of the table's columns.
pub(crate) fn stored(row: Row) -> Stored {
    let mut columns = Columns(row.into_iter());
    let (position, epoch) = (columns.unsigned(), columns.unsigned());
    let (id, kind, version) = (columns.id(), columns.text(), columns.int());
    let (key, priority) = (columns.text(), columns.int());
    let (happened, recorded_at) = (columns.int(), columns.int());
    let envelope = Envelope {
        id: id.unwrap(),
        kind: kind.unwrap(),
        version: u32::try_from(version).unwrap(),
        key: Key::stored(key.unwrap()),
        priority: Priority::stored(priority),
        time: time(happened),
        workflow_id: columns.id().unwrap(),
        correlation_id: columns.id().unwrap(),
        causation_id: columns.id(),
        subject: columns.text(),
        actor: Actor {
            kind: columns.text().unwrap().into(),
            id: columns.id(),
        },
        request_id: columns.text(),
        traceparent: columns.text(),
    };
    Stored {
        position,
        epoch,
        recorded_at: time(recorded_at),
        envelope,
        context: columns.sealed(),
        body: columns.blob().unwrap(),
        personal: columns.sealed(),
        chain: columns.blob().unwrap().try_into().unwrap(),
    }
}

struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    fn int(&mut self) -> i64 {
        match self.0.next() {
            Some(Value::Int(number)) => number,
            other => panic!("{other:?}"),
        }
    }

    fn unsigned(&mut self) -> u64 {
        self.int().try_into().unwrap()
    }

    fn text(&mut self) -> Option<String> {
        match self.0.next() {
            Some(Value::Text(text)) => Some(text.into_owned()),
            Some(Value::Null) => None,
            other => panic!("{other:?}"),
        }
    }

    fn blob(&mut self) -> Option<Vec<u8>> {
        match self.0.next() {
            Some(Value::Blob(bytes)) => Some(bytes),
            Some(Value::Null) => None,
            other => panic!("{other:?}"),
        }
    }

    fn id(&mut self) -> Option<Uuid> {
        self.blob().map(|bytes| Uuid::from_slice(&bytes).unwrap())
    }

    fn sealed(&mut self) -> Option<Sealed> {
        let (key, bytes) = (self.text(), self.blob());
        key.map(|key| Sealed {
            key,
            bytes: bytes.unwrap(),
        })
    }
}
