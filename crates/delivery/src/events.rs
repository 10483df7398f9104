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
    catalogue.add::<CircuitOpened>(None, &[])?;
    catalogue.add::<CircuitClosed>(None, &[])?;
    catalogue.add::<UndoRequested>(None, &[])?;
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
