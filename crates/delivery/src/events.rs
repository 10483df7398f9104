//! The events the engine itself raises.

use uuid::Uuid;

use crate::Event;
use crate::catalogue::{Catalogue, Duplicate};
use crate::code::Code;

/// An event was parked: it and what follows it under its key wait for a decision, for this subscription.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "delivery.dead_lettered",
    version = 1,
    name = "EventDeadLettered",
    audit = "EVENT_DEAD_LETTERED"
)]
pub struct EventDeadLettered {
    pub subscription: String,
    pub event_id: Uuid,
    pub event_type: String,
    pub attempts: u32,
    /// `transient` (attempts or time spent), `rate_limited`, `permanent` (the handler gave up), `poison` (panicked twice).
    pub error_class: Code,
}

/// The target of a subscription does not answer, so nothing more is delivered for a while. Of the target `*`: keys fail in
/// such numbers that the whole subscription is paused until an operator resumes it.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "delivery.circuit_opened",
    version = 1,
    name = "CircuitOpened",
    audit = "CIRCUIT_OPENED"
)]
pub struct CircuitOpened {
    pub subscription: String,
    pub target: String,
    /// Failed calls; of the target `*`, keys that got lanes.
    pub failures: u32,
}

/// The target answers again, or an operator resumed the subscription.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "delivery.circuit_closed",
    version = 1,
    name = "CircuitClosed",
    audit = "CIRCUIT_CLOSED"
)]
pub struct CircuitClosed {
    pub subscription: String,
    pub target: String,
}

/// A handler said that what led to the event must be undone. Under the key of that event, caused by it, in its workflow:
/// whoever did a step of it subscribes to this.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "delivery.undo_requested",
    version = 1,
    name = "UndoRequested",
    audit = "UNDO_REQUESTED"
)]
pub struct UndoRequested {
    pub subscription: String,
    pub event_id: Uuid,
    pub event_type: String,
    pub reason: Code,
}

/// A subscription was so far behind that events went which it had not come to. What it lost is in the archive at best.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "delivery.subscription_expired",
    version = 1,
    name = "SubscriptionExpired",
    audit = "SUBSCRIPTION_EXPIRED"
)]
pub struct SubscriptionExpired {
    pub subscription: String,
    /// Where it, or its key that was furthest behind, had come to.
    pub from: u64,
    /// Where it goes on.
    pub to: u64,
    /// Events that it wanted and never got.
    pub lost: u64,
}

/// The log up to a position is as the signed statement of a key says: the beginning of what retention leaves.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "audit.checkpoint_sealed",
    version = 1,
    name = "AuditCheckpointSealed",
    audit = "AUDIT_CHECKPOINT_SEALED"
)]
pub struct AuditCheckpointSealed {
    pub position: u64,
    /// The chain there.
    pub head: Digest,
    pub key_id: String,
}

/// 32 bytes, in hexadecimal digits.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
#[schemars(inline, extend("format" = "digest"))]
pub struct Digest(String);

impl Digest {
    pub fn of(bytes: &[u8; 32]) -> Self {
        Self(crate::retention::hex(bytes))
    }
}

/// Adds the engine's events to a program's catalogue.
pub fn register(catalogue: &mut Catalogue) -> Result<(), Duplicate> {
    catalogue.add::<EventDeadLettered>(None, &[])?;
    catalogue.add::<CircuitOpened>(None, &[])?;
    catalogue.add::<CircuitClosed>(None, &[])?;
    catalogue.add::<UndoRequested>(None, &[])?;
    catalogue.add::<SubscriptionExpired>(None, &[])?;
    catalogue.add::<AuditCheckpointSealed>(None, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Class;
    use crate::envelope::Priority;

    #[test]
    fn the_catalogue_tells_the_fields_as_the_specification_does() {
        let mut catalogue = Catalogue::new(|_| Class {
            priority: Priority::Critical,
            category: "operation",
        });
        register(&mut catalogue).unwrap();
        let spec = catalogue.find("EventDeadLettered").unwrap();
        let fields: Vec<_> = spec
            .fields
            .iter()
            .map(|field| format!("{}:{}", field.name, field.kind))
            .collect();
        assert_eq!(
            fields,
            [
                "subscription:text",
                "event_id:uuid",
                "event_type:text",
                "attempts:int",
                "error_class:code"
            ]
        );
        assert_eq!(spec.audit_action, "EVENT_DEAD_LETTERED");
    }
}
