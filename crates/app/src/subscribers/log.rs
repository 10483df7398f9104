//! Writes one line for every event to the server's own log: names and ids, nothing personal.

use std::sync::Arc;

use quivive_delivery::subscriber::{Filter, Subscription};
use quivive_delivery::{BoxFuture, Outcome, Priority, Received};

pub fn subscription() -> Subscription {
    Subscription::durable("log", Filter::All, Arc::new(handle))
}

fn handle(event: &Received) -> BoxFuture<'_, Outcome> {
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
    Box::pin(std::future::ready(Outcome::Done))
}

#[cfg(test)]
mod tests {
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
