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

/// An operator had dead letters delivered again: so many keys go on with the event that was parked. A redrive of many is told
/// part by part, each in the commit that lets its keys go on.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "delivery.redriven",
    version = 1,
    name = "DeadLettersRedriven",
    audit = "DEAD_LETTERS_REDRIVEN"
)]
pub struct DeadLettersRedriven {
    pub subscription: String,
    pub count: u32,
    /// Nil: at the command line, where nobody signs in.
    pub by: Uuid,
}

/// An operator had dead letters passed over: so many keys go on with what follows the event that was parked. Told part by
/// part, as a redrive.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "delivery.discarded",
    version = 1,
    name = "DeadLettersDiscarded",
    audit = "DEAD_LETTERS_DISCARDED"
)]
pub struct DeadLettersDiscarded {
    pub subscription: String,
    pub count: u32,
    /// Nil: at the command line, where nobody signs in.
    pub by: Uuid,
    pub reason: String,
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
/// whoever did a step of it subscribes to this. Of a process (see [`crate::process`]) the event is the one that began it;
/// `subscription` is the step that gave up, or the process itself where its deadline has passed.
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

/// A subscription got events again, all of them: from this position to that, or from the first to where it was itself. Told
/// at the end, in the commit that makes it so.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "delivery.replayed",
    version = 1,
    name = "SubscriptionReplayed",
    audit = "SUBSCRIPTION_REPLAYED"
)]
pub struct SubscriptionReplayed {
    pub subscription: String,
    pub from: u64,
    pub to: Option<u64>,
    /// Who asked for it.
    pub by: Uuid,
}

/// A step of a process was done. Under the key of the event that began the process, in its workflow.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "delivery.step_done",
    version = 1,
    name = "ProcessStepDone",
    audit = "PROCESS_STEP_DONE"
)]
pub struct StepDone {
    /// The id of the event that began it.
    pub process: Uuid,
    pub kind: String,
    pub step: String,
}

/// A step of a process was undone, likewise.
#[derive(Debug, Clone, PartialEq, Eq, Event)]
#[event(
    type = "delivery.step_undone",
    version = 1,
    name = "ProcessStepUndone",
    audit = "PROCESS_STEP_UNDONE"
)]
pub struct StepUndone {
    /// The id of the event that began it.
    pub process: Uuid,
    pub kind: String,
    pub step: String,
}

/// Adds the engine's events to a program's catalogue.
pub fn register(catalogue: &mut Catalogue) -> Result<(), Duplicate> {
    catalogue.add::<EventDeadLettered>(None, &[])?;
    catalogue.add::<DeadLettersRedriven>(None, &[])?;
    catalogue.add::<DeadLettersDiscarded>(None, &[])?;
    catalogue.add::<CircuitOpened>(None, &[])?;
    catalogue.add::<CircuitClosed>(None, &[])?;
    catalogue.add::<UndoRequested>(None, &[])?;
    catalogue.add::<SubscriptionExpired>(None, &[])?;
    catalogue.add::<AuditCheckpointSealed>(None, &[])?;
    catalogue.add::<SubscriptionReplayed>(None, &[])?;
    catalogue.add::<StepDone>(None, &[])?;
    catalogue.add::<StepUndone>(None, &[])
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
