//! The log changed by hand: `audit verify` names the first bad position.

use std::path::Path;

use serde_json::Value;

use super::ground::Ground;
use crate::Server;

/// What can be done to a row by somebody with the database. Rows are put by where there is room in the same partition.
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
        "UPDATE event SET pos = 900000 WHERE pos = $P; UPDATE event SET pos = $P WHERE pos = $P + 1; UPDATE event SET pos = $P + 1 WHERE pos = 900000",
    ),
    (
        "an inserted row",
        "UPDATE event SET pos = pos + 500000 WHERE pos >= $P; UPDATE event SET pos = pos - 499999 WHERE pos > 500000; INSERT INTO event SELECT $P, epoch, randomblob(16), type, version, key, priority, time, recorded_at, workflow_id, correlation_id, causation_id, subject, actor_kind, actor_id, request_id, traceparent, context_key, context, body, personal_key, personal, chain FROM event WHERE pos = $P + 1",
    ),
];

/// Tries every deed at several positions of a stopped server's log, undoing each. Panics when one goes unseen.
pub async fn run(server: &Server) -> String {
    let ground = Ground::of(&server.data);
    let whole = server.verify().await;
    assert_eq!(whole["ok"], true, "{whole}");
    let events = whole["events"].as_u64().unwrap_or(0);
    assert!(events > 10, "a log worth changing");
    let kept = ground.keep();
    let mut tried = 0;
    for (name, sql) in DEEDS {
        for position in [1, 2, events / 2, events - 1, events] {
            if position == events && name.starts_with("two") {
                continue;
            }
            ground.edit(&sql.replace("$P", &position.to_string()));
            let verdict = server.verify().await;
            assert_eq!(verdict["ok"], false, "{name} at {position} went unseen");
            assert_eq!(
                verdict["first_bad_position"], position,
                "{name} at {position}: {verdict}"
            );
            ground.restore(&kept);
            tried += 1;
        }
    }
    assert_eq!(server.verify().await["ok"], true, "undone");
    format!("{tried} changes to a log of {events} events, each found at its position")
}

/// Every row of the log, its columns as lower-case text and bytes.
pub fn event_rows(data: &Path) -> Vec<Vec<u8>> {
    let rows = Ground::of(data).ask("SELECT * FROM event");
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
    let rows = Ground::of(data).ask("SELECT hex(id), in_a_row FROM guess");
    let rows = rows.as_array().cloned().unwrap_or_default();
    let row = rows
        .iter()
        .find(|row| row[0].as_str().is_some_and(|p| p.eq_ignore_ascii_case(&id)));
    row.and_then(|row| row[1].as_i64())
        .expect("the account has counters")
}
