//! The index of the log: what it is searched by, in a table of its own that follows it.
//!
//! Whatever must be found however new it is is looked for in the index, and then among the events behind it, which are few.

use quivive_app::ports::{Criterion, EventIndex, IndexEntry, Read, Related, Tag};
use quivive_delivery::{Fault, Stored, Value, Write};
use uuid::Uuid;

use crate::log::{event_columns, stored};
use crate::{Database, int};

/// The events of a page of the index. It ends in the index: a planner that joins first may go through the log instead.
macro_rules! events_of {
    ($page:expr, $order:literal) => {
        concat!(
            "SELECT ",
            event_columns!(),
            " FROM (",
            $page,
            ") AS page CROSS JOIN event WHERE event.pos = page.pos ORDER BY page.pos",
            $order
        )
    };
}

/// A search over the index by one of its columns, newest first.
macro_rules! newest_by {
    ($column:literal) => {
        events_of!(
            concat!(
                "SELECT pos FROM search WHERE ",
                $column,
                " = $1 AND pos < $2 ORDER BY pos DESC LIMIT $3"
            ),
            " DESC"
        )
    };
}

/// The same, oldest first and from the beginning.
macro_rules! oldest_by {
    ($column:literal) => {
        events_of!(
            concat!(
                "SELECT pos FROM search WHERE ",
                $column,
                " = $1 ORDER BY pos LIMIT $2"
            ),
            ""
        )
    };
}

/// The same, among the events that the index may not have.
macro_rules! behind_by {
    ($column:literal) => {
        concat!(
            "SELECT ",
            event_columns!(),
            " FROM event WHERE pos > $1 AND pos <= $2 AND ",
            $column,
            " = $3 ORDER BY pos LIMIT $4"
        )
    };
}

statements! {
    REACHES = "SELECT pos FROM search_head WHERE one = 1";

    BY_ID = "SELECT pos FROM search WHERE id = $1 ORDER BY pos LIMIT 1";

    BY_TYPE = newest_by!("type");
    BY_SUBJECT = newest_by!("subject");
    BY_WORKFLOW = newest_by!("workflow_id");
    BY_CORRELATION = newest_by!("correlation_id");
    BY_ADDRESS = newest_by!("address_tag");
    BY_IP = newest_by!("ip_tag");

    OF_WORKFLOW = oldest_by!("workflow_id");
    OF_CORRELATION = oldest_by!("correlation_id");

    ID_BEHIND = behind_by!("id");
    WORKFLOW_BEHIND = behind_by!("workflow_id");
    CORRELATION_BEHIND = behind_by!("correlation_id");

    INSERT = "INSERT INTO search (pos, id, type, subject, workflow_id, correlation_id, address_tag, ip_tag) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING";

    FORGET = "UPDATE search SET address_tag = NULL, ip_tag = NULL \
        WHERE subject = $1 AND (address_tag IS NOT NULL OR ip_tag IS NOT NULL)";

    /// Misses when the index does not end where the caller thinks.
    MOVE = "UPDATE search_head SET pos = $1 WHERE one = 1 AND pos = $2";
}

impl Database {
    /// The event with that id.
    pub async fn event_by_id(&self, id: Uuid) -> Result<Option<Stored>, Fault> {
        let Some(position) = self.position_of(id).await? else {
            return Ok(None);
        };
        let after = position.saturating_sub(1);
        let found = quivive_delivery::Log::read(self, after, 1).await?;
        // Retention may have cut it since.
        Ok(found.into_iter().find(|event| event.envelope.id == id))
    }
}

impl EventIndex for Database {
    fn reaches(&self) -> Read<'_, u64> {
        self.single(REACHES, Vec::new(), |cells| cells.take("search_head.pos"))
    }

    fn position_of(&self, id: Uuid) -> Read<'_, Option<u64>> {
        Box::pin(async move {
            // Asked before the index itself: what comes into it in between is found twice, not never.
            let reached = self.reaches().await?;
            let found = self
                .one(BY_ID, vec![id.into()], |cells| cells.take("search.pos"))
                .await?;
            if found.is_some() {
                return Ok(found);
            }
            let behind = self
                .scan(ID_BEHIND, &id.into(), reached, u64::MAX, 1)
                .await?;
            Ok(behind.first().map(|event| event.position))
        })
    }

    fn related(&self, id: Related, limit: u32) -> Read<'_, Vec<Stored>> {
        let (indexed, behind, id) = match id {
            Related::Workflow(id) => (OF_WORKFLOW, WORKFLOW_BEHIND, id),
            Related::Correlation(id) => (OF_CORRELATION, CORRELATION_BEHIND, id),
        };
        Box::pin(async move {
            let reached = self.reaches().await?;
            let mut events = self
                .all(indexed, vec![id.into(), limit.into()], stored)
                .await?;
            let last = events.last().map_or(0, |event| event.position);
            let room = (limit as usize).saturating_sub(events.len());
            let after = reached.max(last);
            events.append(&mut self.scan(behind, &id.into(), after, u64::MAX, room).await?);
            Ok(events)
        })
    }

    fn search(&self, criterion: &Criterion, below: u64, limit: u32) -> Read<'_, Vec<Stored>> {
        let (sql, wanted) = match criterion {
            Criterion::Type(name) => (BY_TYPE, name.clone().into()),
            Criterion::Subject(subject) => (BY_SUBJECT, subject.clone().into()),
            Criterion::Workflow(id) => (BY_WORKFLOW, (*id).into()),
            Criterion::Correlation(id) => (BY_CORRELATION, (*id).into()),
            Criterion::Address(tag) => (BY_ADDRESS, value(*tag)),
            Criterion::Ip(tag) => (BY_IP, value(*tag)),
        };
        self.all(sql, vec![wanted, int(below), limit.into()], stored)
    }

    fn fill(&self, after: u64, entries: &[IndexEntry<'_>]) -> Vec<Write> {
        let upto = entries.last().map_or(after, |entry| entry.event.position);
        let mut writes = Vec::with_capacity(entries.len() + 1);
        // First, so that a miss costs nothing.
        writes.push(Write::one(MOVE, vec![int(upto), int(after)]));
        writes.extend(entries.iter().map(insert));
        writes
    }

    fn forget(&self, subject: &str) -> Write {
        Write::any(FORGET, vec![subject.to_owned().into()])
    }
}

fn insert(entry: &IndexEntry<'_>) -> Write {
    let envelope = &entry.event.envelope;
    Write::one(
        INSERT,
        vec![
            int(entry.event.position),
            envelope.id.into(),
            envelope.kind.clone().into(),
            envelope.subject.clone().into(),
            envelope.workflow_id.into(),
            envelope.correlation_id.into(),
            entry.address.map_or(Value::Null, value),
            entry.ip.map_or(Value::Null, value),
        ],
    )
}

fn value(tag: Tag) -> Value {
    Value::Id(Uuid::from_bytes(tag.0))
}
