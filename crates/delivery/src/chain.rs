//! The hash chain that makes the log tamper-evident.
//!
//! `digest = SHA-256(every column as stored, each with its length)`;
//! `chain(n) = SHA-256(chain(n−1) ‖ position ‖ epoch ‖ recorded_at ‖ digest)`. Positions are given in one place, so the
//! chain cannot fork; numbers are big-endian.

use sha2::{Digest as _, Sha256};

use crate::envelope::{Envelope, Stored};
use crate::seal::Sealed;

/// The chain before the first event.
pub const GENESIS: [u8; 32] = [0; 32];

/// The digest of an event's content: independent of where in the log it comes to lie.
pub fn digest(
    envelope: &Envelope,
    context: Option<&Sealed>,
    body: &[u8],
    personal: Option<&Sealed>,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(envelope.id.as_bytes());
    part(envelope.kind.as_bytes());
    part(&envelope.version.to_be_bytes());
    part(envelope.key.as_str().as_bytes());
    part(&[envelope.priority as u8]);
    part(&envelope.time.as_microsecond().to_be_bytes());
    part(envelope.workflow_id.as_bytes());
    part(envelope.correlation_id.as_bytes());
    part(
        envelope
            .causation_id
            .as_ref()
            .map_or(&[], |id| id.as_bytes()),
    );
    part(envelope.subject.as_deref().unwrap_or_default().as_bytes());
    part(envelope.actor.kind.as_bytes());
    part(envelope.actor.id.as_ref().map_or(&[], |id| id.as_bytes()));
    part(
        envelope
            .request_id
            .as_deref()
            .unwrap_or_default()
            .as_bytes(),
    );
    part(
        envelope
            .traceparent
            .as_deref()
            .unwrap_or_default()
            .as_bytes(),
    );
    part(body);
    for sealed in [context, personal] {
        part(sealed.map_or(&[], |s| s.key.as_bytes()));
        part(sealed.map_or(&[], |s| &s.bytes));
    }
    hash.finalize().into()
}

/// The next link.
pub fn link(
    previous: &[u8; 32],
    position: u64,
    epoch: u64,
    recorded_at_us: i64,
    digest: &[u8; 32],
) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(previous);
    hash.update(position.to_be_bytes());
    hash.update(epoch.to_be_bytes());
    hash.update(recorded_at_us.to_be_bytes());
    hash.update(digest);
    hash.finalize().into()
}

/// Walks the chain over stored events. Feed it every event from the first (or from an anchor), in order of position.
#[derive(Debug)]
pub struct Walk {
    next: u64,
    chain: [u8; 32],
}

impl Walk {
    /// From the position and chain of the last event that is already trusted; `(0, GENESIS)` for the whole log.
    pub fn from(position: u64, chain: [u8; 32]) -> Self {
        Self {
            next: position + 1,
            chain,
        }
    }

    /// Checks one event; the error is the first bad position.
    pub fn step(&mut self, event: &Stored) -> Result<(), u64> {
        let digest = digest(
            &event.envelope,
            event.context.as_ref(),
            &event.body,
            event.personal.as_ref(),
        );
        let chain = link(
            &self.chain,
            event.position,
            event.epoch,
            event.recorded_at.as_microsecond(),
            &digest,
        );
        if event.position != self.next || chain != event.chain {
            return Err(self.next.min(event.position));
        }
        self.next += 1;
        self.chain = chain;
        Ok(())
    }

    /// Checks that the log ends where its head says; the error is the first position that is missing or too much.
    pub fn finish(&self, head_position: u64, head_chain: &[u8; 32]) -> Result<(), u64> {
        let last = self.next - 1;
        if last != head_position {
            return Err(last.min(head_position) + 1);
        }
        if self.chain == *head_chain {
            Ok(())
        } else {
            Err(last.max(1))
        }
    }
}
