//! Brings the schema up to what this program knows, one step a transaction.
//!
//! `PRAGMA user_version` is the number of the last step, written in the step's own transaction: a crash between any two
//! statements leaves a whole step or none. Foreign keys are not enforced while a step runs (it may have to rebuild a
//! table others refer to) and are checked as a whole before its commit.

use std::time::{Duration, Instant};

use quivive_store::{Migrated, Migration};
use rusqlite::{Connection, TransactionBehavior};

use crate::open::OpenError;

pub(crate) fn run(
    connection: &mut Connection,
    migrations: &[Migration],
) -> Result<Migrated, OpenError> {
    let started = Instant::now();
    let ascending = migrations.is_sorted_by(|a, b| a.version < b.version);
    if !ascending || migrations.first().is_some_and(|m| m.version == 0) {
        return Err(OpenError::Migrations);
    }
    let known = migrations.last().map_or(0, |m| m.version);
    let found = version(connection)?;
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    let mut applied = 0;
    connection.pragma_update(None, "foreign_keys", false)?;
    for migration in migrations.iter().filter(|m| m.version > found) {
        step(connection, migration)?;
        applied += 1;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(Migrated {
        applied,
        version: known,
        took: started.elapsed(),
    })
}

/// For a database that is only read.
pub(crate) fn untouched(connection: &Connection) -> rusqlite::Result<Migrated> {
    Ok(Migrated {
        applied: 0,
        version: version(connection)?,
        took: Duration::ZERO,
    })
}

pub(crate) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn step(connection: &mut Connection, migration: &Migration) -> Result<(), OpenError> {
    let failed = |source| OpenError::Migration {
        version: migration.version,
        source,
    };
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    transaction.execute_batch(migration.sql).map_err(failed)?;
    let dangling = transaction
        .prepare("PRAGMA foreign_key_check")
        .and_then(|mut check| check.exists([]))
        .map_err(failed)?;
    if dangling {
        return Err(OpenError::Dangling {
            version: migration.version,
        });
    }
    transaction
        .pragma_update(None, "user_version", migration.version)
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}
