//! Webhook endpoints, their secrets, and what became of the last messages to them.

use std::collections::BTreeMap;

use quivive_app::ports::{Attempt, Endpoint, Read, StoredRecovery, StoredSecret, Webhooks};
use quivive_delivery::{Fault, Time, Value, Write};
use quivive_domain::EndpointId;
use quivive_domain::webhook::{Disabled, Order, Pattern, Signatures, Target};
use uuid::Uuid;

use crate::Database;
use crate::rows::Cells;

statements! {
    ALL = "SELECT id, url, description, events, sending_order, signatures, disabled, failing_since, versions, created_by, \
        created_at, updated_at, revision FROM webhook_endpoint ORDER BY id";

    BY_ID = "SELECT id, url, description, events, sending_order, signatures, disabled, failing_since, versions, created_by, \
        created_at, updated_at, revision FROM webhook_endpoint WHERE id = $1";

    SECRETS = "SELECT id, sealed, public_key, created_at, expires_at FROM webhook_secret \
        WHERE endpoint = $1 ORDER BY id DESC";

    RECOVERY = "SELECT generation, after_pos, upto_pos, sent, EXISTS (SELECT 1 FROM replay \
        WHERE replay.subscription = $1 AND replay.generation = webhook_recovery.generation) \
        FROM webhook_recovery WHERE endpoint = $2";

    ATTEMPTS = "SELECT event_id, event_type, number, at, latency_ms, status, error FROM webhook_attempt \
        WHERE endpoint = $1 ORDER BY id DESC";

    /// A guard that locks a row of its own, so that the next statement counts what was inserted by whoever had it before: on
    /// PostgreSQL each statement sees what was committed when it began.
    ONE_AT_A_TIME = "INSERT INTO meta (name, value) VALUES ('webhook_endpoints', 'counted') \
        ON CONFLICT (name) DO UPDATE SET value = excluded.value";

    INSERT = "INSERT INTO webhook_endpoint (id, url, description, events, sending_order, signatures, disabled, versions, \
        created_by, created_at, updated_at, revision) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 \
        WHERE (SELECT COUNT(*) FROM webhook_endpoint) < CAST($13 AS BIGINT) ON CONFLICT DO NOTHING";

    UPDATE = "UPDATE webhook_endpoint SET url = $1, description = $2, events = $3, signatures = $4, disabled = $5, \
        versions = $6, updated_at = $7, revision = revision + 1 WHERE id = $8 AND revision = $9";

    NOTE_FAILING = "UPDATE webhook_endpoint SET failing_since = $1 WHERE id = $2";

    DELETE = "DELETE FROM webhook_endpoint WHERE id = $1";

    DELETE_SECRETS = "DELETE FROM webhook_secret WHERE endpoint = $1";

    DELETE_ATTEMPTS = "DELETE FROM webhook_attempt WHERE endpoint = $1";

    DELETE_RECOVERY = "DELETE FROM webhook_recovery WHERE endpoint = $1";

    /// Misses when no replay begins.
    BEGIN_RECOVERY = "INSERT INTO webhook_recovery (endpoint, generation, after_pos, upto_pos, sent) \
        SELECT $1, generation, from_pos - 1, to_pos, 0 FROM replay WHERE subscription = $2 \
        ON CONFLICT (endpoint) DO UPDATE SET generation = excluded.generation, after_pos = excluded.after_pos, \
        upto_pos = excluded.upto_pos, sent = 0";

    COUNT_RECOVERED = "UPDATE webhook_recovery SET sent = sent + 1 WHERE endpoint = $1 AND generation = $2";

    INSERT_SECRET = "INSERT INTO webhook_secret (endpoint, id, sealed, public_key, created_at, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";

    DROP_RETIRED = "DELETE FROM webhook_secret WHERE endpoint = $1 AND expires_at IS NOT NULL";

    RETIRE = "UPDATE webhook_secret SET expires_at = $1 WHERE endpoint = $2 AND expires_at IS NULL";

    /// Not for an endpoint that is gone by then. The casts are because nothing else there tells PostgreSQL the types.
    INSERT_ATTEMPT = "INSERT INTO webhook_attempt \
        (endpoint, id, event_id, event_type, number, at, latency_ms, status, error) \
        SELECT webhook_endpoint.id, $1, $2, $3, CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT), \
        CAST($7 AS BIGINT), $8 FROM webhook_endpoint WHERE webhook_endpoint.id = $9 ON CONFLICT DO NOTHING";

    TRIM_ATTEMPTS = "DELETE FROM webhook_attempt WHERE endpoint = $1 AND id NOT IN \
        (SELECT id FROM webhook_attempt WHERE endpoint = $1 ORDER BY id DESC LIMIT $2)";
}

