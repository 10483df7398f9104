//! Registered event types, and how repetitions of what services append are known.

use std::time::Duration;

use quivive_app::ports::{EventSchema, EventSchemas, Read, Receipt, Receipts};
use quivive_delivery::{Fault, Time, Write};

use crate::Database;
use crate::rows::Cells;

/// How long a receipt is kept.
const KEPT: Duration = Duration::from_hours(7 * 24);

/// Rows that one commit deletes: a few milliseconds of the writer's time.
const FORGET_AT_ONCE: u32 = 1_000;

statements! {
    ALL = "SELECT type, version, schema, order_key, created_at FROM event_schema ORDER BY type, version";

    OF_TYPE = "SELECT type, version, schema, order_key, created_at FROM event_schema WHERE type = $1 ORDER BY version";

    INSERT = "INSERT INTO event_schema (type, version, schema, order_key, created_at) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";

    RECEIPT = "SELECT token, content, event_id FROM receipt WHERE token = $1";

    KEEP_RECEIPT = "INSERT INTO receipt (token, content, event_id, created_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT DO NOTHING";

    HAS_FORGETTABLE = "SELECT 1 FROM receipt WHERE created_at <= $1 LIMIT 1";

    FORGET = "DELETE FROM receipt WHERE token IN (SELECT token FROM receipt WHERE created_at <= $1 LIMIT $2)";
}

impl EventSchemas for Database {
    fn all(&self) -> Read<'_, Vec<EventSchema>> {
        self.all(ALL, Vec::new(), schema)
    }

    fn of_type(&self, kind: &str) -> Read<'_, Vec<EventSchema>> {
        self.all(OF_TYPE, vec![kind.to_owned().into()], schema)
    }

    fn insert(&self, schema: &EventSchema) -> Write {
        Write::one(
            INSERT,
            vec![
                schema.kind.clone().into(),
                schema.version.into(),
                schema.schema.to_string().into(),
                schema.order_key.clone().into(),
                schema.created_at.into(),
            ],
        )
    }
}

impl Receipts for Database {
    fn find(&self, token: [u8; 32]) -> Read<'_, Option<Receipt>> {
        self.one(RECEIPT, vec![token.into()], |cells| {
            Ok(Receipt {
                token: cells.take("receipt.token")?,
                content: cells.take("receipt.content")?,
                event_id: cells.take("receipt.event_id")?,
            })
        })
    }

    fn insert(&self, receipt: &Receipt, now: Time) -> Write {
        Write::one(
            KEEP_RECEIPT,
            vec![
                receipt.token.into(),
                receipt.content.into(),
                receipt.event_id.into(),
                now.into(),
            ],
        )
    }

    fn has_forgettable(&self, now: Time) -> Read<'_, bool> {
        self.any(HAS_FORGETTABLE, vec![(now - KEPT).into()])
    }

    fn forget(&self, now: Time) -> Write {
        Write::any(FORGET, vec![(now - KEPT).into(), FORGET_AT_ONCE.into()])
    }
}

fn schema(cells: &mut Cells) -> Result<EventSchema, Fault> {
    Ok(EventSchema {
        kind: cells.take("event_schema.type")?,
        version: cells.take("event_schema.version")?,
        schema: serde_json::from_str(&cells.take::<String>("event_schema.schema")?)
            .map_err(Fault::internal)?,
        order_key: cells.take("event_schema.order_key")?,
        created_at: cells.take("event_schema.created_at")?,
    })
}
