//! Writes one line for every event to the server's own log: names and ids, nothing personal.

use quivive_delivery::{Priority, Received, Subscription, subscriber};

pub fn subscription() -> Subscription {
    log()
}

#[subscriber(name = "log", on = any)]
async fn log(event: &Received) {
    let (envelope, position) = (event.envelope(), event.stored.position);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "quivive::events",
                position,
                kind = envelope.kind,
                workflow_id = %envelope.workflow_id,
                subject = envelope.subject,
                actor = %envelope.actor.kind,
                request_id = envelope.request_id,
                "event"
            )
        };
    }
    match envelope.priority {
        Priority::Low => line!(debug),
        Priority::Normal | Priority::High => line!(info),
        Priority::Critical => line!(warn),
    }
}

#[cfg(test)]
mod tests {
    use quivive_delivery::Outcome;

    use super::*;
    use crate::testing::{account, given};

    #[tokio::test]
    async fn every_event_is_done_and_opens_nothing_personal() {
        let scene = given(account().verified());
        scene.signed_in().await;
        let subscription = subscription();
        assert!(!subscription.personal, "a line holds nothing personal");
        let outcomes = scene.deliver(&subscription).await;
        assert_eq!(outcomes.len(), scene.world.log().len());
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Done))
        );
    }
}