impl Webhooks for Database {
    fn endpoints(&self) -> Read<'_, Vec<Endpoint>> {
        self.all(ALL, Vec::new(), endpoint)
    }

    fn endpoint(&self, id: EndpointId) -> Read<'_, Option<Endpoint>> {
        self.one(BY_ID, vec![id.0.into()], endpoint)
    }

    fn secrets(&self, id: EndpointId) -> Read<'_, Vec<StoredSecret>> {
        self.all(SECRETS, vec![id.0.into()], move |cells| {
            Ok(StoredSecret {
                id: cells.take("webhook_secret.id")?,
                endpoint: id,
                sealed: cells.take("webhook_secret.sealed")?,
                public_key: cells.take("webhook_secret.public_key")?,
                created_at: cells.take("webhook_secret.created_at")?,
                expires_at: cells.take("webhook_secret.expires_at")?,
            })
        })
    }

    fn attempts(&self, id: EndpointId) -> Read<'_, Vec<Attempt>> {
        self.all(ATTEMPTS, vec![id.0.into()], move |cells| {
            Ok(Attempt {
                endpoint: id,
                event_id: cells.take("webhook_attempt.event_id")?,
                event_type: cells.take("webhook_attempt.event_type")?,
                number: cells.take("webhook_attempt.number")?,
                at: cells.take("webhook_attempt.at")?,
                latency_ms: cells.take("webhook_attempt.latency_ms")?,
                status: cells.take("webhook_attempt.status")?,
                error: cells.take("webhook_attempt.error")?,
            })
        })
    }

    fn recovery<'a>(
        &'a self,
        id: EndpointId,
        subscription: &str,
    ) -> Read<'a, Option<StoredRecovery>> {
        let params = vec![subscription.to_owned().into(), id.0.into()];
        self.one(RECOVERY, params, |cells| {
            Ok(StoredRecovery {
                generation: cells.take("webhook_recovery.generation")?,
                after: cells.take("webhook_recovery.after_pos")?,
                upto: cells.take("webhook_recovery.upto_pos")?,
                sent: cells.take("webhook_recovery.sent")?,
                under_way: cells.take("under_way")?,
            })
        })
    }

    fn insert_endpoint(&self, endpoint: &Endpoint, max: u32) -> Vec<Write> {
        let params = vec![
            endpoint.id.0.into(),
            endpoint.target.as_str().to_owned().into(),
            endpoint.description.clone().into(),
            patterns(&endpoint.events),
            endpoint.order.as_str().into(),
            endpoint.signatures.as_str().into(),
            endpoint.disabled.map(Disabled::as_str).into(),
            versions(&endpoint.versions),
            endpoint.created_by.map(|user| user.0).into(),
            endpoint.created_at.into(),
            endpoint.updated_at.into(),
            endpoint.revision.into(),
            max.into(),
        ];
        vec![
            Write::one(ONE_AT_A_TIME, Vec::new()),
            Write::one(INSERT, params),
        ]
    }

    fn update_endpoint(&self, endpoint: &Endpoint) -> Write {
        let params = vec![
            endpoint.target.as_str().to_owned().into(),
            endpoint.description.clone().into(),
            patterns(&endpoint.events),
            endpoint.signatures.as_str().into(),
            endpoint.disabled.map(Disabled::as_str).into(),
            versions(&endpoint.versions),
            endpoint.updated_at.into(),
            endpoint.id.0.into(),
            endpoint.revision.into(),
        ];
        Write::one(UPDATE, params)
    }

    fn delete_endpoint(&self, id: EndpointId) -> Vec<Write> {
        vec![
            Write::one(DELETE, vec![id.0.into()]),
            Write::any(DELETE_SECRETS, vec![id.0.into()]),
            Write::any(DELETE_ATTEMPTS, vec![id.0.into()]),
            Write::any(DELETE_RECOVERY, vec![id.0.into()]),
        ]
    }

    fn insert_secret(&self, secret: &StoredSecret) -> Write {
        let params = vec![
            secret.endpoint.0.into(),
            secret.id.into(),
            secret.sealed.clone().into(),
            secret.public_key.into(),
            secret.created_at.into(),
            secret.expires_at.into(),
        ];
        Write::one(INSERT_SECRET, params)
    }

    fn retire_secrets(&self, id: EndpointId, until: Time) -> Vec<Write> {
        vec![
            Write::any(DROP_RETIRED, vec![id.0.into()]),
            Write::one(RETIRE, vec![until.into(), id.0.into()]),
        ]
    }

    fn note_failing(&self, id: EndpointId, since: Option<Time>) -> Write {
        Write::any(NOTE_FAILING, vec![since.into(), id.0.into()])
    }

    fn insert_attempt(&self, id: Uuid, attempt: &Attempt) -> Write {
        let params = vec![
            id.into(),
            attempt.event_id.into(),
            attempt.event_type.clone().into(),
            attempt.number.into(),
            attempt.at.into(),
            attempt.latency_ms.into(),
            attempt.status.into(),
            attempt.error.clone().into(),
            attempt.endpoint.0.into(),
        ];
        Write::any(INSERT_ATTEMPT, params)
    }

    fn trim_attempts(&self, id: EndpointId, keep: u32) -> Write {
        Write::any(TRIM_ATTEMPTS, vec![id.0.into(), keep.into()])
    }

    fn begin_recovery(&self, id: EndpointId, subscription: &str) -> Write {
        let params = vec![id.0.into(), subscription.to_owned().into()];
        Write::one(BEGIN_RECOVERY, params)
    }

    fn count_recovered(&self, id: EndpointId, generation: u32) -> Write {
        Write::any(COUNT_RECOVERED, vec![id.0.into(), generation.into()])
    }
}

