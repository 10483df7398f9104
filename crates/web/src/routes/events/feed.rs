//! Reading the log for people: pages of it, and what an event caused. Each look is bounded, because
//! the log has no index (its writers could not afford one).

use quivive_delivery::{Criteria, Fault, Head, Log, Stored};
use uuid::Uuid;

use super::cursor::{Unread, follows};

/// Events that one read of the log brings.
const CHUNK: usize = 500;

/// Events that one filtered page looks at. A page that finds nothing in them says how far it came.
pub(super) const MAX_SCANNED: usize = 5_000;

/// How many events behind one are searched for its effects, and how many effects are told.
const MAX_BEHIND: usize = 2_000;
const MAX_EFFECTS: usize = 100;

/// What was found, and how far it was looked.
pub(super) struct Page {
    pub events: Vec<Stored>,
    pub next_cursor: u64,
    pub has_more: bool,
}

/// The next events that meet the criteria, up to `head` or a little beyond.
pub(super) async fn page(
    log: &dyn Log,
    criteria: &Criteria,
    after: u64,
    limit: usize,
    head: Head,
) -> Result<Page, Unread> {
    let chunk_size = if criteria.is_empty() { limit } else { CHUNK };
    let mut events = Vec::new();
    let (mut at, mut scanned) = (after, 0);
    'scan: while at < head.position && scanned < MAX_SCANNED {
        let chunk = log.read(at, chunk_size).await?;
        follows(at, chunk.first().map(|event| event.position), head)?;
        if chunk.is_empty() {
            // From the start, of a log that holds nothing any more.
            at = head.position;
        }
        for event in chunk {
            at = event.position;
            scanned += 1;
            if criteria.admit(&event) {
                events.push(event);
            }
            if events.len() == limit {
                break 'scan;
            }
        }
    }
    Ok(Page {
        events,
        next_cursor: at,
        has_more: at < head.position,
    })
}

/// The ids of what an event caused.
pub(super) async fn effects(log: &dyn Log, cause: &Stored) -> Result<Vec<Uuid>, Fault> {
    let mut found = Vec::new();
    let (mut at, mut scanned) = (cause.position, 0);
    while scanned < MAX_BEHIND && found.len() < MAX_EFFECTS {
        let chunk = log.read(at, CHUNK).await?;
        let Some(last) = chunk.last() else {
            break;
        };
        at = last.position;
        scanned += chunk.len();
        let caused = chunk
            .iter()
            .filter(|event| event.envelope.causation_id == Some(cause.envelope.id));
        found.extend(caused.map(|event| event.envelope.id));
    }
    found.truncate(MAX_EFFECTS);
    Ok(found)
}
