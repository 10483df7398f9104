//! The tables, as migrations.
//!
//! Times are microseconds since 1970, ids 16 bytes, hashes 32 bytes, booleans 0 and 1. Words for states are texts that
//! the domain reads. No foreign keys: a workflow's guards say what must exist, and a check per row would cost a look-up
//! in every insert of the hot path.
//!
//! **Keys.** Ids are UUIDs of version 7, so inserts append. A table whose primary key is such an id and whose rows are a
//! few hundred bytes at most is `WITHOUT ROWID`: the row lies in its key's tree, one descent and one page to write, where
//! a rowid table would keep a second tree from id to rowid. Large rows would thin out the inner pages of such a tree, so
//! `event` and `lane` are ordinary tables.
//!
//! **Secondary indexes** cost a page at a random place for each insert, so each one says which statement needs it.

use std::time::Duration;

/// One step of the schema. Steps are applied in order of version, each in a transaction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// From 1, without gaps.
    pub version: u32,
    /// Statements, separated by semicolons.
    pub sql: &'static str,
}

/// What opening did to the schema, for the banner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// How many steps were applied now; 0 when there was nothing to do.
    pub applied: usize,
    /// The schema's version after them.
    pub version: u32,
    /// How long they took together.
    pub took: Duration,
}

/// The schema on SQLite.
///
/// Differs because of its own words: `STRICT` (without it a column takes any type), `WITHOUT ROWID`, `BLOB`, `zeroblob`.
pub const SQLITE_MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: concat!(
        include_str!("schema/1_log.sqlite.sql"),
        include_str!("schema/1_state.sqlite.sql")
    ),
}];

/// The schema on PostgreSQL.
///
/// Differs because of its own words (`BIGINT`, `BYTEA`, an identity where SQLite numbers rows by itself), and has one table
/// more: `event_in`, for positions are not given in the commit there. `event` is partitioned, so that retention can drop what is
/// old.
pub const POSTGRES_MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: concat!(
        include_str!("schema/1_log.postgres.sql"),
        include_str!("schema/1_state.postgres.sql")
    ),
}];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn versions_count_from_one() {
        for migrations in [SQLITE_MIGRATIONS, POSTGRES_MIGRATIONS] {
            for (at, migration) in (1..).zip(migrations) {
                assert_eq!(migration.version, at);
            }
        }
    }

    /// Each table with what is declared in it, a line each: columns with their constraints, keys, checks; and each index.
    fn declared(migrations: &[Migration]) -> BTreeMap<String, BTreeSet<String>> {
        let sql: String = migrations.iter().map(|migration| migration.sql).collect();
        let code: Vec<&str> = sql.lines().filter(|line| !line.starts_with("--")).collect();
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for statement in code.join("\n").split(';').map(str::trim) {
            if let Some(table) = statement.strip_prefix("CREATE TABLE ") {
                let (name, inside) = table.split_once(" (").expect("columns");
                let (inside, _) = inside.rsplit_once("\n)").expect("an end");
                let lines = inside.split(",\n").map(spoken).collect();
                assert!(found.insert(name.to_owned(), lines).is_none(), "{name}");
            } else if statement.starts_with("CREATE INDEX ") {
                found.insert(statement.to_owned(), BTreeSet::new());
            }
        }
        found
    }

    /// In the words of both.
    fn spoken(line: &str) -> String {
        let line = line
            .replace(" GENERATED ALWAYS AS IDENTITY", "")
            .replace(" COLLATE \"C\"", "")
            .replace("BIGINT", "INTEGER")
            .replace("BYTEA", "BLOB");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn both_databases_have_the_same_tables_columns_and_indexes() {
        let sqlite = declared(SQLITE_MIGRATIONS);
        let mut postgres = declared(POSTGRES_MIGRATIONS);
        let event_in = postgres.remove("event_in").expect("event_in");
        assert_eq!(sqlite, postgres);
        // What a commit appends is what an event has, but for what it gets with its place.
        let named = |lines: &BTreeSet<String>| -> BTreeSet<String> {
            let name = |line: &String| line.split(' ').next().map(str::to_owned);
            lines.iter().filter_map(name).collect()
        };
        let (given, brought) = (named(&postgres["event"]), named(&event_in));
        let places: Vec<_> = given.difference(&brought).collect();
        assert_eq!(places, ["chain", "epoch", "pos", "recorded_at"]);
        let own: Vec<_> = brought.difference(&given).collect();
        assert_eq!(own, ["digest", "seq"]);
    }

    #[test]
    fn every_text_is_compared_byte_by_byte() {
        for migration in POSTGRES_MIGRATIONS {
            for line in migration.sql.lines().filter(|line| line.contains(" TEXT")) {
                assert!(line.contains("TEXT COLLATE \"C\""), "{line}");
            }
        }
    }

    #[test]
    fn every_table_is_strict() {
        for migration in SQLITE_MIGRATIONS {
            for table in migration.sql.split("CREATE TABLE ").skip(1) {
                let end = table.split(';').next().unwrap_or_default();
                assert!(end.contains(") STRICT"), "{end}");
            }
        }
    }
}