fn endpoint(cells: &mut Cells) -> Result<Endpoint, Fault> {
    Ok(Endpoint {
        id: cells.take("webhook_endpoint.id")?,
        target: read(cells, "webhook_endpoint.url", |text| {
            Target::parse(text).ok()
        })?,
        description: cells.take("webhook_endpoint.description")?,
        events: read(cells, "webhook_endpoint.events", |text| {
            text.split_whitespace().map(Pattern::parse).collect()
        })?,
        order: read(cells, "webhook_endpoint.sending_order", Order::parse)?,
        signatures: read(cells, "webhook_endpoint.signatures", Signatures::parse)?,
        disabled: match cells.take::<Option<String>>("webhook_endpoint.disabled")? {
            None => None,
            Some(word) => Some(known(&word, "webhook_endpoint.disabled", Disabled::parse)?),
        },
        failing_since: cells.take("webhook_endpoint.failing_since")?,
        versions: read(cells, "webhook_endpoint.versions", |text| {
            serde_json::from_str(text).ok()
        })?,
        created_by: cells.take("webhook_endpoint.created_by")?,
        created_at: cells.take("webhook_endpoint.created_at")?,
        updated_at: cells.take("webhook_endpoint.updated_at")?,
        revision: cells.take("webhook_endpoint.revision")?,
    })
}

fn read<T>(
    cells: &mut Cells,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Fault> {
    known(&cells.take::<String>(column)?, column, parse)
}

/// The text itself is not repeated: a URL may hold what opens its host.
fn known<T>(
    text: &str,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Fault> {
    let unread = || {
        Fault::Internal(format!(
            "{column} holds what no version up to this one wrote"
        ))
    };
    parse(text).ok_or_else(unread)
}

fn patterns(patterns: &[Pattern]) -> Value {
    let words: Vec<_> = patterns.iter().map(Pattern::as_str).collect();
    words.join(" ").into()
}

fn versions(versions: &BTreeMap<String, u32>) -> Value {
    // Texts and numbers always become JSON.
    serde_json::to_string(versions).unwrap_or_default().into()
}
