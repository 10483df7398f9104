//! The log changed by hand: `audit verify` names the first bad position.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Server;

/// What can be done to a row by somebody with the file.
const DEEDS: [(&str, &str); 9] = [
    (
        "a changed body",
        "UPDATE event SET body = CAST(CAST(body AS TEXT) || ' ' AS BLOB) WHERE pos = $P",
    ),
    (
        "a changed type",
        "UPDATE event SET type = type || 'x' WHERE pos = $P",
    ),
    (
        "a changed time",
        "UPDATE event SET time = time + 1 WHERE pos = $P",
    ),
    (
        "a changed actor",
        "UPDATE event SET actor_kind = 'nobody' WHERE pos = $P",
    ),
    (
        "a changed recording time",
        "UPDATE event SET recorded_at = recorded_at + 1 WHERE pos = $P",
    ),
    (
        "a changed link",
        "UPDATE event SET chain = zeroblob(32) WHERE pos = $P",
    ),
    ("a deleted row", "DELETE FROM event WHERE pos = $P"),
    (
        "two swapped rows",
        "UPDATE event SET pos = -1 WHERE pos = $P; UPDATE event SET pos = $P WHERE pos = $P + 1; UPDATE event SET pos = $P + 1 WHERE pos = -1",
    ),
    (
        "an inserted row",
        "UPDATE event SET pos = -pos WHERE pos >= $P; UPDATE event SET pos = -pos + 1 WHERE pos < 0; INSERT INTO event SELECT $P, epoch, randomblob(16), type, version, key, priority, time, recorded_at, workflow_id, correlation_id, causation_id, subject, actor_kind, actor_id, request_id, traceparent, context_key, context, body, personal_key, personal, chain FROM event WHERE pos = $P + 1",
    ),
];

/// Tries every deed at several positions of a stopped server's log, undoing each. Panics when one goes unseen.
pub async fn run(server: &Server) -> String {
    let database = server.data.join("quivive.db");
    let whole = server.verify().await;
    assert_eq!(whole["ok"], true, "{whole}");
    let events = whole["events"].as_u64().unwrap_or(0);
    assert!(events > 10, "a log worth changing");
    let kept = std::fs::read(&database).unwrap();
    let mut tried = 0;
    for (name, sql) in DEEDS {
        for position in [1, 2, events / 2, events - 1, events] {
            if position == events && name.starts_with("two") {
                continue;
            }
            edit(&database, &sql.replace("$P", &position.to_string()));
            let verdict = server.verify().await;
            assert_eq!(verdict["ok"], false, "{name} at {position} went unseen");
            assert_eq!(
                verdict["first_bad_position"], position,
                "{name} at {position}: {verdict}"
            );
            restore(&database, &kept);
            tried += 1;
        }
    }
    assert_eq!(server.verify().await["ok"], true, "undone");
    format!("{tried} changes to a log of {events} events, each found at its position")
}

fn restore(database: &Path, bytes: &[u8]) {
    for suffix in ["-wal", "-shm"] {
        let mut path = database.as_os_str().to_owned();
        path.push(suffix);
        let _ = std::fs::remove_file(path);
    }
    std::fs::write(database, bytes).unwrap();
}

/// Edits a database as a stranger would: with Python's sqlite3, which every test machine has.
pub fn edit(database: &Path, script: &str) {
    let code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.commit(); c.execute('PRAGMA wal_checkpoint(TRUNCATE)')";
    let status = python()
        .args(["-c", code])
        .arg(database)
        .arg(script)
        .status()
        .expect("python3 is there");
    assert!(status.success(), "{script}");
}

/// Asks a database one question.
fn ask(database: &Path, query: &str) -> Value {
    let code = "import sqlite3, sys, json; c = sqlite3.connect('file:' + sys.argv[1] + '?mode=ro', uri=True); print(json.dumps([[x.hex() if isinstance(x, bytes) else x for x in r] for r in c.execute(sys.argv[2])]))";
    let output = python()
        .args(["-c", code])
        .arg(database)
        .arg(query)
        .output()
        .expect("python3 is there");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn python() -> Command {
    Command::new("python3")
}

/// Every row of the log, its columns as lower-case text and bytes.
pub fn event_rows(data: &Path) -> Vec<Vec<u8>> {
    let rows = ask(&data.join("quivive.db"), "SELECT * FROM event");
    let rows = rows.as_array().cloned().unwrap_or_default();
    assert!(!rows.is_empty(), "the log was looked at");
    rows.iter().map(decode_row).collect()
}

fn decode_row(row: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for column in row.as_array().into_iter().flatten() {
        let text = column.as_str().unwrap_or_default().to_lowercase();
        out.extend_from_slice(text.as_bytes());
        let hex = text
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or("zz"), 16).ok());
        if let Some(bytes) = hex.collect::<Option<Vec<u8>>>() {
            out.extend(bytes.to_ascii_lowercase());
        }
        out.push(b'\n');
    }
    out
}

/// How many guesses the account's counters hold as wrong in a row.
pub fn wrong_guesses(data: &Path, user: &str) -> i64 {
    let id = user.replace('-', "");
    let rows = ask(
        &data.join("quivive.db"),
        "SELECT hex(id), in_a_row FROM guess",
    );
    let rows = rows.as_array().cloned().unwrap_or_default();
    let row = rows
        .iter()
        .find(|row| row[0].as_str().is_some_and(|p| p.eq_ignore_ascii_case(&id)));
    row.and_then(|row| row[1].as_i64())
        .expect("the account has counters")
}
