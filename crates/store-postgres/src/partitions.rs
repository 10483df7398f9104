//! The partitions of the log: tables of so many positions each, which retention can drop whole.
//!
//! The sequencer of any server adds the next one as soon as less than half of one is left, so that no round waits for it. It is
//! made as a table of its own and then attached, which locks out neither who reads the log nor who writes to it.

use std::time::{Duration, Instant};

use quivive_delivery::Fault;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::failure;

/// Positions of one partition: about a gigabyte at a kilobyte an event.
pub(crate) const POSITIONS: u64 = 1_000_000;

/// More have no names.
const MOST: u64 = 1 << 40;

/// Between two tries to add one that is not needed yet.
const PAUSE: Duration = Duration::from_secs(10);

/// Servers add one after the other. The number is "partition" in ASCII, cut to eight bytes. What else holds the log's own lock is
/// somebody's maintenance: it is not waited for long.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '500ms'; SELECT pg_advisory_xact_lock(x'7061727469746966'::bigint)";

const LAST: &str = "SELECT MAX(upto) FROM event_partition";

/// How far the log has room, as far as this server knows.
pub(crate) struct Partitions {
    positions: u64,
    room_until: u64,
    failed: Option<Instant>,
}

impl Partitions {
    pub(crate) fn of(positions: u64) -> Self {
        Self {
            positions: positions.clamp(1, MOST),
            room_until: 0,
            failed: None,
        }
    }

    /// Sees to it that events up to `tip` have room, of which those up to `head` are there.
    pub(crate) async fn make_room(
        &mut self,
        client: &Client,
        head: u64,
        tip: u64,
    ) -> Result<(), Fault> {
        let wanted = tip + self.positions / 2;
        if wanted <= self.room_until {
            return Ok(());
        }
        let enough = tip <= self.room_until;
        if enough && self.failed.is_some_and(|when| when.elapsed() < PAUSE) {
            return Ok(());
        }
        match self.added(client, head, wanted).await {
            Ok(room_until) => {
                self.room_until = room_until;
                self.failed = None;
                Ok(())
            }
            Err(error) => {
                // Nobody waits for what was begun.
                let _ = client.batch_execute("ROLLBACK").await;
                self.failed = Some(Instant::now());
                let fault = failure::fault(&error, "adding a partition");
                if enough {
                    tracing::warn!(%fault, "the log's next partition could not be added yet");
                    return Ok(());
                }
                Err(fault)
            }
        }
    }

    /// Events had no room where there should be some: a server has taken over that does not have what its predecessor had.
    pub(crate) fn look_again_after(&mut self, error: &Error) {
        if error.code() == Some(&SqlState::CHECK_VIOLATION) {
            self.room_until = 0;
        }
    }

    /// Adds what is missing, unless another server has, and says how far there is room.
    async fn added(&self, client: &Client, head: u64, wanted: u64) -> Result<u64, Error> {
        client.batch_execute(BEGIN).await?;
        let row = client.query_one(LAST, &[]).await?;
        let last = row.try_get::<_, Option<i64>>(0)?.map(i64::cast_unsigned);
        let mut end = last.unwrap_or(head);
        while end < wanted {
            let (from, upto) = (end + 1, end + self.positions);
            let after = upto + 1;
            client
                .batch_execute(&format!(
                    "CREATE TABLE event_upto_{upto} (LIKE event INCLUDING ALL); \
                     ALTER TABLE event ATTACH PARTITION event_upto_{upto} FOR VALUES FROM ({from}) TO ({after})"
                ))
                .await?;
            end = upto;
        }
        client.batch_execute("COMMIT").await?;
        Ok(end)
    }
}
