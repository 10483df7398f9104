//! The database under a server, as somebody sees and changes it who has it in hand: with Python's sqlite3, which every test
//! machine has, or with psql.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use crate::postgres::Database;
use crate::postgres::servers;

pub enum Ground {
    File(PathBuf),
    Server(Arc<Database>),
}

/// What it was like at one moment.
pub enum Kept {
    File(Vec<u8>),
    /// The name of a copy.
    Server(String),
}

/// SQLite's words that PostgreSQL has others for.
const WORDS: [(&str, &str); 4] = [
    ("CAST(CAST(body AS TEXT) || ' ' AS BLOB)", "body || '\\x20'"),
    ("zeroblob(32)", "decode(repeat('00', 32), 'hex')"),
    ("randomblob(16)", "decode(repeat('5a', 16), 'hex')"),
    ("hex(id)", "encode(id, 'hex')"),
];

impl Ground {
    /// Of the server with this data directory.
    pub fn of(data: &Path) -> Self {
        match servers::database_of(data) {
            Some(database) => Self::Server(database),
            None => Self::File(data.join("quivive.db")),
        }
    }

    /// Runs a script, in SQLite's words.
    pub fn edit(&self, script: &str) {
        let path = match self {
            Self::File(path) => path,
            Self::Server(database) => {
                database.ask(&translated(script));
                return;
            }
        };
        let code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.commit(); c.execute('PRAGMA wal_checkpoint(TRUNCATE)')";
        python(code, path, script);
    }

    /// Asks one question, in SQLite's words: a list of rows, bytes as hexadecimal texts.
    pub fn ask(&self, query: &str) -> Value {
        let answer = match self {
            Self::File(path) => {
                let code = "import sqlite3, sys, json; c = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True); print(json.dumps([[x.hex() if isinstance(x, bytes) else x for x in r] for r in c.execute(sys.argv[2])]))";
                python(code, path, query)
            }
            Self::Server(database) => {
                // A row's bytes are texts that begin with \x.
                let query = translated(query);
                let listed = format!(
                    "SELECT coalesce(json_agg((SELECT json_agg(value) FROM json_each(to_json(r)))), '[]') FROM ({query}) AS r"
                );
                database.ask(&listed).replace("\\\\x", "")
            }
        };
        serde_json::from_str(&answer).unwrap()
    }

    /// The server must be stopped.
    pub fn keep(&self) -> Kept {
        match self {
            Self::File(path) => Kept::File(std::fs::read(path).unwrap()),
            Self::Server(database) => {
                let copy = format!("{}_kept", database.name);
                database
                    .cluster
                    .run("createdb", &["-T", &database.name, &copy]);
                Kept::Server(copy)
            }
        }
    }

    pub fn restore(&self, kept: &Kept) {
        match (self, kept) {
            (Self::File(path), Kept::File(bytes)) => {
                for suffix in ["-wal", "-shm"] {
                    let mut beside = path.as_os_str().to_owned();
                    beside.push(suffix);
                    let _ = std::fs::remove_file(beside);
                }
                std::fs::write(path, bytes).unwrap();
            }
            (Self::Server(database), Kept::Server(copy)) => {
                let cluster = &database.cluster;
                cluster.run("dropdb", &["--force", &database.name]);
                cluster.run("createdb", &["-T", copy, &database.name]);
            }
            _ => unreachable!("what was kept is of this database"),
        }
    }

    /// All that it holds, as it lies there or as PostgreSQL's own program prints it.
    pub fn contents(&self) -> Vec<u8> {
        match self {
            Self::File(path) => std::fs::read(path).unwrap(),
            Self::Server(database) => {
                let printed = database
                    .cluster
                    .run("pg_dump", &["--inserts", &database.name]);
                printed.into_bytes()
            }
        }
    }

    /// How much room its log takes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::File(path) => std::fs::metadata(path).unwrap().len(),
            Self::Server(database) => {
                let size = database.ask("SELECT pg_total_relation_size('event')");
                size.parse().unwrap()
            }
        }
    }
}

fn translated(sql: &str) -> String {
    let translate = |sql: String, (sqlite, postgres): &(&str, &str)| sql.replace(sqlite, postgres);
    WORDS.iter().fold(sql.to_owned(), translate)
}

fn python(code: &str, path: &Path, script: &str) -> String {
    let output = Command::new("python3")
        .args(["-c", code])
        .arg(path)
        .arg(script)
        .output()
        .expect("python3 is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
