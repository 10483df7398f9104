//! Reading the log; appending to it is the executor's.
//!
//! The log has no secondary index (they cost half the throughput of appending), so whatever is looked for here reads the
//! events of a range one by one, in the database, which does about a million a second. Ranges are cut into slices, so that
//! no single read keeps a reader from others for long. What has an index is in [`search`](crate::search).

use std::sync::Arc;

use quivive_delivery::seal::Sealed;
use quivive_delivery::{
    Actor, BoxFuture, CommitError, Committed, Envelope, Fault, Head, Key, Log, Priority, Stored,
    Time, Transaction, Value,
};
use tokio::sync::watch;

use crate::rows::Cells;
use crate::{Database, int};

/// Positions one statement looks at: some ten milliseconds of a reader.
const SLICE: u64 = 10_000;

/// What [`stored`] reads, in its order.
macro_rules! event_columns {
    () => {
        "event.pos, event.epoch, event.id, event.type, event.version, event.key, event.priority, event.time, \
         event.recorded_at, event.workflow_id, event.correlation_id, event.causation_id, event.subject, \
         event.actor_kind, event.actor_id, event.request_id, event.traceparent, event.context_key, event.context, \
         event.body, event.personal_key, event.personal, event.chain"
    };
}
pub(crate) use event_columns;

statements! {
    HEAD = "SELECT next_pos, epoch, chain FROM log_head WHERE one = 1";

    READ = concat!("SELECT ", event_columns!(), " FROM event WHERE pos > $1 ORDER BY pos LIMIT $2");

    @pairs

    /// Differs because each reads a list in JSON by a function of its own.
    OF_KEYS = concat!(
        "SELECT ", event_columns!(), " FROM event WHERE pos > $1 AND pos <= $2 \
         AND key IN (SELECT value FROM json_each($3)) ORDER BY pos LIMIT $4"
    ), concat!(
        "SELECT ", event_columns!(), " FROM event WHERE pos > $1 AND pos <= $2 \
         AND key IN (SELECT json_array_elements_text(CAST(CAST($3 AS TEXT) AS JSON))) ORDER BY pos LIMIT $4"
    );

    /// Differs like [`OF_KEYS`].
    AT = concat!(
        "SELECT ", event_columns!(),
        " FROM event WHERE pos IN (SELECT value FROM json_each($1)) ORDER BY pos"
    ), concat!(
        "SELECT ", event_columns!(), " FROM event WHERE pos IN \
         (SELECT CAST(json_array_elements_text(CAST(CAST($1 AS TEXT) AS JSON)) AS BIGINT)) ORDER BY pos"
    );
}

impl Log for Database {
    fn commit(
        &self,
        transaction: Transaction,
    ) -> BoxFuture<'static, Result<Committed, CommitError>> {
        self.executor.apply(transaction)
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        self.all(READ, vec![int(after), int(limit)], stored)
    }

    fn head(&self) -> watch::Receiver<Head> {
        self.executor.head()
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        self.executor.settled()
    }

    fn confirmed(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.executor.confirmed()
    }

    fn fresh(&self, after: u64, limit: usize) -> Option<Vec<Arc<Stored>>> {
        self.executor.fresh(after, limit)
    }
}

impl Database {
    /// Runs a statement over positions, `wanted` and a limit slice by slice, until `upto` or `limit` is reached.
    pub(crate) async fn scan(
        &self,
        sql: &'static str,
        wanted: &Value,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, Fault> {
        let upto = upto.min(self.head_position());
        let mut events = Vec::new();
        let mut seen = after;
        while seen < upto && events.len() < limit {
            let end = upto.min(seen + SLICE);
            let room = limit - events.len();
            let params = vec![int(seen), int(end), wanted.clone(), int(room)];
            events.append(&mut self.all(sql, params, stored).await?);
            seen = end;
        }
        Ok(events)
    }

    /// The head as it is stored: for who does not append, and so is not told when it moves.
    pub async fn stored_head(&self) -> Result<Head, Fault> {
        self.single(HEAD, Vec::new(), |cells| {
            Ok(Head {
                position: cells.take::<u64>("log_head.next_pos")?.saturating_sub(1),
                epoch: cells.take("log_head.epoch")?,
                chain: cells.take("log_head.chain")?,
            })
        })
        .await
    }

    /// Events of these keys after `after` and up to `upto`, oldest first, at most `limit`; however far apart they lie.
    pub(crate) async fn events_of_keys(
        &self,
        keys: String,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, Fault> {
        let sql = self.spoken(OF_KEYS);
        self.scan(sql, &keys.into(), after, upto, limit).await
    }

    /// The events at these positions, a list in JSON.
    pub(crate) fn events_at_all(
        &self,
        positions: String,
    ) -> BoxFuture<'_, Result<Vec<Stored>, Fault>> {
        self.all(self.spoken(AT), vec![positions.into()], stored)
    }

    pub(crate) fn head_position(&self) -> u64 {
        self.executor.head().borrow().position
    }
}

/// Reads [`event_columns`].
pub(crate) fn stored(cells: &mut Cells) -> Result<Stored, Fault> {
    let position = cells.take("event.pos")?;
    let epoch = cells.take("event.epoch")?;
    let (envelope, recorded_at) = envelope(cells)?;
    Ok(Stored {
        position,
        epoch,
        recorded_at,
        envelope,
        context: sealed(cells, "event.context_key", "event.context")?,
        body: cells.take("event.body")?,
        personal: sealed(cells, "event.personal_key", "event.personal")?,
        chain: cells.take("event.chain")?,
    })
}

fn envelope(cells: &mut Cells) -> Result<(Envelope, Time), Fault> {
    let id = cells.take("event.id")?;
    let kind = cells.take("event.type")?;
    let version = cells.take("event.version")?;
    let key = Key::stored(cells.take("event.key")?);
    let priority = Priority::stored(cells.take("event.priority")?);
    let time = cells.take("event.time")?;
    let recorded_at = cells.take("event.recorded_at")?;
    let envelope = Envelope {
        id,
        kind,
        version,
        key,
        priority,
        time,
        workflow_id: cells.take("event.workflow_id")?,
        correlation_id: cells.take("event.correlation_id")?,
        causation_id: cells.take("event.causation_id")?,
        subject: cells.take("event.subject")?,
        actor: Actor {
            kind: cells.take("event.actor_kind")?,
            id: cells.take("event.actor_id")?,
        },
        request_id: cells.take("event.request_id")?,
        traceparent: cells.take("event.traceparent")?,
    };
    Ok((envelope, recorded_at))
}

/// Sealed bytes and the name of their key are two columns that are both there or neither.
fn sealed(
    cells: &mut Cells,
    key_column: &'static str,
    bytes_column: &'static str,
) -> Result<Option<Sealed>, Fault> {
    let key: Option<String> = cells.take(key_column)?;
    let Some(key) = key else {
        return match cells.take::<Option<Vec<u8>>>(bytes_column)? {
            None => Ok(None),
            Some(_) => Err(Fault::Internal(format!(
                "{bytes_column} names no key in {key_column}"
            ))),
        };
    };
    Ok(Some(Sealed {
        key,
        bytes: cells.take(bytes_column)?,
    }))
}
