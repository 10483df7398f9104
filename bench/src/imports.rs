//! Accounts from a file, as an operator imports them, against bare inserts of the same rows in groups of the same size: no
//! parsing, no key for each person, nothing sealed, no chain.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use quivive_app::imports::GROUP;
use quivive_store::SQLITE_MIGRATIONS;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};
use tokio::process::Command;

use crate::Measure;

/// Enough that starting the command is nothing beside it.
const ACCOUNTS: usize = 200_000;
/// How often both are measured, in turn: the disk is faster at one moment and slower at another.
const TURNS: u32 = 3;

/// What an account leaves behind, in the order in which it is written.
const TABLES: [&str; 3] = ["account", "guess", "event"];

pub(crate) async fn measure(binary: &Path) -> Measure {
    let directory =
        std::env::temp_dir().join(format!("quivive-bench-import-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("people.ndjson");
    std::fs::write(&file, people()).unwrap();
    let (mut took, mut least) = (Duration::ZERO, Duration::ZERO);
    for turn in 0..TURNS {
        let (data, empty) = (
            directory.join(format!("data-{turn}")),
            directory.join("bare.db"),
        );
        took += import(binary, &file, &data).await;
        least += bare(&data.join("quivive.db"), &empty);
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::remove_file(&empty).unwrap();
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let rate = |took: Duration| f64::from(TURNS) * ACCOUNTS as f64 / took.as_secs_f64();
    Measure::rate("import", rate(took), "accounts/s", rate(least))
}

fn people() -> String {
    let mut text = String::new();
    for n in 0..ACCOUNTS {
        writeln!(
            text,
            r#"{{"email":"person{n}@example.org","password_hash":"$2b$12$hvnHxU9/5S.68ou8j6BXWuf4eULCPRcfmgdyBea7zDmx0xs0VmVO.","display_name":"Person {n}"}}"#
        )
        .unwrap();
    }
    text
}

async fn import(binary: &Path, file: &Path, data: &Path) -> Duration {
    let mut command = Command::new(binary);
    command.args(["users", "import"]).arg(file);
    command.arg("--data-dir").arg(data);
    let began = Instant::now();
    let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let ended = ended.await.expect("the binary starts");
    let took = began.elapsed();
    assert!(ended.success(), "{ended}");
    took
}

/// The rows of that database into a new one: read before, so that only the writing counts.
fn bare(full: &Path, empty: &Path) -> Duration {
    let read = Connection::open_with_flags(full, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let rows = TABLES.map(|table| all(&read, table));
    let mut write = Connection::open(empty).unwrap();
    write
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        .unwrap();
    for migration in SQLITE_MIGRATIONS {
        write.execute_batch(migration.sql).unwrap();
    }
    let inserts: Vec<String> = TABLES
        .iter()
        .zip(&rows)
        .map(|(table, rows)| {
            let marks = vec!["?"; rows[0].len()].join(", ");
            format!("INSERT INTO {table} VALUES ({marks})")
        })
        .collect();
    let began = Instant::now();
    let most = rows.iter().map(Vec::len).max().unwrap_or_default();
    for from in (0..most).step_by(GROUP) {
        let group = write.transaction().unwrap();
        for (insert, rows) in inserts.iter().zip(&rows) {
            let mut insert = group.prepare_cached(insert).unwrap();
            for row in rows.iter().skip(from).take(GROUP) {
                insert.execute(params_from_iter(row)).unwrap();
            }
        }
        group.commit().unwrap();
    }
    began.elapsed()
}

fn all(database: &Connection, table: &str) -> Vec<Vec<Value>> {
    let mut select = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let width = select.column_count();
    let rows = select.query_map([], |row| (0..width).map(|at| row.get(at)).collect());
    rows.unwrap().map(Result::unwrap).collect()
}
