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

/// One step of the schema. Steps are applied in order of version, each in a transaction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// From 1, without gaps.
    pub version: u32,
    /// Statements, separated by semicolons.
    pub sql: &'static str,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_from_one() {
        for (at, migration) in (1..).zip(SQLITE_MIGRATIONS) {
            assert_eq!(migration.version, at);
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
