//! Reading the log; appending to it is the executor's.
//!
//! The log has no secondary index (they cost half the throughput of appending), so every search here reads the events
//! of a range one by one, in the database, which does about a million a second. Ranges are cut into slices, so that no
//! single read keeps a reader from others for long.

use quivive_delivery::seal::Sealed;
use quivive_delivery::{
    Actor, BoxFuture, CommitError, Committed, Envelope, Fault, Head, Key, Log, Priority, Stored,
    Time, Transaction, Value,
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::rows::Cells;
use crate::{Database, int};

/// Positions one statement looks at: some ten milliseconds of a reader.
const SLICE: u64 = 10_000;

/// Positions one call of [`Database::events_by`] looks at before it answers with what it has.
const SEARCH_MAX: u64 = 100_000;

/// What [`stored`] reads, in its order.
macro_rules! event_columns {
    () => {
        "pos, epoch, id, type, version, key, priority, time, recorded_at, workflow_id, correlation_id, causation_id, \
         subject, actor_kind, actor_id, request_id, traceparent, context_key, context, body, personal_key, personal, \
         chain"
    };
}

statements! {
    READ = concat!("SELECT ", event_columns!(), " FROM event WHERE pos > $1 ORDER BY pos LIMIT $2");

    OF_KEY = concat!(
        "SELECT ", event_columns!(),
        " FROM event WHERE pos > $1 AND pos <= $2 AND key = $3 ORDER BY pos LIMIT $4"
    );

    OF_TYPE = concat!(
        "SELECT ", event_columns!(),
        " FROM event WHERE pos > $1 AND pos <= $2 AND type = $3 ORDER BY pos LIMIT $4"
    );

    OF_WORKFLOW = concat!(
        "SELECT ", event_columns!(),
        " FROM event WHERE pos > $1 AND pos <= $2 AND workflow_id = $3 ORDER BY pos LIMIT $4"
    );

    OF_ID = concat!(
        "SELECT ", event_columns!(),
        " FROM event WHERE pos > $1 AND pos <= $2 AND id = $3 ORDER BY pos LIMIT $4"
    );
}

/// What to look for in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventFilter {
    /// All events of one run of a workflow.
    Workflow(Uuid),
    /// All events of a type, by its dotted name.
    Type(String),
}

/// What one search found.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// Oldest first.
    pub events: Vec<Stored>,
    /// Everything up to this position was looked at. The search goes on after it; it is over when this is the head.
    pub upto: u64,
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
}

impl Database {
    /// Events that fit the filter, after `after`, oldest first, at most `limit`.
    ///
    /// Costs a look at every event after `after`, at most 100,000 of them in one call: an answer may be short or empty
    /// although there is more, see [`EventPage::upto`]. An index is to come.
    pub async fn events_by(
        &self,
        filter: &EventFilter,
        after: u64,
        limit: usize,
    ) -> Result<EventPage, Fault> {
        let (sql, wanted) = match filter {
            EventFilter::Workflow(id) => (OF_WORKFLOW, Value::from(*id)),
            EventFilter::Type(name) => (OF_TYPE, Value::from(name.clone())),
        };
        let upto = self.head_position().min(after.saturating_add(SEARCH_MAX));
        self.search(sql, &wanted, after, upto, limit).await
    }

    /// The event with that id.
    ///
    /// Costs a look at every event younger than it, and at the whole log when there is none: ids follow positions only
    /// roughly, and the log has no index of them. Most that are asked for are recent, so it begins at the head.
    pub async fn event_by_id(&self, id: Uuid) -> Result<Option<Stored>, Fault> {
        let mut upto = self.head_position();
        while upto > 0 {
            let after = upto.saturating_sub(SLICE);
            let params = vec![int(after), int(upto), id.into(), int(1)];
            if let Some(event) = self.one(OF_ID, params, stored).await? {
                return Ok(Some(event));
            }
            upto = after;
        }
        Ok(None)
    }

    /// Runs one of the filtered statements slice by slice, until `upto` or `limit` is reached.
    pub(crate) async fn search(
        &self,
        sql: &'static str,
        wanted: &Value,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> Result<EventPage, Fault> {
        let mut events = Vec::new();
        let mut seen = after;
        while seen < upto && events.len() < limit {
            let end = upto.min(seen + SLICE);
            let room = limit - events.len();
            let params = vec![int(seen), int(end), wanted.clone(), int(room)];
            events.append(&mut self.all(sql, params, stored).await?);
            seen = end;
        }
        let upto = match events.last() {
            Some(last) if events.len() >= limit => last.position,
            _ => seen,
        };
        Ok(EventPage { events, upto })
    }

    /// Events of one key after `after` and up to `upto`, oldest first, at most `limit`; however far apart they lie.
    pub(crate) async fn events_of_key(
        &self,
        key: String,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, Fault> {
        let upto = upto.min(self.head_position());
        let page = self.search(OF_KEY, &key.into(), after, upto, limit).await?;
        Ok(page.events)
    }

    fn head_position(&self) -> u64 {
        self.executor.head().borrow().position
    }
}

/// Reads [`event_columns`].
fn stored(cells: &mut Cells) -> Result<Stored, Fault> {
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
