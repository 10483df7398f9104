//! Brings the schema up to what this program knows, one step a transaction.
//!
//! The step's number is written in its own transaction, and a lock keeps two servers that start at once from doing the same
//! step: a crash between any two statements leaves a whole step or none.

use std::time::{Duration, Instant};

use quivive_store::{Migrated, Migration};
use tokio_postgres::{Client, Error};

use crate::open::OpenError;

/// The number of the last step: the one row of a table that is not the migrations' own.
const VERSION: &str = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL); \
    INSERT INTO schema_version (version) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM schema_version)";

const FOUND: &str = "SELECT version FROM schema_version";

/// For the transaction. The number is "migrate" in ASCII.
const LOCK: &str = "BEGIN; SELECT pg_advisory_xact_lock(x'6d696772617465'::bigint)";

pub(crate) async fn run(client: &Client, migrations: &[Migration]) -> Result<Migrated, OpenError> {
    let started = Instant::now();
    let known = migrations.last().map_or(0, |m| m.version);
    let mut applied = 0;
    client.batch_execute(LOCK).await?;
    client.batch_execute(VERSION).await?;
    client.batch_execute("COMMIT").await?;
    for migration in migrations {
        client.batch_execute(LOCK).await?;
        let done = step(client, migration, known).await;
        client
            .batch_execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })
            .await?;
        applied += usize::from(done?);
    }
    Ok(Migrated {
        applied,
        version: known,
        took: started.elapsed(),
    })
}

/// For a database that is only read.
pub(crate) async fn untouched(client: &Client) -> Result<Migrated, Error> {
    let row = client.query_one(FOUND, &[]).await?;
    Ok(Migrated {
        applied: 0,
        version: u32::try_from(row.try_get::<_, i64>(0)?).unwrap_or(u32::MAX),
        took: Duration::ZERO,
    })
}

/// False: it was there already.
async fn step(client: &Client, migration: &Migration, known: u32) -> Result<bool, OpenError> {
    let failed = |source| OpenError::Migration {
        version: migration.version,
        source,
    };
    let row = client.query_one(FOUND, &[]);
    let found: i64 = row.await.and_then(|row| row.try_get(0)).map_err(failed)?;
    let found = u32::try_from(found).unwrap_or(u32::MAX);
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    if found >= migration.version {
        return Ok(false);
    }
    client.batch_execute(migration.sql).await.map_err(failed)?;
    let version = i64::from(migration.version);
    client
        .execute("UPDATE schema_version SET version = $1", &[&version])
        .await
        .map_err(failed)?;
    Ok(true)
}
