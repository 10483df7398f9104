//! Appends records to the log: the one place where positions are given and the chain is computed.

use quivive_delivery::log::Record;
use quivive_delivery::{Head, Time, chain};
use rusqlite::types::ValueRef;

use crate::failure::StatementError;
use crate::statements::Statements;

/// One row of `event`, its columns in the table's order.
const INSERT_EVENT: &str = "
    INSERT INTO event (pos, epoch, id, type, version, key, priority, time, recorded_at, workflow_id, correlation_id,
        causation_id, subject, actor_kind, actor_id, request_id, traceparent, context_key, context, body, personal_key,
        personal, chain)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)";

/// The head moves only from where this writer left it: should anything else write the log, its next commit says so.
const MOVE_HEAD: &str =
    "UPDATE log_head SET next_pos = $1, chain = $2 WHERE one = 1 AND next_pos = $3 AND epoch = $4";

/// Appends one record after `tip` and returns the new tip. The record's bytes are bound where they lie.
pub(crate) fn append(
    statements: &mut Statements<'_>,
    tip: Head,
    recorded_at: Time,
    record: &Record,
) -> Result<Head, StatementError> {
    let envelope = record.envelope();
    let (context, personal) = (record.context(), record.personal());
    let position = tip.position + 1;
    let recorded_at_us = recorded_at.as_microsecond();
    let chain = chain::link(
        &tip.chain,
        position,
        tip.epoch,
        recorded_at_us,
        record.digest(),
    );
    let columns = [
        number(position),
        number(tip.epoch),
        ValueRef::Blob(envelope.id.as_bytes()),
        text(&envelope.kind),
        ValueRef::Integer(i64::from(envelope.version)),
        text(envelope.key.as_str()),
        ValueRef::Integer(envelope.priority as i64),
        ValueRef::Integer(envelope.time.as_microsecond()),
        ValueRef::Integer(recorded_at_us),
        ValueRef::Blob(envelope.workflow_id.as_bytes()),
        ValueRef::Blob(envelope.correlation_id.as_bytes()),
        optional(envelope.causation_id.as_ref(), |id| {
            ValueRef::Blob(id.as_bytes())
        }),
        optional(envelope.subject.as_deref(), text),
        text(&envelope.actor.kind),
        optional(envelope.actor.id.as_ref(), |id| {
            ValueRef::Blob(id.as_bytes())
        }),
        optional(envelope.request_id.as_deref(), text),
        optional(envelope.traceparent.as_deref(), text),
        optional(context, |sealed| text(&sealed.key)),
        optional(context, |sealed| ValueRef::Blob(&sealed.bytes)),
        ValueRef::Blob(record.body()),
        optional(personal, |sealed| text(&sealed.key)),
        optional(personal, |sealed| ValueRef::Blob(&sealed.bytes)),
        ValueRef::Blob(&chain),
    ];
    statements.get(INSERT_EVENT)?.execute_refs(&columns)?;
    Ok(Head {
        position,
        chain,
        ..tip
    })
}

/// Writes the head once for a whole group. False: it was not where `from` says.
pub(crate) fn move_head(
    statements: &mut Statements<'_>,
    from: Head,
    to: Head,
) -> Result<bool, StatementError> {
    let values = [
        number(to.position + 1),
        ValueRef::Blob(&to.chain),
        number(from.position + 1),
        number(from.epoch),
    ];
    Ok(statements.get(MOVE_HEAD)?.execute_refs(&values)? == 1)
}

/// Positions and epochs start at 1 and count up by one; no log reaches the sign.
fn number(unsigned: u64) -> ValueRef<'static> {
    ValueRef::Integer(unsigned.cast_signed())
}

fn text(text: &str) -> ValueRef<'_> {
    ValueRef::Text(text.as_bytes())
}

fn optional<'v, T>(value: Option<T>, column: impl FnOnce(T) -> ValueRef<'v>) -> ValueRef<'v> {
    value.map_or(ValueRef::Null, column)
}
